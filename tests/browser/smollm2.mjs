// node tests/browser/smollm2.mjs MODEL.gguf: LoRA steps of SmolLM2-135M in headless Chromium. Slow on a software GPU, so no test.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { symlink } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { test } from "node:test";
import { openWorker, scratch } from "./support/harness.mjs";

const [model] = process.argv.slice(2);
const mb = (bytes) => `${(bytes / 1e6).toFixed(0)} MB`;

// Resident memory of this process's descendants, in bytes: Chromium's.
function resident() {
  const rows = execFileSync("ps", ["-eo", "pid=,ppid=,rss=,args="], { encoding: "utf8" }).trim().split("\n");
  const all = rows.map((row) => /^\s*(\d+)\s+(\d+)\s+(\d+)\s+(.*)$/.exec(row)).map(([, pid, parent, rss, args]) => ({ pid, parent, rss: 1024 * Number(rss), args }));
  const ours = new Set([String(process.pid)]);
  for (let grown = true; grown; ) {
    grown = false;
    for (const { pid, parent } of all) if (ours.has(parent) && !ours.has(pid)) grown = Boolean(ours.add(pid));
  }
  ours.delete(String(process.pid));
  const of = (pattern) => all.filter(({ pid, args }) => ours.has(pid) && pattern.test(args)).reduce((sum, { rss }) => sum + rss, 0);
  return { all: of(/chrom/), gpu: of(/type=gpu-process/), tab: of(/type=renderer/) };
}

test("SmolLM2-135M does LoRA steps in the tab", async () => {
  const name = basename(model);
  await symlink(resolve(model), join(scratch, name));
  const { page, worker, clean } = await openWorker({ log: console.log });
  const shown = (what) => {
    const { all, gpu, tab } = resident();
    console.log(`${what}: resident ${mb(all)}, of which the GPU's process ${mb(gpu)}, the tabs' ${mb(tab)}`);
  };
  shown("before");
  let peak = 0;
  const watching = setInterval(() => (peak = Math.max(peak, resident().all)), 500);
  const began = performance.now();
  const about = await worker.evaluate(async (name) => {
    const { wasm, rowFiles, MemoryFolder } = self.kit;
    const device = await wasm.Device.open("register");
    const url = `/scratch/${name}`;
    const first = await fetch(url, { headers: { range: "bytes=0-0" } });
    const size = Number(first.headers.get("content-range").split("/")[1]);
    await first.arrayBuffer();
    const read = async (start, end) => {
      const part = await fetch(url, { headers: { range: `bytes=${start}-${end - 1}` } });
      return new Uint8Array(await part.arrayBuffer());
    };
    const source = await wasm.Source.open(name, [{ name, size, read }]);
    const settings = { method: "lora", dtype: "bf16", "max-steps": 2, "batch-size": 2, "logging-steps": 1, "learning-rate": 1e-3 };
    const data = await rowFiles(["/demo/train.jsonl"]);
    const run = await wasm.Run.begin(device, source, JSON.stringify({ settings, resume: false }), data, [], [], new MemoryFolder(), () => {});
    self.smollm2 = { run, device };
    return { source: JSON.parse(source.about), run: JSON.parse(run.about), live: device.memory };
  }, name);
  const { weights, adapter, dtype } = about.run.memory;
  console.log(`${about.source.parameters} parameters loaded in ${((performance.now() - began) / 1000).toFixed(1)} s; weights ${mb(weights)} as ${dtype}, adapter ${mb(adapter)}, all our buffers ${mb(about.live)}`);
  shown("loaded");
  assert.equal(dtype, "bf16");
  assert.ok(weights < 2.2 * about.source.parameters, `${weights} bytes of weights`);
  const losses = [];
  for (let n = 0; n < 2; n += 1) {
    const started = performance.now();
    const { event, live, peak } = await worker.evaluate(async () => {
      const { run, device } = self.smollm2;
      for (;;) {
        const event = JSON.parse(await run.advance());
        if (event.type === "step") return { event, live: device.memory, peak: device.peakMemory };
      }
    });
    losses.push(event.loss);
    const seconds = (performance.now() - started) / 1000;
    console.log(`step ${event.step}: loss ${event.loss.toFixed(4)}, ${event.tokens} tokens, ${seconds.toFixed(1)} s; our buffers ${mb(live)}, at most ${mb(peak)}`);
  }
  clearInterval(watching);
  shown("after two steps");
  const module = await worker.evaluate(() => self.kit.memory.buffer.byteLength);
  console.log(`the module's memory: ${mb(module)}; most resident at a time: ${mb(peak)}`);
  assert.ok(losses.every((loss) => loss > 0.5 && loss < 6), losses.join(", "));
  clean();
  await page.close();
});
