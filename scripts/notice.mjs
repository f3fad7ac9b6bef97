// notice.mjs TARGET: the licences of everything that the binary for a target is made of, as text on standard output.
// Fails where a crate says nothing that can be told.
import { execFileSync } from "node:child_process";
import { readFileSync, readdirSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const run = (...command) => execFileSync(command[0], command.slice(1), { cwd: root, encoding: "utf8", maxBuffer: 1 << 28 });
const target = process.argv[2];
if (!target) throw new Error("usage: notice.mjs TARGET");

// What is linked: the binary's dependencies and theirs, but for what only builds or tests them. Lines are `name v1.2.3 …`.
const tree = run("cargo", "tree", "--locked", "-p", "wgpu-sft-cli", "-e", "normal,no-proc-macro", "--target", target, "--prefix", "none");
const linked = new Set(tree.split("\n").map((line) => line.split(" ").slice(0, 2).join(" ")));
const metadata = JSON.parse(run("cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", target));

const words = (text) => text.replaceAll("\r\n", "\n").trim();
const apache = words(readFileSync(join(root, "LICENSE-APACHE"), "utf8"));
const ours = words(readFileSync(join(root, "LICENSE-MIT"), "utf8"));
const mit = (authors) => ours.replace(/^Copyright.*$/m, `Copyright (c) ${authors}`);

/** The texts of a package's own files. */
function files(p) {
  const folder = dirname(p.manifest_path);
  const names = readdirSync(folder).filter((name) => /^(licen[cs]e|copying|notice|copyright)/i.test(name));
  const paths = names.flatMap((name) => {
    const path = join(folder, name);
    return statSync(path).isDirectory() ? readdirSync(path).map((inner) => join(path, inner)) : [path];
  });
  return paths.sort().map((path) => words(readFileSync(path, "utf8")));
}

/** The texts of a package: its files, or those of another package of its repository, or the text of the licence that it names. */
function texts(p) {
  const siblings = metadata.packages.filter((other) => p.repository && other.repository === p.repository);
  const found = [p, ...siblings].map(files).find((texts) => texts.length > 0);
  if (found) return found;
  if (/\bApache-2\.0\b/.test(p.license ?? "")) return [apache];
  if (/\bMIT\b/.test(p.license ?? "")) return [mit(p.authors.join(", ") || `the authors of ${p.name}`)];
  throw new Error(`${p.name} ${p.version}: no licence file, and no text for ${p.license}`);
}

const users = new Map();
const note = (text, user) => users.set(text, [...(users.get(text) ?? []), user]);
const foreign = metadata.packages.filter((p) => p.source !== null && linked.has(`${p.name} v${p.version}`));
foreign.sort((a, b) => (`${a.name} ${a.version}` < `${b.name} ${b.version}` ? -1 : 1));
for (const p of foreign) for (const text of texts(p)) note(text, `${p.name} ${p.version}`);
const rust = run("rustc", "--version").split(" ")[1];
note(apache, `the standard library of Rust ${rust}`);

const rule = "=".repeat(80);
const lines = [
  "wgpu-sft is made of the following, besides itself. The licences' texts are below.",
  "",
  ...foreign.map((p) => `${p.name} ${p.version}: ${p.license ?? p.license_file}; ${p.repository ?? `https://crates.io/crates/${p.name}`}`),
  `the standard library of Rust ${rust}: MIT OR Apache-2.0; https://github.com/rust-lang/rust`,
];
for (const [text, names] of users) lines.push("", rule, names.join(", "), rule, "", text);
console.log(lines.join("\n"));
