// What the library tells: its own JSON, as the command line writes it.

/** Bytes that training would take on this device. Nothing is allocated to find out. */
export interface MemoryPlan {
  total: number;
  weights: number;
  adapter: number;
  gradients: number;
  optimizer: number;
  activations: number;
  micro_batch_tokens: number;
  recompute: boolean;
  dtype: string;
  largest_binding: number;
  max_binding: number;
  fits: boolean;
  /** What to change where it does not fit. */
  advice: string[];
}

export interface Count {
  name: string;
  rows: number;
}

export interface Place {
  file: string;
  line: number;
}

/** One kind of flaw. */
export interface Finding {
  code: string;
  severity: "error" | "warning" | "info";
  title: string;
  count: number;
  /** Of all rows, 0 to 1. */
  share: number;
  examples: (Place & { like?: Place; snippet: string })[];
  advice: string;
}

/** The report of `wgpu-sft data check --json`. */
export interface RowReport {
  version: number;
  rows: number;
  sources: { name: string; held_out: boolean; rows: number }[];
  shapes: Count[];
  tasks: { name: string; rows: number; held_out: number; guessed: number; confidence: number }[];
  length: {
    unit: "words" | "tokens";
    total: number;
    median: number;
    p90: number;
    p99: number;
    longest: number;
    limit: number | null;
    over: number;
    histogram: { from: number; to: number; rows: number }[];
  } | null;
  languages: Count[];
  similarity: number;
  overlap: {
    held_out_rows: number;
    duplicates: number;
    near_duplicates: number;
    measured_rows: number;
    overlapping_rows: number;
    mean_share: number;
  } | null;
  flagged_terms: Count[];
  representation: { name: string; buckets: Count[] }[];
  findings: Finding[];
}

/** A row as the open model sees it: an entry of `wgpu-sft data preview --json`. */
export interface PreviewRow {
  title: string;
  pieces: { text: string; ids: number[]; learnt: boolean; special: boolean }[];
  tokens: number;
  targets: number;
}

/** What rows come to with the open model and these settings. */
export interface RowCount {
  rows: number;
  /** Rows that can be used. */
  kept: number;
  /** What is trained on: rows, or parts of rows that are split. */
  examples: number;
  tokens: number;
  /** Tokens that are learnt. */
  targets: number;
  /** Tokens of the longest row. */
  longest: number;
  /** Rows that are longer than `max-length`. */
  overlong: number;
  /** Rows that cannot be used: with `skip-bad-rows` they are left out, without it the run is refused. */
  bad_rows: number;
  /** The first of them. */
  bad: { place: string; why: string }[];
}

/** What a run is about to do. */
export interface RunAbout {
  total_steps: number;
  /** Steps done: 0, or those of the checkpoint it goes on from. */
  step: number;
  steps_per_epoch: number;
  rows: number;
  eval_rows: number;
  /** Of an epoch. */
  tokens: number;
  targets: number;
  /** Bytes, as planned; `suites` are known when they are allocated. */
  memory: Omit<MemoryPlan, "total" | "largest_binding" | "max_binding" | "fits" | "advice"> & { suites: number };
  trained_parameters: number;
  kernels: string;
  /** What to know of it, such as that its checkpoint is from another device. */
  warnings: string[];
}

/** A line of `samples.jsonl`. */
export interface Sample {
  step: number;
  suite: string;
  prompt: string;
  reference: string;
  answer: string;
}

/** What a model did on a suite. */
export interface SuiteResult {
  suite: { name: string; data: string; measure: string[]; forgetting: boolean; [key: string]: unknown };
  items: {
    line: number;
    task?: string;
    group?: string;
    prompt: string;
    references: string[];
    answer: string;
    tallies: Record<string, (number | null)[]>;
  }[];
}

/** A number, its standard error, a 95 % interval. `null`: it cannot be told. */
export interface Estimate {
  value: number | null;
  stderr: number | null;
  low: number | null;
  high: number | null;
}

export interface Difference {
  items: number;
  base: Estimate;
  tuned: Estimate;
  /** The second less the first, by the paired bootstrap. */
  difference: Estimate;
  wins: number;
  losses: number;
  ties: number;
}

/** Two models by one measure of one suite. */
export interface SuiteComparison {
  name: string;
  measure: string;
  /** Whether it is the first measure of its suite. */
  decides: boolean;
  higher_is_better: boolean;
  /** Whether it must not get worse. */
  forgetting: boolean;
  all: Difference;
  tasks: [string, Difference][];
  examples: { task: string | null; prompt: string; reference: string; base: string; tuned: string; verdict?: string }[];
  signature: string | null;
  /** In words, such as `better`, where the comparison was made here. */
  verdict?: string;
}

/** Two models on the same suites: compare.json. */
export interface Comparison {
  base: string;
  tuned: string;
  suites: SuiteComparison[];
}

/** A kernel's case on this GPU. */
export interface CheckCase {
  name: string;
  family: string;
  max_error: number;
  tolerance: number;
  passed: boolean;
}
