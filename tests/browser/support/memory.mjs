// What many steps leave behind: the worker's heap after a collection, the module's memory, buffers on the device.
import assert from "node:assert/strict";
import { openWorker } from "./harness.mjs";

// Speaks with the page's first worker over the page's DevTools connection.
async function heapOf(page) {
  const cdp = await page.context().newCDPSession(page);
  const attached = new Promise((resolve) => cdp.once("Target.attachedToTarget", resolve));
  await cdp.send("Target.setAutoAttach", { autoAttach: true, waitForDebuggerOnStart: false, flatten: false });
  const { sessionId } = await attached;
  let last = 0;
  const call = (method) => {
    last += 1;
    const id = last;
    const answer = new Promise((resolve) => {
      const listen = ({ message }) => {
        const reply = JSON.parse(message);
        if (reply.id !== id) return;
        cdp.off("Target.receivedMessageFromTarget", listen);
        resolve(reply.result);
      };
      cdp.on("Target.receivedMessageFromTarget", listen);
    });
    return cdp.send("Target.sendMessageToTarget", { sessionId, message: JSON.stringify({ id, method }) }).then(() => answer);
  };
  return async () => {
    await call("HeapProfiler.collectGarbage");
    return (await call("Runtime.getHeapUsage")).usedSize;
  };
}

// Train `steps` steps of a fixture and fail if anything grew behind the first tenth.
export async function flat(model, steps) {
  const { page, worker, clean } = await openWorker();
  const heap = await heapOf(page);
  await worker.evaluate(
    async ({ urls, steps }) => {
      const { wasm, readers, rowFiles, MemoryFolder } = self.kit;
      const device = await wasm.Device.open("register");
      const source = await wasm.Source.open("model", await readers(urls));
      const settings = { method: "lora", "lora-r": 4, "max-steps": steps, "batch-size": 2, "logging-steps": 10, "save-steps": 1e6 };
      const job = JSON.stringify({ settings, resume: false });
      const data = await rowFiles(["/scratch/rows.jsonl"]);
      const run = await wasm.Run.begin(device, source, job, data, [], [], new MemoryFolder(), () => {});
      self.memory = { run, device };
    },
    { urls: model.urls, steps },
  );
  const go = (until) =>
    worker.evaluate(async (until) => {
      const { run, device } = self.memory;
      const started = performance.now();
      for (;;) {
        const event = JSON.parse(await run.advance());
        if (event.type === "step" && event.step >= until) break;
      }
      const seconds = (performance.now() - started) / 1000;
      return { live: device.memory, allocations: device.allocations, module: self.kit.memory.buffer.byteLength, seconds };
    }, until);
  const warm = Math.max(20, steps / 10);
  const before = { ...(await go(warm)), heap: await heap() };
  const after = { ...(await go(steps - 1)), heap: await heap() };
  const mb = (n) => (n / 1e6).toFixed(3);
  const grew = (key) => after[key] - before[key];
  console.log(
    `${steps} steps, ${((1000 * after.seconds) / (steps - warm)).toFixed(1)} ms each; from step ${warm} on, heap ${mb(before.heap)} to ${mb(after.heap)} MB, ` +
      `module ${mb(before.module)} to ${mb(after.module)} MB, device ${mb(before.live)} to ${mb(after.live)} MB, ` +
      `${grew("allocations")} buffers made`,
  );
  assert.equal(grew("allocations"), 0, "buffers made");
  assert.equal(grew("live"), 0, "bytes on the device");
  assert.ok(grew("module") <= 2 ** 18, `the module's memory grew by ${grew("module")} bytes`);
  assert.ok(grew("heap") <= 3e5, `the heap grew by ${grew("heap")} bytes`);
  const left = await worker.evaluate(() => {
    const { run, device } = self.memory;
    run.destroy();
    const left = device.memory;
    device.destroy();
    return left;
  });
  assert.equal(left, 0, "bytes on the device after the run was destroyed");
  clean();
  await page.close();
}
