// The tuner, in its worker: what api.ts promises, from the parts that do it.
import * as wasm from "wgpu-sft-wasm";
import type {
  CheckCase, Comparison, DeviceInfo, DeviceMemory, Dtype, Job, MemoryPlan, Message, ModelInfo, ModelInput, Overrides, PreviewRow,
  Progress, RowCount, RowFile, RowReport, RunLog, RunSummary, Sampling, Settings, StorageInfo, StoredModel, SuiteFiles, SuiteResult,
  Tuner, TunerOptions, Which,
} from "./api.js";
import { Asking } from "./asking.js";
import type { OnEvent } from "./driver.js";
import { TunerError, room } from "./errors.js";
import { type Files, MemoryFolder, OpfsFolder } from "./folder.js";
import { Gpu } from "./gpu.js";
import { Keeping } from "./keeping.js";
import { Models } from "./models.js";
import { Queue } from "./queue.js";
import { Runs } from "./runs.js";

const quiet: Progress = () => {};

/** Rows' lengths where no setting says more: `train`'s own. */
const MAX_LENGTH = 1024;

/** All of the tuner but what only a page can do. */
export type Served = Omit<Tuner, "onLost" | "onDead">;

export class LocalTuner implements Served {
  readonly #kernels: string | undefined;
  readonly #gpu: Gpu;
  readonly #queue = new Queue();
  readonly #models: Models;
  readonly #runs: Runs;
  readonly #asking: Asking;
  readonly #keeping: Keeping;
  #answers = new AbortController();
  #evaluations = new AbortController();

  private constructor(files: Files, options: TunerOptions, onLost: (why: string) => void) {
    this.#kernels = options.kernels;
    this.#gpu = new Gpu(options.kernels, (why) => {
      this.#asking.release();
      void this.#runs.lost();
      onLost(why);
    });
    this.#models = new Models(files.sub("models"), (options.hub ?? "https://huggingface.co").replace(/\/$/, ""));
    const shared = { gpu: this.#gpu, queue: this.#queue, models: this.#models, makeRoom: () => this.#asking.release() };
    // Runs in memory are nobody else's.
    const locks = options.store === "memory" ? `wgpu-sft ${crypto.randomUUID()} ` : "wgpu-sft run ";
    this.#runs = new Runs(files.sub("runs"), shared, locks);
    this.#asking = new Asking(this.#gpu, this.#models, this.#runs);
    this.#keeping = new Keeping(this.#runs, this.#asking, files.sub("scratch"));
  }

  static async create(options: TunerOptions, onLost: (why: string) => void): Promise<LocalTuner> {
    const files = options.store === "memory" ? new MemoryFolder() : await OpfsFolder.root("wgpu-sft").catch((error: unknown) => {
      throw new TunerError("Storage", `this browser gives no storage here (a private window?): ${String(error)}`);
    });
    return new LocalTuner(files, options, onLost);
  }

  open(): Promise<DeviceInfo> {
    return this.#gpu.info();
  }

  async memory(): Promise<DeviceMemory> {
    return this.#gpu.memory();
  }

  openModel(input: ModelInput, onProgress: Progress = quiet): Promise<ModelInfo> {
    return this.#models.open(input, onProgress);
  }

  async model(): Promise<ModelInfo | undefined> {
    return this.#models.opened?.info;
  }

  async memoryPlan(settings: Settings, longest?: number): Promise<MemoryPlan> {
    const { source, info } = this.#models.current;
    const { maxBinding, kernels } = await this.#gpu.open();
    const rows = longest ?? settings["max-length"] ?? Math.min(MAX_LENGTH, info.context);
    return JSON.parse(wasm.memoryPlan(source, maxBinding, kernels, JSON.stringify(settings), rows)) as MemoryPlan;
  }

  keepModel(onProgress: Progress = quiet): Promise<void> {
    return this.#models.keep(onProgress);
  }

  models(): Promise<StoredModel[]> {
    return this.#models.list();
  }

  forgetModel(name: string): Promise<void> {
    return this.#models.forget(name);
  }

  async checkRows(files: RowFile[], heldOut: RowFile[] = []): Promise<RowReport> {
    const checker = new wasm.RowChecker(undefined);
    for (const { name, bytes } of heldOut) checker.add(name, bytes, true);
    for (const { name, bytes } of files) checker.add(name, bytes, false);
    return JSON.parse(checker.finish()) as RowReport;
  }

  #rows<T>(settings: Settings, task: (reader: wasm.RowReader) => T): T {
    const reader = wasm.RowReader.fromSource(this.#models.current.source, JSON.stringify(settings));
    try {
      return task(reader);
    } finally {
      reader.free();
    }
  }

  async previewRows(files: RowFile[], settings: Settings, limit: number): Promise<PreviewRow[]> {
    return this.#rows(settings, (reader) => {
      const rows: PreviewRow[] = [];
      for (const { name, bytes } of files) {
        if (rows.length < limit) rows.push(...(JSON.parse(reader.preview(name, bytes, limit - rows.length)) as PreviewRow[]));
      }
      return rows;
    });
  }

  async countRows(files: RowFile[], settings: Settings): Promise<RowCount> {
    return this.#rows(settings, (reader) => {
      const all: RowCount = { rows: 0, examples: 0, tokens: 0, targets: 0, longest: 0, bad: [] };
      for (const { name, bytes } of files) {
        const one = JSON.parse(reader.count(name, bytes)) as RowCount;
        for (const key of ["rows", "examples", "tokens", "targets"] as const) all[key] += one[key];
        all.longest = Math.max(all.longest, one.longest);
        all.bad.push(...one.bad);
      }
      return all;
    });
  }

  start(job: Job, onEvent: OnEvent): Promise<void> {
    return this.#runs.start(job, onEvent);
  }

  pause(): Promise<void> {
    return this.#runs.hold("pause");
  }

  stop(): Promise<void> {
    return this.#runs.hold("stop");
  }

  resume(name: string, onEvent: OnEvent, overrides?: Overrides): Promise<void> {
    return this.#runs.resume(name, onEvent, overrides);
  }

  runs(): Promise<RunSummary[]> {
    return this.#runs.list();
  }

  runLog(name: string): Promise<RunLog> {
    return this.#runs.log(name);
  }

  deleteRun(name: string): Promise<void> {
    return this.#runs.delete(name);
  }

  importRun(files: File[], name?: string): Promise<string> {
    return this.#keeping.take(files, name);
  }

  async answer(which: Which, messages: Message[], sampling: Sampling, onText: (text: string) => void = () => {}): Promise<string> {
    const { signal } = this.#answers;
    try {
      return await this.#queue.take(() => this.#asking.answer(which, messages, sampling, onText, signal), signal);
    } catch (error) {
      // It never had its turn.
      if (error instanceof Error && error.name === "Stopped" && signal.aborted) return "";
      throw error;
    }
  }

  async stopAnswering(): Promise<void> {
    this.#answers.abort();
    this.#answers = new AbortController();
  }

  evaluate(which: Which, suites: SuiteFiles, onProgress: Progress = quiet): Promise<SuiteResult[]> {
    const { signal } = this.#evaluations;
    return this.#queue.take(() => this.#asking.evaluate(which, suites, onProgress, signal), signal);
  }

  async stopEvaluating(): Promise<void> {
    this.#evaluations.abort();
    this.#evaluations = new AbortController();
    this.#runs.stopEvaluating();
  }

  async compare(base: { name: string; results: SuiteResult[] }, tuned: { name: string; results: SuiteResult[] }, examples = 10): Promise<Comparison> {
    const [before, after] = [base, tuned].map(({ results }) => JSON.stringify(results)) as [string, string];
    return JSON.parse(wasm.compare(base.name, before, tuned.name, after, examples)) as Comparison;
  }

  async suites({ toml, files }: SuiteFiles): Promise<{ name: string; items: number; measures: string[] }[]> {
    const suites = new wasm.Suites(this.#models.current.source, toml, files, "{}");
    try {
      return JSON.parse(suites.about) as { name: string; items: number; measures: string[] }[];
    } finally {
      suites.free();
    }
  }

  exportAdapter(name: string): Promise<Blob> {
    return this.#keeping.adapter(name);
  }

  exportMerged(name: string, dtype?: Dtype, onProgress: Progress = quiet): Promise<Blob> {
    return this.#keeping.merged(name, dtype, onProgress);
  }

  exportRun(name: string): Promise<Blob> {
    return this.#keeping.run(name);
  }

  report(name: string): Promise<string> {
    return this.#keeping.report(name);
  }

  check(filter: string | undefined, onCase: (result: CheckCase) => void): Promise<void> {
    return this.#queue.take(() =>
      wasm.check(this.#kernels, filter, (result) => {
        const { name, family, max_error, tolerance, passed } = result;
        onCase({ name, family, max_error, tolerance, passed });
      }),
    );
  }

  async storage(): Promise<StorageInfo> {
    return { ...(await room()), persisted: await navigator.storage.persisted() };
  }

  async close(): Promise<void> {
    await this.stopAnswering();
    await this.stopEvaluating();
    await this.#runs.close();
    await this.#queue.close();
    this.#asking.release();
    this.#gpu.close();
  }
}
