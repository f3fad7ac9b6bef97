// node tests/browser/run.mjs [--name PATTERN] [FILE...]: the browser's tests, one file after another, or those named ("kernels", "page").
// FILTER=rmsnorm in the environment keeps the kernels whose name contains it. Exits 1 if one fails or none ran.
import { spec } from "node:test/reporters";
import { run } from "node:test";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const ALL = ["size", "rows", "training", "parts", "package", "tuner", "page", "kernels"];
const MINUTES = 25;

const { values, positionals } = parseArgs({ options: { name: { type: "string" } }, allowPositionals: true });
const names = positionals.length > 0 ? positionals : ALL;
const files = names.map((name) => fileURLToPath(new URL(`${name}.mjs`, import.meta.url)));

let passed = 0;
const tests = run({
  files,
  concurrency: 1, // two cores, which a software GPU takes both
  timeout: MINUTES * 60_000,
  testNamePatterns: values.name,
});
tests.on("test:pass", ({ skip, details }) => {
  if (!skip && details.type !== "suite") passed += 1;
});
tests.on("test:fail", () => {
  process.exitCode = 1;
});
tests.on("end", () => {
  if (passed === 0) {
    console.error("no test ran");
    process.exitCode = 1;
  }
});
tests.compose(spec).pipe(process.stdout);
