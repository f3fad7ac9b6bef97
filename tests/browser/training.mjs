// Runs in the tab against the same runs by the binary on the same Vulkan driver: losses, rows and their order, checkpoints that move.
import assert from "node:assert/strict";
import { cp, mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { before, test } from "node:test";
import { fixture, flags } from "./support/fixture.mjs";
import { lines, native, near, openWorker, scratch } from "./support/harness.mjs";
import { flat } from "./support/memory.mjs";

const METHODS = {
  lora: { method: "lora", "lora-r": 8, "lora-dropout": 0.05, "learning-rate": 0.004 },
  full: { method: "full", "learning-rate": 0.002, "weight-decay": 0.01 },
};
const settings = (method) => ({
  ...METHODS[method],
  "max-steps": 20,
  "warmup-steps": 3,
  "logging-steps": 1,
  "save-steps": 10,
  "batch-size": 6,
  seed: 7,
});
const result = { lora: "adapter_model.safetensors", full: "model.safetensors" };

let model;
before(async () => {
  model = await fixture();
});

const at = (folder, ...path) => join(scratch, folder, ...path);
const metrics = async (folder) => lines(await readFile(at(folder, "metrics.jsonl"), "utf8"));
const json = async (...path) => JSON.parse(await readFile(at(...path), "utf8"));

const natively = (folder, settings, ...more) =>
  native("train", "--model", model.model, "--data", model.rows, "--output-dir", at(folder), "--kernels", "register", "--quiet", ...flags(settings), ...more);

// A run in a worker of its own, as far as step `until`; what it leaves goes to the scratch folder. Gives its events.
async function inBrowser(folder, settings, { resume = false, until, from = [], suites } = {}) {
  const { page, worker, clean } = await openWorker();
  const events = await worker.evaluate(
    async ({ folder, settings, resume, until, from, suites, urls }) => {
      const { wasm, readers, rowFiles, MemoryFolder, train } = self.kit;
      const device = await wasm.Device.open("register");
      const source = await wasm.Source.open("model", await readers(urls));
      const files = await MemoryFolder.pull(`/scratch/${folder}`, from);
      const data = await rowFiles(["/scratch/rows.jsonl"]);
      const heldOut = suites ? await rowFiles(["/scratch/heldout.jsonl"]) : [];
      const job = { settings, resume, suites };
      const events = await train({ device, source, job, data, evalData: heldOut, suiteFiles: heldOut, folder: files, until });
      const live = device.memory;
      device.destroy();
      await files.push(`/scratch/${folder}`);
      return { events, live };
    },
    { folder, settings, resume, until, from, suites, urls: model.urls },
  );
  clean();
  await page.close();
  return events;
}

async function filesOf(folder) {
  const found = await readdir(at(folder), { recursive: true, withFileTypes: true });
  return found.filter((f) => f.isFile()).map((f) => join(f.parentPath ?? f.path, f.name).slice(at(folder).length + 1));
}

function sameCurve(got, want, from = 1) {
  assert.deepEqual(got.map(({ step }) => step), want.map(({ step }) => step), "steps");
  assert.equal(want.at(-1).step, 20);
  for (const [n, line] of want.entries()) {
    if (line.step < from) continue;
    near(got[n].loss, line.loss, 1e-3, `loss of step ${line.step}`);
    near(got[n].grad_norm, line.grad_norm, 1e-2, `gradient's norm of step ${line.step}`);
    // They add up over the run: each step has the same rows, or at least as many tokens.
    for (const key of ["tokens", "targets"]) assert.equal(got[n][key], line[key], `${key} up to step ${line.step}`);
  }
}

for (const method of ["lora", "full"]) {
  test(`20 steps in the tab are those of the command line: ${method}`, async () => {
    const { events, live } = await inBrowser(`tab-${method}`, settings(method));
    assert.equal(live, 0, "bytes on the device after the run was destroyed");
    assert.equal(events.at(-1).type, "finished");
    await natively(`native-${method}`, settings(method));
    const [got, want] = [await metrics(`tab-${method}`), await metrics(`native-${method}`)];
    sameCurve(got, want);
    assert.ok(want[19].loss < 0.97 * want[0].loss, "nothing was learnt, so nothing is compared");
    const steps = events.filter(({ type }) => type === "step");
    assert.deepEqual(steps.map(({ loss }) => loss), got.map(({ loss }) => loss), "events and the log");
    const [mine, its] = [await json(`tab-${method}`, "run.json"), await json(`native-${method}`, "run.json")];
    assert.deepEqual(mine.hashes, its.hashes);
    assert.equal(mine.sessions[0].kernels, "register");
    // The same files; a tab keeps no checkpoint but the newest.
    const kept = (await filesOf(`native-${method}`)).filter((path) => !path.startsWith("checkpoint-10/"));
    assert.deepEqual((await filesOf(`tab-${method}`)).sort(), kept.sort());
  });

  test(`a run that is saved, ended and resumed is the same run, bit for bit: ${method}`, async () => {
    const folder = `parts-${method}`;
    // The step that is under way ends first.
    await inBrowser(folder, settings(method), { until: 7 });
    assert.ok((await filesOf(folder)).includes("checkpoint-8/state.json"));
    await inBrowser(folder, settings(method), { resume: true, from: await filesOf(folder) });
    const [got, want] = await Promise.all([folder, `tab-${method}`].map((folder) => readFile(at(folder, result[method]))));
    assert.ok(got.equals(want), "the results differ");
    const losses = async (folder) => (await metrics(folder)).map(({ loss }) => loss);
    assert.deepEqual(await losses(folder), await losses(`tab-${method}`));
  });

  test(`a checkpoint of the tab goes on at the command line: ${method}`, async () => {
    const folder = `to-native-${method}`;
    await inBrowser(folder, settings(method), { until: 10 });
    await natively(folder, settings(method), "--resume");
    sameCurve(await metrics(folder), await metrics(`tab-${method}`), 11);
  });

  test(`a checkpoint of the command line goes on in the tab: ${method}`, async () => {
    const folder = `to-tab-${method}`;
    await mkdir(at(folder));
    for (const name of ["checkpoint-10", "metrics.jsonl", "run.json"]) {
      await cp(at(`native-${method}`, name), at(folder, name), { recursive: true });
    }
    const { events } = await inBrowser(folder, settings(method), { resume: true, from: await filesOf(folder) });
    assert.equal(events.find(({ type }) => type === "step").step, 11);
    sameCurve(await metrics(folder), await metrics(`native-${method}`), 11);
  });
}

test("evaluations decide in the tab as they do at the command line: the best step, the end, before and after", async () => {
  const suites = '[[suite]]\nname = "held"\ndata = "heldout.jsonl"\nmeasure = ["loss", "token_accuracy"]\n';
  await writeFile(at("suites.toml"), suites);
  // No gain is enough, so that two evaluations after the first end it; rows are cut, so that the longest is not the longest that was read.
  const watched = {
    ...settings("lora"),
    "max-length": 40,
    overlong: "truncate",
    "eval-steps": 3,
    "save-steps": 100,
    "load-best-model-at-end": true,
    "early-stopping-patience": 2,
    "early-stopping-threshold": 9,
  };
  // Cut in two, just after an evaluation.
  await inBrowser("watched", watched, { suites, until: 3 });
  const { events } = await inBrowser("watched", watched, { suites, resume: true, from: await filesOf("watched") });
  await natively("watched-native", watched, "--eval-data", at("heldout.jsonl"), "--eval-suite", at("suites.toml"));
  const [got, want] = [await metrics("watched"), await metrics("watched-native")];
  assert.deepEqual(got.map(({ step }) => step), want.map(({ step }) => step));
  for (const [n, line] of want.entries()) {
    for (const [key, number] of Object.entries(line)) {
      if (key.startsWith("eval_")) near(got[n][key], number, 1e-3, `${key} after step ${line.step}`);
    }
  }
  const best = want.filter((line) => line.step > 0 && line.eval_loss).reduce((a, b) => (b.eval_loss < a.eval_loss ? b : a));
  assert.equal(events.at(-1).best.step, best.step);
  assert.equal(want.at(-1).step, 9, "the third evaluation is the last");
  const [mine, its] = [await json("watched", "compare.json"), await json("watched-native", "compare.json")];
  for (const side of ["base", "tuned"]) near(mine.suites[0].all[side].value, its.suites[0].all[side].value, 1e-3, side);
  const [ours, theirs] = [await json("watched", "run.json"), await json("watched-native", "run.json")];
  assert.equal(ours.memory.micro_batch_tokens, theirs.memory.micro_batch_tokens);
  assert.ok(ours.memory.suites > 0);
  assert.equal(ours.sessions.at(-1).outcome, "finished");
});

test("a damaged checkpoint is told, not trained over", async () => {
  const { page, worker, clean } = await openWorker();
  const from = await filesOf("tab-lora");
  const found = await worker.evaluate(
    async ({ urls, settings, from }) => {
      const { wasm, readers, rowFiles, MemoryFolder, train } = self.kit;
      const device = await wasm.Device.open("register");
      const source = await wasm.Source.open("model", await readers(urls));
      const folder = await MemoryFolder.pull("/scratch/tab-lora", from);
      folder.files.delete("checkpoint-20/optimizer.safetensors");
      const before = (await folder.list()).length;
      const data = await rowFiles(["/scratch/rows.jsonl"]);
      const error = await train({ device, source, job: { settings, resume: true }, data, folder }).then(
        () => "went on",
        (error) => `${error.name}: ${error.message}`,
      );
      device.destroy();
      return { error, before, after: (await folder.list()).length };
    },
    { urls: model.urls, settings: settings("lora"), from },
  );
  assert.match(found.error, /^Checkpoint: .*optimizer.safetensors/);
  assert.equal(found.after, found.before);
  clean();
  await page.close();
});

test("a checkpoint of other rows is refused, and a folder that holds a run", async () => {
  const { page, worker, clean } = await openWorker();
  const errors = await worker.evaluate(
    async ({ urls, settings, from }) => {
      const { wasm, readers, rowFiles, MemoryFolder, train } = self.kit;
      const device = await wasm.Device.open("register");
      const source = await wasm.Source.open("model", await readers(urls));
      const folder = await MemoryFolder.pull("/scratch/tab-lora", from);
      const attempt = async (resume, rows) => {
        const data = await rowFiles([rows]);
        return train({ device, source, job: { settings, resume }, data, folder }).then(
          () => "accepted",
          (error) => `${error.name}: ${error.message}`,
        );
      };
      const errors = [await attempt(true, "/scratch/heldout.jsonl"), await attempt(false, "/scratch/rows.jsonl")];
      device.destroy();
      return errors;
    },
    { urls: model.urls, settings: settings("lora"), from: await filesOf("tab-lora") },
  );
  assert.match(errors[0], /^Checkpoint: .*rows/);
  assert.match(errors[1], /^(Config|Checkpoint): .*run/);
  clean();
  await page.close();
});

test("memory stays as it is while steps go by", async () => {
  await flat(model, Number(process.env.STEPS ?? 200));
  await rm(at("memory"), { recursive: true, force: true });
});
