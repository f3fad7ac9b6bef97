// The tuner, in its worker: what api.ts promises, from the parts that do it.
import * as wasm from "wgpu-sft-wasm";
import type {
  CheckCase, Comparison, DeviceInfo, DeviceMemory, Dtype, Job, MemoryPlan, Message, ModelInfo, Overrides, PlacedFile, PreviewRow,
  Progress, RowCount, RowFile, RowReport, RunLog, RunSummary, Sampling, Settings, StorageInfo, StoredModel, SuiteFiles, SuiteResult,
  Tuner, TunerOptions, Which,
} from "./api.js";
import { Asking } from "./asking.js";
import type { OnEvent } from "./driver.js";
import { TunerError, room } from "./errors.js";
import { type Files, MemoryFolder, OpfsFolder } from "./folder.js";
import { Gpu } from "./gpu.js";
import { Keeping } from "./keeping.js";
import { type LocalInput, Models } from "./models.js";
import { sparse } from "./progress.js";
import { Queue } from "./queue.js";
import { Runs } from "./runs.js";
import { sweep } from "./sweep.js";

const quiet: Progress = () => {};

/** All of the tuner but what only a page can do. */
type Local = Omit<Tuner, "onLost" | "onDead" | "openModel" | "importRun">;

export class LocalTuner implements Local {
  readonly #kernels: string | undefined;
  readonly #gpu: Gpu;
  readonly #queue = new Queue();
  readonly #models: Models;
  readonly #runs: Runs;
  readonly #asking: Asking;
  readonly #keeping: Keeping;
  #answers = new AbortController();
  #evaluations = new AbortController();

  private constructor(files: Files, locks: string, options: TunerOptions, onLost: (why: string) => void) {
    this.#kernels = options.kernels;
    this.#gpu = new Gpu(options.kernels, (why) => {
      this.#asking.release();
      void this.#runs.lost();
      onLost(why);
    });
    this.#models = new Models(files.sub("models"), locks, (options.hub ?? "https://huggingface.co").replace(/\/$/, ""));
    const shared = { gpu: this.#gpu, queue: this.#queue, models: this.#models, makeRoom: () => this.#asking.release() };
    this.#runs = new Runs(files.sub("runs"), shared, locks);
    this.#asking = new Asking(this.#gpu, this.#models, this.#runs);
    this.#keeping = new Keeping(this.#runs, this.#asking, files.sub("scratch"), locks);
  }

  static async create(options: TunerOptions, onLost: (why: string) => void): Promise<LocalTuner> {
    const files = options.store === "memory" ? new MemoryFolder() : await OpfsFolder.root("wgpu-sft").catch((error: unknown) => {
      throw new TunerError("Storage", `this browser gives no storage here (a private window?): ${String(error)}`);
    });
    // What is in memory is nobody else's.
    const locks = options.store === "memory" ? `wgpu-sft ${crypto.randomUUID()} ` : "wgpu-sft ";
    await sweep(files, locks).catch(() => {});
    return new LocalTuner(files, locks, options, onLost);
  }

  open(): Promise<DeviceInfo> {
    return this.#gpu.info();
  }

  async memory(): Promise<DeviceMemory> {
    return this.#gpu.memory();
  }

  openModel(input: LocalInput, onProgress: Progress = quiet): Promise<ModelInfo> {
    return this.#models.open(input, sparse(onProgress));
  }

  async stopOpening(): Promise<void> {
    this.#models.stopOpening();
  }

  async model(): Promise<ModelInfo | undefined> {
    return this.#models.opened?.info;
  }

  async memoryPlan(settings: Settings, longest?: number): Promise<MemoryPlan> {
    const { maxBinding, kernels } = await this.#gpu.open();
    const plan = wasm.memoryPlan(this.#models.current.source, maxBinding, kernels, JSON.stringify(settings), longest ?? 0);
    return JSON.parse(plan) as MemoryPlan;
  }

  keepModel(onProgress: Progress = quiet): Promise<void> {
    return this.#models.keep(sparse(onProgress));
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

  #rows<T>(task: (reader: wasm.RowReader) => T): T {
    const reader = wasm.RowReader.fromSource(this.#models.current.source);
    try {
      return task(reader);
    } finally {
      reader.free();
    }
  }

  async previewRows(files: RowFile[], settings: Settings, limit: number): Promise<PreviewRow[]> {
    return this.#rows((reader) => {
      const rows: PreviewRow[] = [];
      for (const { name, bytes } of files) {
        if (rows.length < limit) rows.push(...(JSON.parse(reader.preview(name, bytes, JSON.stringify(settings), limit - rows.length)) as PreviewRow[]));
      }
      return rows;
    });
  }

  async countRows(files: RowFile[], settings: Settings): Promise<RowCount> {
    return this.#rows((reader) => {
      const counts = files.map(({ name, bytes }) => JSON.parse(reader.count(name, bytes, JSON.stringify(settings))) as RowCount);
      const sum = (key: Exclude<keyof RowCount, "bad">): number => counts.reduce((sum, count) => sum + count[key], 0);
      return {
        rows: sum("rows"),
        kept: sum("kept"),
        examples: sum("examples"),
        tokens: sum("tokens"),
        targets: sum("targets"),
        longest: Math.max(0, ...counts.map((count) => count.longest)),
        overlong: sum("overlong"),
        bad_rows: sum("bad_rows"),
        bad: counts.flatMap((count) => count.bad),
      };
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

  importRun(files: PlacedFile[], name?: string): Promise<string> {
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

  evaluate(which: Which, suites: SuiteFiles, onProgress: Progress = quiet, settings?: Settings): Promise<SuiteResult[]> {
    const { signal } = this.#evaluations;
    return this.#queue.take(() => this.#asking.evaluate(which, suites, sparse(onProgress), settings, signal), signal);
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

  async suites({ toml, files }: SuiteFiles, settings: Settings = {}): ReturnType<Tuner["suites"]> {
    const suites = new wasm.Suites(this.#models.current.source, toml, files, JSON.stringify(settings));
    try {
      return JSON.parse(suites.about) as Awaited<ReturnType<Tuner["suites"]>>;
    } finally {
      suites.free();
    }
  }

  exportAdapter(name: string): Promise<Blob> {
    return this.#keeping.adapter(name);
  }

  exportMerged(name: string, dtype?: Dtype, onProgress: Progress = quiet): Promise<Blob> {
    return this.#keeping.merged(name, dtype, sparse(onProgress));
  }

  exportRun(name: string): Promise<Blob> {
    return this.#keeping.run(name);
  }

  report(name: string): Promise<string> {
    return this.#keeping.report(name);
  }

  check(filter: string | undefined, onCase: (result: CheckCase) => void): Promise<void> {
    return this.#queue.take(() =>
      wasm.check(this.#kernels, filter, (result: wasm.Case) => {
        const { name, family, max_error, tolerance, passed } = result;
        result.free();
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
