// What a page and the tuner say to each other. Types alone: this file costs a page nothing.
import type { CheckCase, Comparison, MemoryPlan, PreviewRow, RowCount, RowReport, RunAbout, Sample, SuiteResult } from "./reports.js";

export type * from "./reports.js";

/** Rows: JSONL, JSON or CSV, plain or gzip. The name's ending tells which. */
export interface RowFile {
  name: string;
  bytes: Uint8Array;
}

/** A suite file (TOML, as for `wgpu-sft eval`) and the row files that it names. */
export interface SuiteFiles {
  toml: string;
  files: RowFile[];
}

/** The settings of `wgpu-sft train`: the keys of train.toml, each absent where its default will do. */
export interface Settings {
  "max-length"?: number;
  overlong?: "error" | "drop" | "truncate" | "split";
  "train-on"?: "assistant" | "last" | "all";
  columns?: string;
  shape?: string;
  "alpaca-style"?: "alpaca" | "alpaca-chat";
  "skip-bad-rows"?: boolean;
  mix?: "proportional" | "sqrt" | "balanced";
  method?: "lora" | "full";
  "lora-r"?: number;
  "lora-alpha"?: number;
  "lora-dropout"?: number;
  "lora-target-modules"?: string | string[];
  "learning-rate"?: number;
  "lr-scheduler-type"?: "linear" | "cosine" | "constant" | "constant_with_warmup";
  "warmup-steps"?: number;
  "weight-decay"?: number;
  "adam-beta1"?: number;
  "adam-beta2"?: number;
  "adam-epsilon"?: number;
  "max-grad-norm"?: number;
  "batch-size"?: number;
  "gradient-accumulation-steps"?: number;
  "num-train-epochs"?: number;
  "max-steps"?: number;
  seed?: number;
  "no-shuffle"?: boolean;
  "logging-steps"?: number;
  "eval-steps"?: number;
  "load-best-model-at-end"?: boolean;
  "metric-for-best-model"?: string;
  "early-stopping-patience"?: number;
  "early-stopping-threshold"?: number;
  "save-steps"?: number;
  "save-dtype"?: Dtype;
  dtype?: Dtype;
  "micro-batch-tokens"?: number;
  "memory-limit"?: string;
  recompute?: "auto" | "off" | "on";
  activations?: Dtype;
}

/** How numbers are stored. */
export type Dtype = "f32" | "f16" | "bf16";

/**
 * What an error of the tuner is about; its `message` is one sentence for people.
 *
 * `Data`, `Template`, `Config`, `Weights`, `TooLarge`, `Diverged`, `Gpu` and `Checkpoint` come from the library. `NoWebGpu`: this browser
 * offers none. `Storage`: no room, or no access to it. `Network`: a download. `NoModel`: a model must be opened first. `NoRun`: no such
 * run. `InUse`: another tab has it, or a run of that name exists. `Input`: an argument. `Stopped`: `stopAnswering`, `stopEvaluating`,
 * `stopOpening` or `close` was called, or `openModel` again. `Worker`: the worker could not be started, or died.
 */
export type ErrorName =
  | "Data" | "Template" | "Config" | "Weights" | "TooLarge" | "Diverged" | "Gpu" | "Checkpoint"
  | "NoWebGpu" | "Storage" | "Network" | "NoModel" | "NoRun" | "InUse" | "Input" | "Stopped" | "Worker";

/** The GPU that computes. */
export interface DeviceInfo {
  /** What the browser tells of it; may be empty. */
  name: string;
  /** The kernel family in use. */
  kernels: string;
  /** Whether it is the CPU after all. */
  isSoftware: boolean;
  /** Optional WebGPU features in use. */
  features: string[];
  /** Most bytes of a binding. */
  maxBinding: number;
  /** Most bytes of a buffer. */
  maxBuffer: number;
}

/** Bytes of our buffers on the device. */
export interface DeviceMemory {
  /** Now. */
  live: number;
  /** The most at a time since the device was opened. */
  peak: number;
  /** How many buffers were made since. */
  allocations: number;
}

/** A file and where it was: `path` is relative, as `webkitRelativePath` is. For folders that were dropped. */
export interface PlacedFile {
  path: string;
  file: Blob;
}

/** Where a model comes from. */
export type ModelInput =
  /** A Hugging Face folder's files, or one `.gguf`. Files of folders below are left out. */
  | { kind: "files"; files: (File | PlacedFile)[]; name?: string }
  /** A folder of static files, such as the bundled model. `files` lists them; without it, the usual names are tried. */
  | { kind: "url"; base: string; name: string; files?: string[] }
  /** A model of the Hugging Face Hub, such as `HuggingFaceTB/SmolLM2-135M`. `file` is one `.gguf` of it. The one thing that leaves the machine is this name. */
  | { kind: "hub"; id: string; revision?: string; file?: string }
  /** A model kept in this browser. */
  | { kind: "stored"; name: string };

/** What a model's headers say. */
export interface ModelInfo {
  name: string;
  kind: ModelInput["kind"];
  model_type: string;
  parameters: number;
  /** Most tokens of a sequence. */
  context: number;
  vocab_size: number;
  layers: number;
  hidden_size: number;
  /** How most weights are stored. */
  dtype: string;
  /** Bytes of its files; what a download takes. */
  file_bytes: number;
  /** Whether it has a tokenizer. Without one it cannot be tuned on text. */
  tokenizer: boolean;
  /** Whether it has a chat template. */
  template: boolean;
}

/** A model kept in this browser. */
export interface StoredModel {
  name: string;
  bytes: number;
  /** Milliseconds since 1970. */
  kept: number;
}

/** What to train. */
export interface Job {
  /** What the run is called: letters, digits, `.`, `_`, `-` and spaces. No other run of this browser may have the name. */
  name: string;
  settings: Settings;
  data: RowFile[];
  evalData?: RowFile[];
  suites?: SuiteFiles;
}

/** What a resumed run needs where its folder does not say: see `resume`. */
export type Overrides = Partial<Omit<Job, "name">>;

/** What happens in a run, in order. The last one is `finished`, `paused` or `failed`. */
export type RunEvent =
  /** What is going on before the first step: loading, tokenising, allocating. `total` is 0 where it is not known. */
  | { type: "progress"; what: string; done: number; total: number }
  /** All is allocated, a checkpoint restored where there is one. */
  | { type: "begun"; about: RunAbout }
  /** An optimizer step is done. `tokens` and `targets` are the step's own, `seconds` its time, where nothing came between. */
  | { type: "step"; step: number; total: number; epoch: number; loss: number; grad_norm: number; learning_rate: number; tokens: number; targets: number; seconds: number | null }
  | { type: "evaluation"; step: number; numbers: Record<string, number | null>; lines: string[]; best: boolean; samples: Omit<Sample, "step">[] }
  /** A checkpoint is in the browser's storage. */
  | { type: "saved"; step: number }
  /** The storage had no room for a checkpoint: the run is paused, not lost. Free some and resume; until the tab is closed it goes on from this very step. */
  | { type: "unsaved"; step: number; error: { name: ErrorName; message: string } }
  | { type: "finished"; step: number; best?: { step: number; metric: string; value: number } | null; comparison?: Comparison | null }
  | { type: "paused"; step: number }
  /** `resumable`: `resume` goes on from the newest checkpoint, or from the start where there is none. */
  | { type: "failed"; error: { name: ErrorName; message: string }; resumable: boolean };

/**
 * `running`: in this tab or another. `paused`, `stopped`: a checkpoint was made when it was. `interrupted`: the tab was closed, or the device
 * lost. `failed`: an error; it can be resumed where the error's cause is gone. All but `finished` and `running` can be resumed.
 */
export type RunState = "running" | "paused" | "stopped" | "finished" | "failed" | "interrupted";

/** A run of this browser. */
export interface RunSummary {
  name: string;
  /** The model's name. */
  model: string;
  state: RunState;
  method: "lora" | "full";
  /** Steps done when its state was last written; of an `interrupted` one, those of its newest checkpoint. */
  step: number;
  /** 0 until it is known. */
  total: number;
  /** Milliseconds since 1970. */
  started: number;
  /** Of the last step that was logged. */
  loss?: number;
  /** Of the newest evaluation. */
  evalLoss?: number;
  /** Why it failed. */
  error?: { name: ErrorName; message: string };
  /** Whether there is an adapter or model to ask, evaluate and download. */
  hasResult: boolean;
  /** Of its files. */
  bytes: number;
  settings: Settings;
}

/** What a run has written. */
export interface RunLog {
  /** Lines of metrics.jsonl: those with `loss` are of training, those with `eval_…` of evaluations. */
  metrics: Record<string, number | null>[];
  samples: Sample[];
  /** run.json, where there is one. */
  run?: Record<string, unknown>;
  /** compare.json: before and after, where the run had suites and came to its end. */
  comparison?: Comparison;
}

/** What is asked: the open model as it is, or with a run's result. */
export type Which = "base" | { run: string };

export interface Message {
  role: "system" | "user" | "assistant";
  content: string;
}

/** How answers are drawn: Hugging Face's names. `temperature` 0 takes the likeliest token, always. */
export interface Sampling {
  temperature?: number;
  top_k?: number;
  top_p?: number;
  min_p?: number;
  seed?: number;
  max_new_tokens?: number;
}

/** What this site stores in the browser, in bytes. */
export interface StorageInfo {
  used: number;
  free: number;
  /** Whether the browser promised not to clear it by itself. */
  persisted: boolean;
}

/** How far something is; `total` is 0 where it is not known. */
export type Progress = (what: string, done: number, total: number) => void;

/**
 * Trains and asks language models in a worker of its own. All methods reject with an `Error` whose `name` is an {@link ErrorName}.
 *
 * One thing at a time uses the device: what is asked for meanwhile waits, in order. Exceptions: rows are read and stored things listed at
 * any time. While a run is paused, anything goes.
 */
export interface Tuner {
  /** Open the GPU; again after it was lost. Methods that need it open it by themselves. */
  open(): Promise<DeviceInfo>;
  /** Called with why, whenever the device is lost (not by `close`). A run under way fails, resumable. */
  onLost(callback: (why: string) => void): void;
  /** Called with what is wrong if the worker dies. All promises reject then; make a new tuner. */
  onDead(callback: (error: Error) => void): void;
  /** Our buffers on the device; zeros where none is open. */
  memory(): Promise<DeviceMemory>;

  /**
   * Open a model: its headers are read, nothing else. It stays open until another one is. A call that another one overtakes rejects with
   * `Stopped`.
   */
  openModel(input: ModelInput, onProgress?: Progress): Promise<ModelInfo>;
  /** End `openModel`: it rejects with `Stopped`, and the model that was open before stays open. */
  stopOpening(): Promise<void>;
  /** The open model. */
  model(): Promise<ModelInfo | undefined>;
  /** What training would take on this device; `longest` is the longest row's tokens; without it, what the settings allow. */
  memoryPlan(settings: Settings, longest?: number): Promise<MemoryPlan>;
  /** Copy the open model into this browser's storage, so that a reload finds it; downloads what is not here yet. */
  keepModel(onProgress?: Progress): Promise<void>;
  models(): Promise<StoredModel[]>;
  forgetModel(name: string): Promise<void>;

  /** Find flaws. Needs no model and no GPU. */
  checkRows(files: RowFile[], heldOut?: RowFile[]): Promise<RowReport>;
  /** The first `limit` rows, token by token, for the open model. */
  previewRows(files: RowFile[], settings: Settings, limit: number): Promise<PreviewRow[]>;
  countRows(files: RowFile[], settings: Settings): Promise<RowCount>;

  /**
   * Train the open model. Resolves when the run has finished, paused, stopped or failed, after that event; rejects where it could not
   * begin (a wrong setting, no model, a name in use). Everything resuming needs is stored first.
   */
  start(job: Job, onEvent: (event: RunEvent) => void): Promise<void>;
  /** Save a checkpoint after the step under way, and hold. The run stays on the device: `resume` goes on at once. */
  pause(): Promise<void>;
  /** The same, and free the device. `resume` goes on from the checkpoint. Also of a run that is paused. */
  stop(): Promise<void>;
  /**
   * Go on with a run: a paused one where it stands, any other from its newest checkpoint, with its model loaded again (fetched, from
   * storage, or the open one if that is it). `overrides` replace what is stored, and are needed for a run from elsewhere.
   */
  resume(name: string, onEvent: (event: RunEvent) => void, overrides?: Overrides): Promise<void>;
  /** All runs of this browser, newest first. */
  runs(): Promise<RunSummary[]>;
  runLog(name: string): Promise<RunLog>;
  deleteRun(name: string): Promise<void>;
  /** Take a run folder of the command line (`<input webkitdirectory>`, or one .zip); gives the run's name. */
  importRun(files: (File | PlacedFile)[], name?: string): Promise<string>;

  /** Answer; `onText` gets the text so far. Resolves with all of it; what `stopAnswering` cuts short resolves with what is there. */
  answer(which: Which, messages: Message[], sampling: Sampling, onText?: (text: string) => void): Promise<string>;
  stopAnswering(): Promise<void>;
  /**
   * Run suites on a model. `settings` say how rows are read (`columns`, `shape`, `alpaca-style`, …): a run's own where they are left out;
   * to compare the base with a run, give the run's. Rejects with `Stopped` after `stopEvaluating`.
   */
  evaluate(which: Which, suites: SuiteFiles, onProgress?: Progress, settings?: Settings): Promise<SuiteResult[]>;
  /** End `evaluate`, or the evaluation that a run is in (it is done again when the run resumes; the run pauses). */
  stopEvaluating(): Promise<void>;
  /** Compare what two models did on the same suites. */
  compare(base: { name: string; results: SuiteResult[] }, tuned: { name: string; results: SuiteResult[] }, examples?: number): Promise<Comparison>;
  /** The suites of a file, without running them: checks file and rows. */
  suites(suites: SuiteFiles, settings?: Settings): Promise<{ name: string; items: number; measures: string[]; forgetting: boolean }[]>;

  /** A .zip of the adapter in PEFT's format. */
  exportAdapter(name: string): Promise<Blob>;
  /** A .zip of the model with the adapter merged: a Hugging Face folder. A run that trained every weight has its own `save-dtype`. */
  exportMerged(name: string, dtype?: Dtype, onProgress?: Progress): Promise<Blob>;
  /** A .zip of the run folder: `wgpu-sft train --resume` goes on in it. Not while it trains: pause it first. */
  exportRun(name: string): Promise<Blob>;
  /** The run's report, a page by itself. */
  report(name: string): Promise<string>;

  /** Run the kernels' case table; `filter` keeps kernels whose name contains it. */
  check(filter: string | undefined, onCase: (result: CheckCase) => void): Promise<void>;
  storage(): Promise<StorageInfo>;
  /** Save a run that trains, free the device, end the worker. */
  close(): Promise<void>;
}

export interface TunerOptions {
  /** Kernel family instead of the one that suits the device: tiled, subgroup or register. */
  kernels?: string;
  /** Where runs and models are kept: the origin's private file system, or memory (gone with the tab). Default: opfs. */
  store?: "opfs" | "memory";
  /** The Hub's address. Default: https://huggingface.co */
  hub?: string;
  /** Where wgpu_sft_web_bg.wasm is, if a bundler does not know. */
  wasmUrl?: string | URL;
  /** Where worker.js is, if a bundler does not know. */
  workerUrl?: string | URL;
}
