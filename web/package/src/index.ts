// The tuner, as a page has it: a worker does the work, this thread passes messages.
import { proxy, wrap } from "comlink";
import type { ModelInput, PlacedFile, Tuner, TunerOptions } from "./api.js";
import type { Served } from "./protocol.js";

export type * from "./api.js";

/** What the worker does, by name. */
const METHODS: Record<Exclude<keyof Tuner, "onLost" | "onDead" | "close">, true> = {
  open: true, memory: true, openModel: true, stopOpening: true, model: true, memoryPlan: true, keepModel: true, models: true, forgetModel: true,
  checkRows: true, previewRows: true, countRows: true, start: true, pause: true, stop: true, resume: true, runs: true, runLog: true,
  deleteRun: true, importRun: true, answer: true, stopAnswering: true, evaluate: true, stopEvaluating: true, compare: true,
  suites: true, exportAdapter: true, exportMerged: true, exportRun: true, report: true, check: true, storage: true,
};

/** What comes to stay: the browser is asked not to clear it when space is short. */
const KEEPS: ReadonlySet<string> = new Set(["start", "keepModel", "importRun"]);

function error(name: string, message: string): Error {
  return Object.assign(new Error(message), { name });
}

/** A function for the worker to call. What it throws is the page's affair. */
const passed = (given: unknown): unknown =>
  typeof given !== "function" ? given : proxy((...told: unknown[]) => {
    try {
      given(...told);
    } catch (thrown) {
      reportError(thrown);
    }
  });

/** Files with their paths, which not every browser sends along. */
const placed = (files: (File | PlacedFile)[]): PlacedFile[] =>
  files.map((file) => (file instanceof File ? { path: file.webkitRelativePath || file.name, file } : file));

/** Start a worker that trains, asks and evaluates language models on this browser's GPU. */
export function createTuner(options: TunerOptions = {}): Tuner {
  const { workerUrl, wasmUrl, ...rest } = options;
  const settings: TunerOptions = { ...rest, ...(wasmUrl !== undefined && { wasmUrl: new URL(wasmUrl, location.href).href }) };
  const worker = workerUrl === undefined
    ? new Worker(new URL("./worker.ts", import.meta.url), { type: "module", name: "wgpu-sft" })
    : new Worker(workerUrl, { type: "module", name: "wgpu-sft" });
  const onLost: ((why: string) => void)[] = [];
  const onDead: ((error: Error) => void)[] = [];

  let die: (why: Error) => void = () => {};
  const dead = new Promise<never>((_, reject) => (die = reject));
  dead.catch(() => {});
  const end = (why: Error): void => {
    worker.terminate();
    die(why);
  };
  worker.onerror = (event) => {
    event.preventDefault();
    const why = event.message ? `it failed: ${event.message}` : "its script cannot be loaded";
    const fault = error("Worker", `the worker has ended; ${why}. What was saved is still there`);
    end(fault);
    for (const callback of onDead) callback(fault);
  };

  const remote = wrap<Served>(worker);
  const begun = remote.begin(settings, proxy((why: string) => onLost.forEach((callback) => callback(why))));
  const call = async (method: string, given: unknown[]): Promise<unknown> => {
    if (KEEPS.has(method)) void navigator.storage?.persist?.().catch(() => false);
    await Promise.race([begun, dead]);
    return Promise.race([remote.call(method, ...given.map(passed)), dead]);
  };
  begun.catch(() => {});

  const methods = Object.keys(METHODS).map((method) => [method, (...given: unknown[]) => call(method, given)]);
  const tuner = Object.fromEntries(methods) as Pick<Tuner, keyof typeof METHODS>;
  return {
    ...tuner,
    openModel: (input: ModelInput, onProgress) =>
      tuner.openModel(input.kind === "files" ? { ...input, files: placed(input.files) } : input, onProgress),
    importRun: (files, name) => tuner.importRun(placed(files), name),
    onLost: (callback) => void onLost.push(callback),
    onDead: (callback) => void onDead.push(callback),
    async close() {
      await call("close", []).catch(() => {});
      end(error("Stopped", "the tuner was closed"));
    },
  };
}
