// What is taken home, and brought along: zips of adapters, models and runs; reports.
import * as wasm from "wgpu-sft-wasm";
import type { Dtype, PlacedFile, Progress } from "./api.js";
import type { Asking } from "./asking.js";
import { TunerError } from "./errors.js";
import { type Files, readText, writeJson } from "./folder.js";
import { isOfModel } from "./hub.js";
import { JOB, type Status, checkName, checkpoints, isOurs, readRecord, recorded, result, writeStatus } from "./job.js";
import { lock } from "./locks.js";
import type { Runs } from "./runs.js";
import { unzip, zip } from "./zip.js";

async function* files(folder: Files, within: string, wanted: (path: string) => boolean): AsyncGenerator<{ path: string; file: Blob }> {
  for (const path of await folder.list()) {
    const file = wanted(path) ? await folder.file(path) : undefined;
    if (file) yield { path: `${within}/${path}`, file };
  }
}

export class Keeping {
  readonly #runs: Runs;
  readonly #asking: Asking;
  /** For what is made on the way. */
  readonly #scratch: Files;
  /** Before the names of its folders, which other tabs see: they are in use. */
  readonly #locks: string;

  constructor(runs: Runs, asking: Asking, scratch: Files, locks: string) {
    this.#runs = runs;
    this.#asking = asking;
    this.#scratch = scratch;
    this.#locks = locks;
  }

  /** Do something in a folder that is gone afterwards. */
  async #aside<T>(task: (folder: Files) => Promise<T>): Promise<T> {
    const place = crypto.randomUUID();
    const release = await lock(`${this.#locks}scratch ${place}`);
    try {
      return await task(this.#scratch.sub(place));
    } finally {
      await this.#scratch.remove(place);
      release?.();
    }
  }

  async #result(name: string): Promise<{ at: Files; kind: "adapter" | "model" }> {
    const found = await result((await this.#runs.find(name)).folder);
    if (!found) throw new TunerError("NoRun", `${name} has learnt nothing yet: it has no checkpoint`);
    return found;
  }

  async adapter(name: string): Promise<Blob> {
    const { at, kind } = await this.#result(name);
    if (kind === "model") throw new TunerError("Input", `${name} trained every weight: it has no adapter, but a model`);
    return zip(files(at, name, (path) => path === "adapter_config.json" || path === "adapter_model.safetensors"));
  }

  async merged(name: string, dtype: Dtype | undefined, progress: Progress): Promise<Blob> {
    const { at, kind } = await this.#result(name);
    if (kind === "model") {
      return zip(files(at, name, (path) => !path.includes("/") && isOfModel(path) && path !== "optimizer.safetensors"));
    }
    const { source, adapter } = await this.#asking.learnt(name, progress);
    return this.#aside(async (folder) => {
      const writing = (done: number, total: number): void => progress("merging", done, total);
      await wasm.exportMerged(source, adapter ?? [], dtype, folder, writing);
      // The files must outlive their folder.
      return zip(files(folder, name, () => true));
    });
  }

  async run(name: string): Promise<Blob> {
    const { folder } = await this.#runs.find(name);
    // The files of a run that trains are not all of one step.
    return this.#runs.still(name, () => zip(files(folder, name, (path) => !isOurs(path))));
  }

  async report(name: string): Promise<string> {
    const { folder } = await this.#runs.find(name);
    const texts = ["run.json", "metrics.jsonl", "samples.jsonl", "compare.json"].map((path) => readText(folder, path));
    const [run, metrics, samples, comparison] = await Promise.all(texts);
    if (run === undefined) throw new TunerError("NoRun", `${name} has not begun: there is nothing to report`);
    return wasm.reportHtml(run, metrics ?? "", samples, comparison);
  }

  /** Take in a run folder of the command line. */
  async take(given: PlacedFile[], name: string | undefined): Promise<string> {
    const [first] = given;
    if (!first) throw new TunerError("Input", "no file was given");
    const packed = given.length === 1 && /\.zip$/i.test(first.path) ? unzip(first.file) : loose(given);
    return this.#aside(async (scratch) => {
      for await (const { path, stream } of packed) await pour(stream, scratch, path);
      const root = await this.#root(scratch);
      const named = name ?? (root.name || first.path.replace(/\.zip$/i, ""));
      if (name !== undefined) checkName(name);
      const tidy = named.replace(/[^\p{L}\p{N}._ -]/gu, "_").replace(/^[. -]+|[. ]+$/gu, "").slice(0, 80) || "run";
      const free = await this.#runs.freeName(name ?? tidy);
      if (name !== undefined && free !== name) throw new TunerError("InUse", `there is a run ${name} already`);
      await this.#runs.adopt(free, (folder) => adopt(root.folder, folder));
      return free;
    });
  }

  /** The folder of the run among the files: the one right above a checkpoint or a log. */
  async #root(scratch: Files): Promise<{ folder: Files; name: string }> {
    const marks = (await scratch.list()).flatMap((path) => {
      const mark = /^((?:.*\/)?)(checkpoint-\d+\/state\.json|metrics\.jsonl|run\.json)$/.exec(path);
      return mark ? [mark[1]!] : [];
    });
    const [root] = [...new Set(marks)].sort((a, b) => a.length - b.length);
    if (root === undefined) throw new TunerError("Input", "this is no run: it has no checkpoint and no metrics.jsonl");
    return { folder: root ? scratch.sub(root) : scratch, name: root.split("/").at(-2) ?? "" };
  }
}

/** Make a run of the files of one from elsewhere. */
async function adopt(from: Files, folder: Files): Promise<void> {
  for (const path of await from.list()) {
    const file = isOurs(path) ? undefined : await from.file(path);
    if (file) await pour(file.stream(), folder, path);
  }
  const run = await readRecord(folder);
  const [step = 0] = await checkpoints(folder);
  const state: Status["state"] = run?.sessions?.at(-1)?.outcome === "finished" ? "finished" : "stopped";
  await writeStatus(folder, { state, step, total: run?.total_steps ?? 0 });
  await writeJson(folder, JOB, await recorded(folder));
}

function* loose(given: PlacedFile[]): Generator<{ path: string; stream: ReadableStream<Uint8Array> }> {
  for (const { path, file } of given) yield { path, stream: file.stream() };
}

/** Write a stream to a file. */
async function pour(stream: ReadableStream<Uint8Array>, folder: Files, path: string): Promise<void> {
  const writer = await folder.create(path);
  let at = 0;
  const reader = stream.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    writer.write(value, at);
    at += value.length;
  }
  writer.close();
}
