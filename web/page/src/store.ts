// All state of the page, and who draws it. Drawing happens at most five times a second, in an animation frame: not while the tab is hidden.

import type {
  CheckCase,
  Comparison,
  DeviceInfo,
  MemoryPlan,
  ModelInfo,
  PreviewRow,
  RowCount,
  RowFile,
  RowReport,
  RunAbout,
  RunSummary,
  Sample,
  Settings,
  StorageInfo,
  StoredModel,
} from "../../package/src/api";
import { bundledSettings } from "./bundled";

export interface Trouble {
  name: string;
  message: string;
}

/** Something that takes a while. */
export interface Busy {
  what: string;
  done: number;
  total: number;
}

export type Phase =
  "idle" | "starting" | "running" | "pausing" | "paused" | "stopping" | "stopped" | "finished" | "failed";

/** Rows to train on and rows held out from it, as they are given to the tuner. */
export interface Rows {
  train: RowFile[];
  heldOut: RowFile[];
}

/** A run as it is seen while it goes on, or when it is opened again. */
export interface Live {
  name: string;
  phase: Phase;
  /** What goes on besides steps: loading, evaluating, saving. */
  busy?: Busy | undefined;
  about?: RunAbout | undefined;
  step: number;
  total: number;
  epoch: number;
  /** Curves: [step, value]. */
  losses: [number, number][];
  heldOut: [number, number][];
  lastLoss?: number | undefined;
  evalLoss?: number | undefined;
  tokensPerSecond?: number | undefined;
  secondsLeft?: number | undefined;
  memory?: number | undefined;
  peak?: number | undefined;
  savedStep?: number | undefined;
  /** Whether it has suites, or was evaluated before; what else is evaluated, `about` says. */
  evaluated?: boolean | undefined;
  /** Steps between evaluations, where there are any but the last. */
  evalSteps?: number | undefined;
  /** What an evaluation took. */
  evalSeconds?: number | undefined;
  samples: Sample[];
  best?: { step: number; metric: string; value: number } | undefined;
  comparison?: Comparison | undefined;
  error?: Trouble | undefined;
  resumable?: boolean | undefined;
  note?: string | undefined;
}

export interface Device {
  state: "opening" | "ready" | "none" | "lost" | "failed";
  info?: DeviceInfo | undefined;
  why?: string | undefined;
  /** The run that was under way when the device was lost. */
  runLost?: string | undefined;
}

export interface State {
  device: Device;
  dead?: string | undefined;
  /** Whether nothing outlives this tab. */
  forgets: boolean;
  modelSource: "bundled" | "files" | "hub" | "stored";
  model?: ModelInfo | undefined;
  modelBusy?: Busy | undefined;
  /** Whether the model is being copied, which cannot be called off. */
  keeping: boolean;
  modelError?: Trouble | undefined;
  models: StoredModel[];
  plan?: MemoryPlan | undefined;
  planError?: Trouble | undefined;
  dataSource: "bundled" | "files" | "paste" | "write";
  heldOutSource: "own" | "share" | "none";
  heldOutPercent: number;
  rows?: Rows | undefined;
  dataBusy?: string | undefined;
  dataError?: Trouble | undefined;
  report?: RowReport | undefined;
  rowCount?: RowCount | undefined;
  preview: PreviewRow[];
  previewLimit: number;
  previewError?: Trouble | undefined;
  settings: Settings;
  /** Whether the settings are the person's own: then a change of model leaves them alone. */
  touched: boolean;
  runName: string;
  measure: boolean;
  live?: Live | undefined;
  runs: RunSummary[];
  runsError?: Trouble | undefined;
  /** The run that Evaluate and Keep are about. */
  picked: string;
  evalSource: "bundled" | "made" | "files";
  evalBusy?: Busy | undefined;
  evalError?: Trouble | undefined;
  comparison?: Comparison | undefined;
  /** What the comparison is of. */
  compared?: string | undefined;
  asking: boolean;
  answers?: { base: string; tuned: string; at: "base" | "tuned" | "done" } | undefined;
  askError?: Trouble | undefined;
  keepBusy?: Busy | undefined;
  keepError?: Trouble | undefined;
  storage?: StorageInfo | undefined;
  checking: boolean;
  cases: CheckCase[];
  caseCount: number;
  checkDone: boolean;
  checkError?: Trouble | undefined;
}

export const state: State = {
  device: { state: "opening" },
  forgets: false,
  modelSource: "bundled",
  keeping: false,
  models: [],
  dataSource: "bundled",
  heldOutSource: "own",
  heldOutPercent: 10,
  preview: [],
  previewLimit: 4,
  settings: { ...bundledSettings },
  touched: false,
  runName: "run-1",
  measure: true,
  runs: [],
  picked: "",
  evalSource: "bundled",
  asking: false,
  checking: false,
  cases: [],
  caseCount: 0,
  checkDone: false,
};

interface Watcher {
  pick: (state: State) => unknown[];
  last?: unknown[] | undefined;
  draw: () => void;
}

const watchers: Watcher[] = [];
const PAUSE_MS = 200;
/** Drawing that takes longer goes on in the next frame, so that keys and clicks come between. */
const SLICE_MS = 10;
let due = false;
let drawn = -PAUSE_MS;
let next = 0;

/** Changes state; what shows it is drawn soon. Values that change must be new values: they are told apart by identity. */
export function set(patch: Partial<State>): void {
  Object.assign(state, patch);
  if (!due) later(Math.max(0, PAUSE_MS - (performance.now() - drawn)));
}

/** Draws now, and whenever one of the picked values changes. */
export function watch(pick: (state: State) => unknown[], draw: () => void): void {
  const watcher: Watcher = { pick, draw, last: pick(state) };
  watchers.push(watcher);
  draw();
}

function later(wait: number): void {
  due = true;
  setTimeout(() => requestAnimationFrame(flush), wait);
}

// Each watcher once, from where the last slice ended.
function flush(): void {
  due = false;
  drawn = performance.now();
  for (let looked = 0; looked < watchers.length; looked++) {
    const watcher = watchers[next % watchers.length]!;
    next = (next + 1) % watchers.length;
    const now = watcher.pick(state);
    if (watcher.last?.every((value, i) => value === now[i])) continue;
    watcher.last = now;
    watcher.draw();
    if (performance.now() - drawn > SLICE_MS) return later(0);
  }
  next = 0;
}

/** A run of which nothing is known yet. */
export function fresh(name: string, phase: Phase): Live {
  return { name, phase, step: 0, total: 0, epoch: 0, losses: [], heldOut: [], samples: [] };
}

/** Whether a run has the device. */
export function isBusy(phase: Phase | undefined): boolean {
  return phase === "starting" || phase === "running" || phase === "pausing" || phase === "stopping";
}
