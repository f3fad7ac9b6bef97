// Rows, checked and tokenised by the wasm module, against what was recorded natively and by the reference build of tokenizers.
import assert from "node:assert/strict";
import test from "node:test";
import { openWorker } from "./support/harness.mjs";

test("checks, tokens and masks of rows are those of the command line", async () => {
  const { page, worker, clean } = await openWorker();
  const compared = await worker.evaluate(async () => {
    const all = [];
    await self.kit.compareData((name, why) => all.push({ name, why }));
    return all;
  });
  for (const { name, why } of compared) console.log(`${why ? "FAIL" : "ok  "}  ${name}`);
  assert.ok(compared.length > 0, "nothing was compared");
  assert.deepEqual(compared.filter(({ why }) => why), []);
  clean();
  await page.close();
});
