// What a visitor downloads.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import { root } from "./support/harness.mjs";

test("the module is at most 2.5 MB, compressed", () => {
  const module = readFileSync(join(root, "target/web/wgpu_sft_web_bg.wasm"));
  const params = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: module.length };
  const brotli = brotliCompressSync(module, { params }).length;
  const [raw, gzip, small] = [module.length, gzipSync(module, { level: 9 }).length, brotli].map((n) => (n / 1e6).toFixed(2));
  console.log(`module: ${raw} MB, ${gzip} MB by gzip, ${small} MB by brotli`);
  assert.ok(brotli <= 2.5e6, `${brotli} bytes`);
});
