// The npm package's run driver, with real runs on the browser's software GPU: begun, held, saved, lost, resumed.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { open, origin, root, scratch } from "./support/harness.mjs";

const files = ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
const model = { kind: "url", base: "/base/model", name: "base", files };
const rows = readFileSync(join(root, "base/data/train.jsonl"), "utf8").split("\n").slice(0, 40).join("\n");
const settings = { "lora-r": 4, "batch-size": 2, "max-steps": 8, "save-steps": 3, "logging-steps": 1, "max-length": 64 };

// In a worker: what the GPU computed is known only when the page has heard what it was told before, so that a page that is slow holds a run, or
// an evaluation, where it means to. When one of the steps `losing` was told, the device is lost.
function waitForPage() {
  const { postMessage } = MessagePort.prototype;
  const { mapAsync } = GPUBuffer.prototype;
  let heard;
  self.losing = new Set();
  MessagePort.prototype.postMessage = function (message, ...more) {
    // Comlink's call of a page's function, and its answer.
    if (message?.type === "APPLY") {
      heard = new Promise((resolve) => this.addEventListener("message", ({ data }) => data.id === message.id && resolve()));
    }
    postMessage.call(this, message, ...more);
    if (message?.argumentList?.some(({ value }) => value?.type === "step" && self.losing.delete(value.step))) self.devices.at(-1).destroy();
  };
  GPUBuffer.prototype.mapAsync = async function (...range) {
    await heard;
    return mapAsync.apply(this, range);
  };
}

// A page with a tuner, the model open; `self.train(how, name, until)` starts or resumes a run and notes its events, and calls `until`.
async function openTuner({ context, allow, run } = {}) {
  await mkdir(scratch, { recursive: true });
  await writeFile(join(scratch, "tuner.html"), '<!doctype html><link rel="icon" href="data:,">');
  const opened = await open(`${origin}/scratch/tuner.html`, { context, allow });
  await opened.page.evaluate(
    async ([model, rows, settings]) => {
      const { createTuner } = await import("/package/index.js");
      const tuner = createTuner();
      const job = { settings, data: [{ name: "rows.jsonl", bytes: new TextEncoder().encode(rows) }] };
      const events = [];
      Object.assign(self, {
        tuner,
        events,
        model,
        job,
        told: (promise) => promise.then((value) => value ?? null, ({ name, message }) => `${name}: ${message}`),
        train: (how, name, hold, more) => {
          const each = (event) => {
            if (event.type !== "progress") events.push(event);
            if (hold && hold.after === event.step && event.type === (hold.type ?? "step")) void self.told(tuner[hold.call]());
          };
          return self.told(how === "start" ? tuner.start({ ...job, ...more, name }, each) : tuner.resume(name, each, more));
        },
        losses: () => Object.fromEntries(events.filter(({ type }) => type === "step").map(({ step, loss }) => [step, loss])),
        types: () => events.splice(0).map(({ type, step }) => (type === "begun" ? type : `${type} ${step}`)),
        state: async (name) => (await tuner.runs()).find((run) => run.name === name)?.state,
      });
      await tuner.openModel(model);
    },
    [model, rows, { ...settings, ...run }],
  );
  const worker = opened.page.workers()[0];
  await worker.evaluate(waitForPage);
  return { ...opened, worker };
}

// What the steps of an undisturbed run with these settings lose: the first test notes it.
let losses;

test("a run is begun, paused, asked, stopped, carried elsewhere and gone on with; it ends as one that nothing disturbed", async () => {
  const { page, clean, context } = await openTuner();
  const whole = await page.evaluate(async () => {
    const told = await self.train("start", "whole");
    return { told, losses: self.losses(), events: self.events.splice(0), runs: await self.tuner.runs() };
  });
  assert.equal(whole.told, null);
  assert.deepEqual(whole.events.map(({ type, step }) => `${type} ${step ?? ""}`.trim()), [
    "begun", "step 1", "step 2", "step 3", "saved 3", "step 4", "step 5", "step 6", "saved 6", "step 7", "step 8", "saved 8", "finished 8",
  ]);
  losses = whole.losses;
  assert.equal(Object.keys(losses).length, 8);
  const [run] = whole.runs;
  assert.deepEqual([run.state, run.step, run.total, run.hasResult, run.model], ["finished", 8, 8, true, "base"]);

  const held = await page.evaluate(async () => {
    const seen = [];
    await self.train("start", "held", { after: 2, call: "pause" });
    seen.push(self.events.at(-1), await self.state("held"));
    const memory = await self.tuner.memory();
    const question = [{ role: "user", content: "What is the home town of Hodo?" }];
    const texts = [];
    const answers = [
      await self.tuner.answer("base", question, { max_new_tokens: 4 }, (text) => texts.push(text)),
      await self.tuner.answer({ run: "held" }, question, { max_new_tokens: 4 }),
      await self.tuner.answer({ run: "whole" }, question, { max_new_tokens: 4 }),
    ];
    await self.train("resume", "held", { after: 4, call: "pause" });
    seen.push(await self.state("held"));
    await self.tuner.stop();
    seen.push(await self.state("held"));
    const freed = (await self.tuner.memory()).live;
    // It leaves as a .zip, and comes back as a run from elsewhere: its settings are known, its rows are not.
    const zip = await self.tuner.exportRun("held");
    await self.tuner.importRun([new File([zip], "held.zip")], "again");
    const bytes = new TextEncoder().encode("no\n");
    const wrong = await self.train("resume", "again", undefined, { data: [{ name: "rows.jsonl", bytes }] });
    const refused = await self.train("resume", "again");
    await self.train("resume", "again", undefined, { data: self.job.data });
    const [state, log] = [await self.state("again"), await self.tuner.runLog("again")];
    return { seen, losses: self.losses(), state, memory, freed, answers, texts, wrong, refused, log };
  });
  assert.equal(held.seen[0].type, "paused");
  assert.equal(held.seen[1], "paused");
  assert.ok(held.memory.live > 1e6, "a paused run stays on the device");
  assert.ok(held.answers.every((answer) => typeof answer === "string"));
  assert.equal(held.texts.at(-1), held.answers[0]);
  assert.deepEqual(held.seen.slice(2), ["paused", "stopped"]);
  assert.equal(held.freed, 0);
  assert.match(held.wrong, /^Data: /);
  // What was wrong has not been stored.
  assert.match(held.refused, /^Input: again came without its rows/);
  assert.equal(held.state, "finished");
  assert.deepEqual(held.losses, losses, "the same steps, to the last bit");
  assert.deepEqual(held.log.metrics.map(({ step }) => step), [1, 2, 3, 4, 5, 6, 7, 8]);

  const errors = await page.evaluate(async () => [
    await self.train("start", "whole"),
    await self.train("resume", "whole"),
    await self.train("start", "bad", undefined, { settings: { "learning-rate": -1 } }),
    await self.train("start", "rows", undefined, { data: [{ name: "rows.jsonl", bytes: new TextEncoder().encode("no\n") }] }),
    await self.state("bad"),
    await self.state("rows"),
    await self.told(self.tuner.exportAdapter("none")),
  ]);
  const wanted = [/^InUse: there is a run whole already/, /^Input: whole has finished/, /^Config: learning.rate/, /^Data: /, undefined, undefined, /^NoRun: /];
  wanted.forEach((pattern, at) => (pattern ? assert.match(errors[at], pattern) : assert.equal(errors[at] ?? undefined, undefined)));
  clean();
  await context.close();
});

test("a run whose tab was closed is interrupted, and goes on in another; no two tabs have it at once", async () => {
  const first = await openTuner({ run: { "max-steps": 10_000 } });
  await first.page.evaluate(() => {
    void self.train("start", "closed");
    return new Promise((resolve) => {
      const wait = setInterval(() => self.events.some(({ type, step }) => type === "step" && step === 5) && resolve(clearInterval(wait)), 10);
    });
  });
  const second = await openTuner({ context: first.context });
  const other = await second.page.evaluate(async () => [
    await self.state("closed"),
    await self.train("resume", "closed"),
    await self.told(self.tuner.deleteRun("closed")),
    await self.told(self.tuner.exportRun("closed")),
  ]);
  assert.equal(other[0], "running");
  for (const error of other.slice(1)) assert.match(error, /^InUse: the run closed is open in another tab/);
  const before = await first.page.evaluate(() => self.losses());
  await first.page.close();
  const told = await second.page.evaluate(async () => {
    // A closed tab's worker may take a moment to end.
    let [run] = await self.tuner.runs();
    for (let tries = 0; run.state === "running" && tries < 600; tries += 1) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      [run] = await self.tuner.runs();
    }
    // As where the tab ended between a checkpoint and its note: what the list says goes by the checkpoint.
    const age = async (folder) => {
      for await (const [name, entry] of folder) {
        if (entry.kind === "directory") await age(entry);
        else if (name === "status.json") {
          const status = JSON.parse(await (await entry.getFile()).text());
          const file = await entry.createWritable();
          await file.write(JSON.stringify({ ...status, step: status.step - 1 }));
          await file.close();
        }
      }
    };
    await age(await navigator.storage.getDirectory());
    [run] = await self.tuner.runs();
    self.events.length = 0;
    await self.train("resume", "closed", { after: run.step + 3, call: "stop" });
    return { run, losses: self.losses(), state: await self.state("closed") };
  });
  assert.equal(told.run.state, "interrupted");
  assert.ok(told.run.step >= 3 && told.run.step % 3 === 0, "the newest checkpoint's step");
  assert.equal(told.state, "stopped");
  const steps = Object.keys(told.losses).map(Number);
  assert.equal(steps[0], told.run.step + 1);
  // Steps that the closed tab had done, but not saved, come out as they did there.
  for (const step of steps) if (before[step]) assert.equal(told.losses[step], before[step], `step ${step}`);
  second.clean();
  await first.context.close();
});

test("a lost device costs a paused run nothing, and fails one that trains; both go on from their checkpoint on a new one", async () => {
  const { page, worker, clean, context } = await openTuner({ allow: [/lost|destroyed/i] });
  await page.evaluate(() => {
    self.lost = [];
    self.tuner.onLost((why) => self.lost.push(why));
    return self.train("start", "lost", { after: 2, call: "pause" });
  });
  await worker.evaluate(() => {
    self.devices.at(-1).destroy();
    self.losing.add(4);
  });
  const failed = await page.evaluate(async () => {
    while (self.lost.length < 1) await new Promise((resolve) => setTimeout(resolve, 10));
    const paused = await self.state("lost");
    self.events.length = 0;
    const told = await self.train("resume", "lost");
    const [first, last] = [self.events.find(({ type }) => type === "step").step, self.events.at(-1)];
    return { paused, told, first, last, lost: self.lost.length, run: (await self.tuner.runs())[0], live: (await self.tuner.memory()).live };
  });
  assert.equal(failed.paused, "stopped");
  assert.ok(failed.first >= 3, "it went on from where it was paused");
  assert.equal(failed.told, null);
  assert.equal(failed.last.type, "failed");
  assert.equal(failed.last.error.name, "Gpu");
  assert.match(failed.last.error.message, /^the GPU was lost: /);
  assert.equal(failed.last.resumable, true);
  assert.equal(failed.lost, 2);
  assert.deepEqual([failed.run.state, failed.run.error.name, failed.live], ["failed", "Gpu", 0]);
  const resumed = await page.evaluate(async () => {
    await self.train("resume", "lost");
    return { last: self.events.at(-1), losses: self.losses() };
  });
  assert.equal(resumed.last.type, "finished");
  for (const [step, loss] of Object.entries(resumed.losses)) assert.equal(loss, losses[step], `step ${step}`);
  clean();
  await context.close();
});

test("a full storage pauses a run and loses nothing of it", async () => {
  const { page, clean, context } = await openTuner({ run: { "save-steps": 100 } });
  const cdp = await context.newCDPSession(page);
  await page.evaluate(async () => {
    await self.train("start", "full", { after: 2, call: "pause" });
    await self.tuner.storage();
  });
  await cdp.send("Storage.overrideQuotaForOrigin", { origin, quotaSize: 200_000 });
  const full = await page.evaluate(async () => {
    self.events.length = 0;
    // With a step that was under way, the first pause came after step 4 at most.
    const told = await self.train("resume", "full", { after: 5, call: "pause" });
    const stopping = await self.told(self.tuner.stop());
    const starting = await self.train("start", "next");
    return { told, stopping, starting, events: self.events, state: await self.state("full") };
  });
  assert.equal(full.told, null);
  const [unsaved, paused] = full.events.slice(-2);
  assert.deepEqual([unsaved.type, unsaved.error.name, paused.type], ["unsaved", "Storage", "paused"]);
  assert.match(unsaved.error.message, /storage for this site is full/);
  assert.match(full.stopping, /^Storage: /);
  assert.match(full.starting, /^InUse: the run full could not be saved/);
  assert.equal(full.state, "paused");
  await cdp.send("Storage.overrideQuotaForOrigin", { origin });
  const freed = await page.evaluate(async () => {
    const before = self.events.length;
    const told = await self.train("resume", "full");
    return { told, types: self.events.slice(before).map(({ type }) => type), losses: self.losses(), log: await self.tuner.runLog("full") };
  });
  assert.equal(freed.told, null);
  assert.match(freed.types.join(" "), /^(step )?saved /, "what could not be saved comes first, with a step that was under way");
  assert.equal(freed.types.at(-1), "finished");
  assert.ok(!freed.types.includes("begun"), "it went on where it stood");
  for (const [step, loss] of Object.entries(freed.losses)) assert.equal(loss, losses[step], `step ${step}`);
  assert.deepEqual(freed.log.metrics.map(({ step }) => step), [1, 2, 3, 4, 5, 6, 7, 8]);
  clean();
  await context.close();
});

test("a paused run with suites goes on where it stands, and tells of its evaluations to whoever resumed it", async () => {
  const { page, clean, context } = await openTuner({ run: { "max-steps": 3, "eval-steps": 2, "save-steps": 100 } });
  const heldOut = readFileSync(join(root, "base/data/heldout.jsonl"), "utf8").split("\n").slice(0, 3).join("\n");
  const toml = '[[suite]]\nname = "held-out"\ndata = "heldout.jsonl"\nmeasure = "exact_match"\nmax_new_tokens = 2\n';
  const told = await page.evaluate(
    async ([toml, heldOut]) => {
      const suites = { toml, files: [{ name: "heldout.jsonl", bytes: new TextEncoder().encode(heldOut) }] };
      const started = await self.train("start", "watched", { after: 1, call: "pause" }, { suites });
      const first = self.types();
      const progress = [];
      const resumed = await self.told(self.tuner.resume("watched", (event) => (event.type === "progress" ? progress : self.events).push(event)));
      return { started, first, resumed, second: self.types(), progress: progress.length };
    },
    [toml, heldOut],
  );
  assert.deepEqual([told.started, told.resumed], [null, null]);
  assert.ok(told.first.includes("evaluation 0") && told.first.at(-1).startsWith("paused"), told.first.join(", "));
  assert.ok(!told.second.includes("begun"), "it went on where it stood");
  assert.ok(told.second.includes("evaluation 2") && told.second.at(-1) === "finished 3", told.second.join(", "));
  assert.ok(told.progress > 0, "the evaluation's progress came");
  clean();
  await context.close();
});

test("suites run during training and on their own, can be stopped, and are compared; what was learnt is taken home", async () => {
  const { page, clean, context } = await openTuner({ run: { "max-steps": 4, "eval-steps": 2, method: "full", "save-steps": 100 } });
  const heldOut = readFileSync(join(root, "base/data/heldout.jsonl"), "utf8").split("\n").slice(0, 12).join("\n");
  const toml = '[[suite]]\nname = "held-out"\ndata = "heldout.jsonl"\nmeasure = "exact_match"\nmax_new_tokens = 4\n';
  const told = await page.evaluate(
    async ([toml, heldOut]) => {
      const { tuner } = self;
      const rows = [{ name: "heldout.jsonl", bytes: new TextEncoder().encode(heldOut) }];
      const suites = { toml, files: rows };
      const started = await self.train("start", "watched", { type: "step", after: 2, call: "stopEvaluating" }, { suites, evalData: rows });
      const first = self.events.splice(0);
      const resumed = await self.train("resume", "watched");
      const second = self.events.splice(0);
      const progress = [];
      const base = await tuner.evaluate("base", suites, (...told) => progress.push(told));
      const tuned = await tuner.evaluate({ run: "watched" }, suites);
      const comparison = await tuner.compare({ name: "before", results: base }, { name: "after", results: tuned });
      const stopping = self.told(tuner.evaluate("base", suites, () => void tuner.stopEvaluating()));
      const waiting = self.told(tuner.evaluate("base", suites));
      const errors = [await stopping, await waiting, await self.told(tuner.exportAdapter("watched"))];
      const long = self.told(tuner.answer("base", [{ role: "user", content: "Tell a story." }], { max_new_tokens: 150 }, () => void tuner.stopAnswering()));
      const cut = await long;
      const log = await tuner.runLog("watched");
      const merged = await tuner.exportMerged("watched");
      const whole = await tuner.exportRun("watched");
      const name = await tuner.importRun([new File([whole], "run.zip")], "from elsewhere");
      const imported = (await tuner.runs()).find((run) => run.name === name);
      const report = await tuner.report("watched");
      return { started, first, resumed, second, progress, base, comparison, errors, cut, log, sizes: [merged.size, whole.size], imported, report };
    },
    [toml, heldOut],
  );
  assert.deepEqual([told.started, told.resumed], [null, null]);
  assert.ok(["paused"].includes(told.first.at(-1).type), JSON.stringify(told.first.map(({ type, step }) => [type, step])));
  const evaluations = [...told.first, ...told.second].filter(({ type }) => type === "evaluation");
  assert.deepEqual(evaluations.map(({ step }) => step), [0, 2, 4]);
  assert.ok(evaluations.every(({ numbers, lines }) => numbers.eval_loss > 0 && lines.length > 0));
  const finished = told.second.at(-1);
  assert.equal(finished.type, "finished");
  assert.equal(finished.comparison.suites[0].name, "held-out");
  assert.deepEqual(told.progress.at(-1), ["held-out", 12, 12]);
  assert.equal(told.base[0].items.length, 12);
  assert.deepEqual(told.comparison.suites[0].all.tuned, finished.comparison.suites[0].all.tuned);
  assert.ok(told.comparison.suites[0].verdict.length > 0);
  assert.match(told.errors[0], /^Stopped: /);
  assert.match(told.errors[1], /^Stopped: /);
  assert.match(told.errors[2], /^Input: .*no adapter/);
  assert.equal(typeof told.cut, "string");
  assert.equal(told.log.comparison.suites.length, 1);
  assert.ok(told.log.samples.length > 0);
  assert.ok(told.sizes[0] > 2e6 && told.sizes[1] > told.sizes[0]);
  assert.deepEqual([told.imported.state, told.imported.step, told.imported.hasResult], ["finished", 4, true]);
  assert.match(told.report, /^<!doctype html>/i);
  clean();
  await context.close();
});

test("the package's example does what it shows, and the README shows it", async () => {
  const source = readFileSync(join(root, "web/package/example/index.html"), "utf8");
  const shown = source.slice(source.indexOf("// #begin\n") + 10, source.indexOf("// #end"));
  const readme = readFileSync(join(root, "web/package/README.md"), "utf8");
  const imported = shown.replace('const { createTuner } = await import("../index.js");', 'import { createTuner } from "wgpu-sft";');
  assert.ok(readme.includes(imported), "web/package/README.md has another example");
  const { page, clean, context } = await open(`${origin}/package/example/index.html?model=/base/model/`, { allow: [/404|chat_template|special_tokens|added_tokens/] });
  await page.waitForFunction(() => /an adapter of \d+ bytes/.test(document.querySelector("#log").textContent));
  const log = await page.textContent("#log");
  assert.match(log, /step 1 of 8: loss [\d.]+/);
  clean();
  await context.close();
});
