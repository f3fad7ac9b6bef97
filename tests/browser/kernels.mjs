// The kernels' case table in the tab. A browser runs the first family on a GPU and the second on a software one; both must compile and
// be right.
import assert from "node:assert/strict";
import test from "node:test";
import { openWorker } from "./support/harness.mjs";

const filter = process.env.FILTER || undefined;
const number = (x) => x.toExponential(1);

for (const family of ["tiled", "register"]) {
  test(`kernels of the ${family} family are right`, async () => {
    let last = performance.now();
    let cases = 0;
    const wrong = [];
    const { page, worker, clean } = await openWorker({
      log: (text) => {
        const { name, family, max_error, tolerance, passed } = JSON.parse(text);
        const seconds = (performance.now() - last) / 1000;
        last = performance.now();
        cases += 1;
        const line = `${name} [${family}]: error ${number(max_error)}, allowed ${number(tolerance)}, ${seconds.toFixed(1)} s`;
        console.log(`${passed ? "ok  " : "FAIL"}  ${line}`);
        if (!passed) wrong.push(line);
      },
    });
    const shaders = await worker.evaluate(
      async ([family, filter]) => {
        await self.kit.wasm.check(family, filter ?? undefined, (c) => {
          const { name, family, max_error, tolerance, passed } = c;
          c.free();
          console.log(JSON.stringify({ name, family, max_error, tolerance, passed }));
        });
        await Promise.all(self.compiling);
        return self.shaders;
      },
      [family, filter],
    );
    console.log(`${cases} cases, ${shaders} shaders compiled`);
    assert.ok(cases > 0, "no case ran");
    assert.deepEqual(wrong, []);
    clean();
    await page.close();
  });
}
