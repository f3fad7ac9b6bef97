// The npm package's tuner as a page has it: models, rows, runs from elsewhere. Nothing here trains.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { join } from "node:path";
import { test } from "node:test";
import { open, origin, root, scratch } from "./support/harness.mjs";
import { deflated, listen, quota } from "./support/package.mjs";

// A page with the built package.
async function openTuner(options, settings = {}) {
  await mkdir(scratch, { recursive: true });
  await writeFile(join(scratch, "tuner.html"), '<!doctype html><link rel="icon" href="data:,">');
  const opened = await open(`${origin}/scratch/tuner.html`, options);
  await opened.page.evaluate(async (settings) => {
    const { createTuner } = await import("/package/index.js");
    self.tuner = createTuner(settings);
    // What a promise comes to, as data.
    self.told = (promise) => promise.then((value) => value ?? null, ({ name, message }) => `${name}: ${message}`);
  }, settings);
  return opened;
}

test("a worker or module that cannot be loaded, or dies, is a clear error", async () => {
  const allow = [/404/, /wasm/i];
  const page = await openTuner({ allow }, { workerUrl: "/package/none.js" });
  assert.match(await page.page.evaluate(() => self.told(self.tuner.runs())), /^Worker: .*cannot be loaded/);
  const module = await openTuner({ allow, context: page.context }, { wasmUrl: "/package/none.wasm" });
  assert.match(await module.page.evaluate(() => self.told(self.tuner.runs())), /^Worker: the WebAssembly module cannot be loaded/);
  await writeFile(join(scratch, "dying.js"), 'import "/package/worker.js"; new BroadcastChannel("die").onmessage = () => { throw new Error("unreachable"); };');
  const dying = await openTuner({ allow: [/unreachable/], context: page.context }, { workerUrl: "/scratch/dying.js" });
  const told = await dying.page.evaluate(async () => {
    const dead = new Promise((resolve) => self.tuner.onDead((error) => resolve(error.name)));
    const runs = await self.told(self.tuner.runs());
    new BroadcastChannel("die").postMessage("now");
    return [runs, await dead, await self.told(self.tuner.runs())];
  });
  assert.deepEqual(told.slice(0, 2), [[], "Worker"]);
  assert.match(told[2], /^Worker: the worker has ended; it failed: .*unreachable/);
  await page.context.close();
});

test("runs from elsewhere are taken in, listed, handed out and deleted", async () => {
  const { page, clean, context } = await openTuner();
  const run = {
    schema: 1,
    model: "models/base",
    total_steps: 4,
    settings: { model: "models/base", data: ["rows.jsonl"], "batch-size": 4, "learning-rate": 0.001, "output-dir": "out" },
    sessions: [{ outcome: "interrupted", started: 1_700_000_000 }],
  };
  const files = {
    "run.json": JSON.stringify(run),
    "metrics.jsonl": '{"step":1,"loss":2.5}\n{"step":2,"loss":2.25}\n{"step":3,"lo',
    "samples.jsonl": '{"step":2,"suite":"s","prompt":"p","reference":"r","answer":"a"}\n',
    "checkpoint-2/state.json": "{}",
    "checkpoint-2/adapter_config.json": "{}",
    "checkpoint-2/adapter_model.safetensors": "weights",
    "checkpoint-3/adapter_model.safetensors": "cut sh",
    // The run has not come to its end, whatever lies here.
    "adapter_config.json": "{}",
    "adapter_model.safetensors": "half",
  };
  const told = await page.evaluate(
    async ([files, packed]) => {
      const { tuner, told } = self;
      const given = Object.entries(files).map(([path, text]) => ({ path: `my run/${path}`, file: new Blob([text]) }));
      const names = [await told(tuner.importRun(given)), await told(tuner.importRun([new File([new Uint8Array(packed)], "other.zip")]))];
      const runs = (await tuner.runs()).map(({ bytes, ...run }) => ({ ...run, bytes: bytes > 300 }));
      const log = await tuner.runLog(names[0]);
      const adapter = await (await tuner.exportAdapter(names[0])).text();
      const whole = await tuner.exportRun(names[0]);
      const again = await told(tuner.importRun([new File([whole], "again.zip")], "again"));
      const errors = [
        await told(tuner.importRun([new File(["x"], "notes.txt")])),
        await told(tuner.importRun([new File(["{}"], "eval-run.json")])),
        await told(tuner.importRun([new File([whole], "again.zip")], "again")),
        await told(tuner.importRun([new File([whole], "again.zip")], "../up")),
        await told(tuner.resume(names[0], () => {})),
        await told(tuner.resume("nobody", () => {})),
        await told(tuner.start({ name: "mine", settings: {}, data: [] }, () => {})),
        await told(tuner.pause()),
      ];
      const left = [];
      for (const name of [...names, "again"]) {
        await tuner.deleteRun(name);
        left.push((await tuner.runs()).length);
      }
      return { names, runs, log, adapter, again, errors, left, storage: Object.keys(await tuner.storage()) };
    },
    [files, [...deflated(Object.fromEntries(Object.entries(files).map(([path, text]) => [`deep/my run/${path}`, text])))]],
  );
  assert.deepEqual(told.names, ["my run", "my run 2"]);
  const summary = {
    state: "stopped",
    step: 2,
    total: 4,
    model: "base",
    method: "lora",
    started: 1_700_000_000_000,
    hasResult: true,
    settings: { "batch-size": 4, "learning-rate": 0.001 },
    bytes: true,
  };
  assert.deepEqual(told.runs, [{ ...summary, name: "my run" }, { ...summary, name: "my run 2" }]);
  assert.deepEqual(told.log.metrics, [{ step: 1, loss: 2.5 }, { step: 2, loss: 2.25 }]);
  assert.deepEqual(told.log.run, run);
  assert.equal(told.log.samples[0].answer, "a");
  assert.match(told.adapter, /weights/);
  assert.equal(told.again, "again");
  const wanted = [/^Input: .*no run/, /^Input: .*no run/, /^InUse: /, /^Input: .*cannot be a run's name/, /^Input: .*without its rows/, /^NoRun: /, /^NoModel: /, /^NoRun: /];
  told.errors.forEach((error, at) => assert.match(error, wanted[at]));
  assert.deepEqual(told.left, [2, 1, 0]);
  assert.deepEqual(told.storage.sort(), ["free", "persisted", "used"]);
  clean();
  await context.close();
});


// What a Hugging Face server answers about one model, and its files by ranges. `asked` notes what it was asked for.
async function hub(context, files) {
  const asked = [];
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url, "http://127.0.0.1");
    const headers = { "access-control-allow-origin": "*" };
    asked.push(`${pathname} ${request.headers.range ?? ""}`.trim());
    if (pathname === "/api/models/owner/tiny/revision/main") {
      const siblings = Object.entries(files).map(([rfilename, bytes]) => ({ rfilename, size: bytes.length }));
      return response.writeHead(200, headers).end(JSON.stringify({ sha: "0123", siblings }));
    }
    if (pathname.startsWith("/api/models/owner/gated")) return response.writeHead(401, headers).end();
    const bytes = files[pathname.replace("/owner/tiny/resolve/0123/", "")];
    if (!bytes) return response.writeHead(404, headers).end();
    const [, first, last] = /bytes=(\d+)-(\d+)/.exec(request.headers.range);
    response.writeHead(206, headers).end(bytes.subarray(Number(first), Number(last) + 1));
  });
  return { url: await listen(context, server), asked };
}

const model = ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
const modelFiles = Object.fromEntries(model.map((name) => [name, readFileSync(join(root, "base/model", name))]));

test("a model is opened from static files, from files, from a hub, kept, found again and forgotten", async (test) => {
  const server = await hub(test, { ...modelFiles, "README.md": Buffer.from("no") });
  const { page, clean, context } = await openTuner({ allow: [/401|404|nothing/] }, { hub: server.url });
  const opened = await page.evaluate(async (names) => {
    const { tuner, told } = self;
    const before = [await told(tuner.model()), await told(tuner.keepModel())];
    const url = await told(tuner.openModel({ kind: "url", base: "/base/model", name: "base", files: names }));
    const tried = await told(tuner.openModel({ kind: "url", base: `${location.origin}/base/nothing/`, name: "base" }));
    const given = [];
    for (const name of names) {
      const blob = await (await fetch(`/base/model/${name}`)).blob();
      given.push({ path: `my model/${name}`, file: blob }, { path: `my model/checkpoint/${name}`, file: new Blob(["no"]) });
    }
    const files = await told(tuner.openModel({ kind: "files", files: given }));
    const none = await told(tuner.openModel({ kind: "files", files: [new File(["no"], "notes.txt")] }));
    return { before, url, tried, files, none };
  }, model);
  assert.match(opened.before[1], /^NoModel: open a model first/);
  assert.deepEqual(opened.before[0], null);
  const { file_bytes, ...info } = opened.url;
  assert.equal(file_bytes, Object.values(modelFiles).reduce((sum, file) => sum + file.length, 0));
  assert.equal(info.name, "base");
  assert.equal(info.kind, "url");
  assert.ok(info.tokenizer && info.parameters > 1e6);
  assert.match(opened.tried, /^Network: .*config.json: not found/);
  assert.deepEqual(opened.files, { ...opened.url, name: "my model", kind: "files" });
  assert.match(opened.none, /^Input: .*no file of a model/);

  server.asked.length = 0;
  const fromHub = await page.evaluate(() => self.told(self.tuner.openModel({ kind: "hub", id: "owner/tiny" })));
  assert.deepEqual(fromHub, { ...opened.url, name: "owner/tiny", kind: "hub" });
  // The list, the small files, and of the weights no more than their beginning.
  const ofWeights = server.asked.filter((line) => line.includes("safetensors"));
  assert.deepEqual(ofWeights, ["/owner/tiny/resolve/0123/model.safetensors bytes=0-524287"]);
  assert.ok(!server.asked.some((line) => line.includes("README")));

  await quota(page, 1_000_000);
  const full = await page.evaluate(() => self.told(self.tuner.keepModel()));
  assert.match(full, /^Storage: owner\/tiny needs 2\.4 MB; the browser's storage for this site is full: .* used/);
  assert.deepEqual(await page.evaluate(() => self.tuner.models()), []);
  await quota(page);
  const kept = await page.evaluate(async () => {
    const progress = [];
    await self.tuner.keepModel((what, done, total) => progress.push([what, done, total]));
    return { progress, models: await self.tuner.models(), model: await self.tuner.model() };
  });
  assert.deepEqual(kept.progress.at(-1).slice(1), [file_bytes, file_bytes]);
  assert.deepEqual(kept.models.map(({ name, bytes }) => [name, bytes]), [["owner/tiny", file_bytes]]);
  assert.equal(kept.model.kind, "stored");

  server.asked.length = 0;
  await page.reload();
  const again = await openTuner({ context }, { hub: server.url });
  const found = await again.page.evaluate(async () => {
    const { tuner, told } = self;
    const stored = await told(tuner.openModel({ kind: "stored", name: "owner/tiny" }));
    const plan = await told(tuner.memoryPlan({ method: "lora", "max-length": 64 }));
    await tuner.forgetModel("owner/tiny");
    const errors = [
      await told(tuner.openModel({ kind: "stored", name: "owner/tiny" })),
      await told(tuner.openModel({ kind: "hub", id: "owner/gated" })),
      await told(tuner.openModel({ kind: "hub", id: "../../etc" })),
      await told(tuner.openModel({ kind: "hub", id: "owner/tiny", file: "none.gguf" })),
      await told(tuner.openModel({ kind: "hub", id: "owner/none" })),
    ];
    return { stored, models: await tuner.models(), plan, errors };
  });
  assert.deepEqual(found.stored, { ...fromHub, kind: "stored" });
  assert.equal(server.asked.filter((line) => line.includes("/resolve/")).length, 0);
  assert.deepEqual(found.models, []);
  assert.ok(found.plan.fits && found.plan.total > found.plan.weights);
  const wanted = [/^NoModel: no model owner\/tiny is kept/, /^Network: the Hub has no public model/, /^Input: .*OWNER\/NAME/, /^Input: .*no file none/, /^Network: .*it says 404/];
  found.errors.forEach((error, at) => assert.match(error, wanted[at]));
  clean();
  await context.close();
});

test("the last model asked for is the open one; a run's own model is known by its weights, not its name", async () => {
  const { page, clean, context } = await openTuner();
  const told = await page.evaluate(async (names) => {
    const { tuner, told } = self;
    const model = (name) => ({ kind: "url", base: "/base/model", name, files: names });
    const both = await Promise.all([told(tuner.openModel(model("first"))), told(tuner.openModel(model("base")))]);
    const third = told(tuner.openModel(model("third")));
    await tuner.stopOpening();
    both.push(await third);
    const run = { model: "base", settings: {}, hashes: { model: "00" }, sessions: [{ outcome: "interrupted", started: 1 }] };
    const files = { "run.json": JSON.stringify(run), "checkpoint-1/state.json": "{}" };
    for (const name of ["adapter_config.json", "adapter_model.safetensors"]) files[`checkpoint-1/${name}`] = "{}";
    await tuner.importRun(Object.entries(files).map(([path, text]) => ({ path: `other/${path}`, file: new Blob([text]) })));
    return { both, open: (await tuner.model()).name, asked: await told(tuner.exportMerged("other")) };
  }, model);
  assert.match(told.both[0], /^Stopped: /);
  assert.match(told.both[2], /^Stopped: /);
  assert.deepEqual([told.both[1].name, told.open], ["base", "base"]);
  assert.match(told.asked, /^NoModel: .*other weights/);
  clean();
  await context.close();
});

test("what a closed tab left unfinished is swept, but no run that was begun", async () => {
  const { page, context } = await openTuner();
  await page.evaluate(async () => {
    await self.tuner.close();
    const put = async (path, text) => {
      const parts = `wgpu-sft/${path}`.split("/");
      const name = parts.pop();
      let folder = await navigator.storage.getDirectory();
      for (const part of parts) folder = await folder.getDirectoryHandle(part, { create: true });
      const file = await (await folder.getFileHandle(name, { create: true })).createWritable();
      await file.write(text);
      await file.close();
    };
    for (const path of ["scratch/left/file", "scratch/used/file", "models/half/config.json", "runs/half/input/x/data/0"]) await put(path, "left");
    await put("runs/damaged/job.json", "");
    await put("runs/damaged/run.json", '{"model": "models/base", "settings": {"lora-r": 4}, "sessions": [{"started": 1}]}');
    await put("runs/damaged/checkpoint-1/state.json", "{}");
    // Another tab is at work in this one.
    await new Promise((resolve) => void navigator.locks.request("wgpu-sft scratch used", () => new Promise(resolve)));
  });
  const again = await openTuner({ context });
  const told = await again.page.evaluate(async (names) => {
    const { tuner, told } = self;
    const runs = (await tuner.runs()).map(({ name, model, state, settings }) => ({ name, model, state, settings }));
    await tuner.openModel({ kind: "url", base: "/base/model", name: "base", files: names });
    const started = await told(tuner.start({ name: "damaged", settings: {}, data: [] }, () => {}));
    const walk = async (folder, path) => {
      const found = [];
      for await (const [name, entry] of folder.entries()) {
        found.push(...(entry.kind === "file" ? [`${path}${name}`] : await walk(entry, `${path}${name}/`)));
      }
      return found;
    };
    return { runs, started, files: (await walk(await navigator.storage.getDirectory(), "")).sort() };
  }, model);
  assert.deepEqual(told.runs, [{ name: "damaged", model: "base", state: "interrupted", settings: { "lora-r": 4 } }]);
  assert.match(told.started, /^InUse: there is a run damaged already/);
  const left = ["runs/damaged/checkpoint-1/state.json", "runs/damaged/job.json", "runs/damaged/run.json", "scratch/used/file"];
  assert.deepEqual(told.files, left.map((path) => `wgpu-sft/${path}`));
  again.clean();
  await context.close();
});

test("rows are checked, counted and previewed for the open model; suites are read", async () => {
  const { page, clean, context } = await openTuner();
  const told = await page.evaluate(async (names) => {
    const { tuner, told } = self;
    const load = async (name) => ({ name, bytes: new Uint8Array(await (await fetch(`/base/data/${name}`)).arrayBuffer()) });
    const [rows, heldOut] = [await load("train.jsonl"), await load("heldout.jsonl")];
    const early = await told(tuner.previewRows([rows], {}, 2));
    const report = await tuner.checkRows([rows], [heldOut]);
    await tuner.openModel({ kind: "url", base: "/base/model", name: "base", files: names });
    const bad = { name: "bad.jsonl", bytes: new TextEncoder().encode('{"prompt":"a","completion":"b"}\nno\n') };
    const toml = '[[suite]]\nname = "held-out"\ndata = "heldout.jsonl"\nmeasure = "exact_match"\nlimit = 5\n';
    return {
      early,
      report: [report.rows, report.sources, report.overlap.held_out_rows],
      preview: await tuner.previewRows([rows, heldOut], { "max-length": 128 }, 3),
      one: (await tuner.previewRows([{ ...rows, bytes: rows.bytes.slice(0, rows.bytes.indexOf(10) + 1) }, heldOut], {}, 3)).map((row) => row.title),
      count: await tuner.countRows([rows, heldOut], { "max-length": 128 }),
      bad: await tuner.countRows([bad], { "skip-bad-rows": true }),
      wrong: await told(tuner.countRows([rows], { "max-length": 0 })),
      suites: await tuner.suites({ toml, files: [heldOut] }),
      missing: await told(tuner.suites({ toml, files: [] })),
      left: rows.bytes.length,
    };
  }, model);
  const lines = (name) => readFileSync(join(root, "base/data", name), "utf8").trim().split("\n").length;
  const [train, heldOut] = [lines("train.jsonl"), lines("heldout.jsonl")];
  assert.match(told.early, /^NoModel: /);
  assert.deepEqual(told.report, [
    train + heldOut,
    [{ name: "heldout.jsonl", held_out: true, rows: heldOut }, { name: "train.jsonl", held_out: false, rows: train }],
    heldOut,
  ]);
  assert.equal(told.preview.length, 3);
  assert.match(told.preview[0].title, /^train\.jsonl:1 /);
  assert.ok(told.preview[0].pieces.some((piece) => piece.learnt));
  assert.deepEqual(told.one.map((title) => title.split(" ")[0]), ["train.jsonl:1", "heldout.jsonl:1", "heldout.jsonl:2"]);
  assert.equal(told.count.rows, train + heldOut);
  assert.equal(told.count.kept, train + heldOut);
  assert.ok(told.count.targets > 0 && told.count.targets < told.count.tokens && told.count.longest <= 128);
  assert.deepEqual([told.bad.rows, told.bad.kept, told.bad.bad_rows, told.bad.bad[0].place], [2, 1, 1, "bad.jsonl:2"]);
  assert.match(told.wrong, /^Config: max-length|^Config: max_length/);
  assert.deepEqual(told.suites, [{ name: "held-out", items: 5, measures: ["exact_match"], forgetting: false }]);
  assert.match(told.missing, /heldout\.jsonl/);
  assert.ok(told.left > 1000); // the page still has its bytes
  clean();
  await context.close();
});
