// `--mode page` builds the page, `--mode package` the npm package. Both end in target/web, beside the module.
import { copyFileSync, cpSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { type Plugin, defineConfig } from "vite";
import { bundled } from "./page/build.ts";

const path = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url));

/** Addresses of files beside a module, as Vite writes them and as every bundler knows them. */
const BESIDE = /new URL\(\s*(?:\/\* @vite-ignore \*\/)?\s*new URL\("([^"]+)", import\.meta\.url\)\.href,\s*"" \+ import\.meta\.url\s*\)/g;

/** The package's own files, with the version of the crates. */
function finish(): Plugin {
  return {
    name: "finish",
    closeBundle() {
      const version = /^version = "(.+)"$/m.exec(readFileSync(path("../Cargo.toml"), "utf8"))?.[1];
      const fields = JSON.parse(readFileSync(path("package/package.json"), "utf8")) as Record<string, unknown>;
      const out = path("../target/web/package/");
      for (const script of ["index.js", "worker.js"]) {
        writeFileSync(out + script, readFileSync(out + script, "utf8").replace(BESIDE, 'new URL("./$1", import.meta.url)'));
      }
      writeFileSync(`${out}package.json`, `${JSON.stringify({ ...fields, version }, undefined, 2)}\n`);
      copyFileSync(path("package/README.md"), `${out}README.md`);
      cpSync(path("package/example"), `${out}example`, { recursive: true });
      for (const license of ["LICENSE-MIT", "LICENSE-APACHE"]) copyFileSync(path(`../${license}`), out + license);
    },
  };
}

export default defineConfig(({ mode }) => {
  const isPackage = mode === "package";
  const names = { entryFileNames: "[name].js", chunkFileNames: "[name].js", assetFileNames: "[name][extname]" };
  return {
    root: path(isPackage ? "package" : "page"),
    base: "./",
    publicDir: isPackage ? false : "public",
    resolve: { alias: { "wgpu-sft-wasm": path("../target/web/wgpu_sft_web.js") } },
    worker: { format: "es", ...(isPackage && { rolldownOptions: { output: names } }) },
    plugins: [isPackage ? finish() : bundled()],
    build: {
      target: "es2022",
      outDir: path(`../target/web/${mode}`),
      emptyOutDir: true,
      // The module stays a file: it is compiled while it comes.
      assetsInlineLimit: 0,
      modulePreload: { polyfill: false },
      ...(isPackage && {
        minify: false,
        rolldownOptions: { input: path("package/src/index.ts"), output: names, preserveEntrySignatures: "strict" as const },
      }),
    },
    server: { fs: { allow: [path("..")] } },
  };
});
