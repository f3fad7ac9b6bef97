// What the page's build adds to Vite's: the bundled model and rows, and the list of files that make it work offline.
import { createHash } from "node:crypto";
import { cpSync, readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";
import type { Plugin } from "vite";

const base = fileURLToPath(new URL("../../base/", import.meta.url));

function filesBelow(folder: string): string[] {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    return statSync(path).isDirectory() ? filesBelow(path) : [path];
  });
}

/** Copies base/model and base/data; writes every file's name into sw.js, under a version that changes when one of them does. */
export function bundled(): Plugin {
  let out = "";
  return {
    name: "bundled",
    configResolved(config) {
      out = config.build.outDir;
    },
    closeBundle() {
      for (const folder of ["model", "data"]) cpSync(join(base, folder), join(out, folder), { recursive: true });
      const worker = join(out, "sw.js");
      const paths = filesBelow(out).filter((path) => path !== worker && !path.endsWith(".map"));
      const names = paths.map((path) => relative(out, path).split(sep).join("/")).toSorted();
      const hash = createHash("sha256");
      for (const name of names) hash.update(`${name}\n`).update(readFileSync(join(out, name)));
      const text = readFileSync(worker, "utf8");
      const filled = text.replace('"VERSION"', JSON.stringify(hash.digest("hex").slice(0, 16))).replace("[/* FILES */]", JSON.stringify(["./", ...names.map((name) => `./${name}`)]));
      if (filled === text) throw new Error("sw.js has no place for the list of files");
      writeFileSync(worker, filled);
    },
  };
}
