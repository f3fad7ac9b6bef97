// Runs: started, watched, held, gone on with, listed.

import type { RunEvent, SuiteFiles } from "../../package/src/api";
import { openDevice } from "./actions";
import { bundledSuites } from "./bundled";
import { announce } from "./dom";
import { forgetBase } from "./evaluations";
import { type Busy, type Live, type Phase, fresh, isBusy, set, state } from "./store";
import { listRuns, opened } from "./stored";
import { evaluationSuites } from "./suites";
import { tuner } from "./tuner";
import { duration, loss, whatWentWrong } from "./words";

/** Steps over which speed is told. */
const WINDOW = 20;
/** A silence this long was sleep, not work: a timer's tick came so much too late. */
const ASLEEP_MS = 90_000;
const TICK_MS = 5_000;

interface Pace {
  seconds: number[];
  tokens: number[];
}

let pace: Pace = { seconds: [], tokens: [] };
/** When the evaluation under way began. */
let evaluating = 0;
let ticking = 0;
let lastTick = 0;
let lastMemory = 0;
let wakeLock: WakeLockSentinel | undefined;

function change(patch: Partial<Live>): void {
  if (state.live) set({ live: { ...state.live, ...patch } });
}

/** Starts a run with what is chosen. */
export async function start(): Promise<void> {
  const { rows, settings, runName: name } = state;
  if (!rows || isBusy(state.live?.phase)) return;
  set({
    live: { ...fresh(name, "starting"), busy: working("Getting ready") },
    picked: name,
    comparison: undefined,
    compared: undefined,
  });
  await follow(async () => {
    const suites = await suitesOfRun();
    change({ evaluated: suites !== undefined });
    await tuner().start(
      {
        name,
        settings,
        data: rows.train,
        ...(rows.heldOut.length ? { evalData: rows.heldOut } : {}),
        ...(suites ? { suites } : {}),
      },
      onEvent,
    );
  });
}

/** Goes on with a run: the paused one where it stands, another from its newest checkpoint; one from elsewhere with the rows that are chosen. */
export async function resume(name: string, withRows = false): Promise<void> {
  if (isBusy(state.live?.phase)) return;
  if (state.device.state === "lost" && !(await openDevice())) return;
  let live: Live;
  try {
    live = state.live?.name === name ? state.live : await opened(name);
  } catch (error) {
    return set({ runsError: whatWentWrong(error) });
  }
  set({
    live: { ...live, phase: "starting", error: undefined, note: undefined, busy: working("Getting ready") },
    picked: name,
  });
  await follow(async () => {
    // Its model may be another than the one that was asked before.
    forgetBase();
    if (!withRows) return tuner().resume(name, onEvent);
    const { rows, dataBusy } = state;
    if (!rows) {
      const why = dataBusy ? "the rows are still being read" : "choose the run’s rows in Data first";
      throw Object.assign(new Error(why), { name: "Input" });
    }
    const suites = await suitesOfRun();
    if (suites) change({ evaluated: true });
    return tuner().resume(name, onEvent, { data: rows.train, evalData: rows.heldOut, ...(suites ? { suites } : {}) });
  });
}

/** The suites that a run is measured by, if it is. */
async function suitesOfRun(): Promise<SuiteFiles | undefined> {
  if (!state.measure) return undefined;
  return state.dataSource === "bundled" ? bundledSuites() : evaluationSuites("made");
}

async function follow(work: () => Promise<void>): Promise<void> {
  begin();
  try {
    await work();
  } catch (error) {
    // A run that ended with an event has said so already.
    const wrong = whatWentWrong(error);
    // Whether the run was ever begun, its folder says.
    const stored = await tuner()
      .runs()
      .then(
        (runs) => runs.some((run) => run.name === state.live?.name && run.state !== "finished"),
        () => false,
      );
    if (isBusy(state.live?.phase)) change({ phase: "failed", busy: undefined, error: wrong, resumable: stored });
  }
  end();
  await listRuns();
}

export async function pause(): Promise<void> {
  change({ phase: "pausing", busy: working("Saving a checkpoint after the step under way") });
  await tuner().pause().catch(failed);
}

export async function stop(): Promise<void> {
  const wasPaused = state.live?.phase === "paused";
  change({ phase: "stopping", busy: working("Saving a checkpoint, then freeing the GPU") });
  try {
    await tuner().stop();
    if (wasPaused) change({ phase: "stopped", busy: undefined });
  } catch (error) {
    failed(error);
  }
  await listRuns();
}

function failed(error: unknown): void {
  change({ phase: "failed", busy: undefined, error: whatWentWrong(error), resumable: true });
}

function begin(): void {
  pace = { seconds: [], tokens: [] };
  lastTick = Date.now();
  ticking = setInterval(tick, TICK_MS) as unknown as number;
  void stayAwake();
}

/** Keeps the screen on while a run goes on. Browsers take this back when the tab is hidden. */
async function stayAwake(): Promise<void> {
  if (document.hidden || !("wakeLock" in navigator)) return;
  const lock = await navigator.wakeLock.request("screen").catch(() => undefined);
  // The run may have ended meanwhile, or another request come first.
  if (!ticking || (wakeLock && !wakeLock.released)) await lock?.release().catch(() => undefined);
  else wakeLock = lock;
}

function end(): void {
  clearInterval(ticking);
  ticking = 0;
  void wakeLock?.release().catch(() => undefined);
  wakeLock = undefined;
}

// Notices sleep, which nothing announces.
function tick(): void {
  const now = Date.now();
  const gap = now - lastTick;
  lastTick = now;
  if (gap > ASLEEP_MS) {
    change({ note: `This tab or this machine slept for ${duration(gap / 1000)}. Training went on where it stood.` });
  }
}

document.addEventListener("visibilitychange", () => {
  if (!isBusy(state.live?.phase)) return;
  if (document.hidden) {
    change({
      note: "While this tab is in the background the browser may slow it down or put it to sleep. Nothing is lost: training goes on as soon as it may.",
    });
  } else void stayAwake();
});

async function askMemory(): Promise<void> {
  const now = Date.now();
  if (now - lastMemory < 10_000) return;
  lastMemory = now;
  const memory = await tuner()
    .memory()
    .catch(() => undefined);
  if (memory) change({ memory: memory.live, peak: memory.peak });
}

const mean = (numbers: number[]) => numbers.reduce((sum, x) => sum + x, 0) / numbers.length;

/** Everything that a run tells. Arrays grow in place: what draws them looks at `step`. */
function onEvent(event: RunEvent): void {
  const live = state.live;
  if (!live) return;
  lastTick = Math.max(lastTick, Date.now() - TICK_MS);
  switch (event.type) {
    case "progress":
      return change({ busy: { what: event.what, done: event.done, total: event.total } });
    case "begun": {
      const { about } = event;
      const evaluates = about.eval_rows > 0 || Boolean(live.evaluated) || about.memory.suites > 0;
      const settings = state.runs.find((run) => run.name === live.name)?.settings ?? state.settings;
      evaluating = Date.now();
      announce(`Training begins: ${event.about.total_steps} steps.`);
      lastMemory = 0;
      void askMemory();
      void tuner()
        .model()
        .then(
          (model) => model && model.name !== state.model?.name && set({ model }),
          () => undefined,
        );
      // Steps past the checkpoint are done again.
      return change({
        phase: live.phase === "starting" ? "running" : live.phase,
        note: about.warnings.join(" ") || live.note,
        about,
        total: about.total_steps,
        step: about.step,
        evalSteps: evaluates ? (settings["eval-steps"] ?? about.total_steps) : undefined,
        losses: live.losses.filter(([step]) => step <= about.step),
        heldOut: live.heldOut.filter(([step]) => step <= about.step),
        samples: live.samples.filter(({ step }) => step <= about.step),
        busy: evaluates && about.step === 0 ? working("Evaluating before the first step") : undefined,
      });
    }
    case "step": {
      live.losses.push([event.step, event.loss]);
      if (event.seconds !== null) {
        pace.seconds.push(event.seconds);
        pace.tokens.push(event.tokens);
      }
      if (pace.seconds.length > WINDOW) {
        pace.seconds.shift();
        pace.tokens.shift();
      }
      const each = mean(pace.seconds);
      const known = pace.seconds.length > 0;
      if (quarterOf(event.step, event.total) > quarterOf(event.step - 1, event.total)) {
        announce(`Step ${event.step} of ${event.total}, loss ${loss(event.loss)}.`);
      }
      void askMemory();
      return change({
        phase: live.phase === "starting" ? "running" : live.phase,
        busy: isStopping(live.phase) ? live.busy : after(live, event.step, event.total),
        step: event.step,
        total: event.total,
        epoch: event.epoch,
        lastLoss: event.loss,
        tokensPerSecond: known ? mean(pace.tokens) / each : live.tokensPerSecond,
        secondsLeft: known
          ? (event.total - event.step) * each + evaluationsLeft(live, event.step, event.total) * (live.evalSeconds ?? 0)
          : live.secondsLeft,
      });
    }
    case "evaluation": {
      const value = event.numbers.eval_loss;
      if (typeof value === "number") live.heldOut.push([event.step, value]);
      const samples = event.samples.map((sample) => ({ ...sample, step: event.step }));
      return change({
        busy: isStopping(live.phase)
          ? live.busy
          : event.step === live.total
            ? working("Writing the result")
            : undefined,
        evalSeconds: (Date.now() - evaluating) / 1000,
        evalLoss: typeof value === "number" ? value : live.evalLoss,
        samples: [...live.samples.filter(({ step }) => step !== event.step), ...samples],
      });
    }
    case "saved":
      return change({ savedStep: event.step, busy: isStopping(live.phase) ? live.busy : undefined });
    case "unsaved":
      return change({ error: whatWentWrong(event.error), resumable: true });
    case "paused":
      announce(`Paused after step ${event.step}.`);
      return change({ phase: live.phase === "stopping" ? "stopped" : "paused", busy: undefined, step: event.step });
    case "finished":
      announce("Training has finished.");
      set({ comparison: event.comparison ?? undefined, compared: event.comparison ? live.name : undefined });
      return change({
        phase: "finished",
        busy: undefined,
        best: event.best ?? undefined,
        comparison: event.comparison ?? undefined,
        secondsLeft: 0,
      });
    case "failed":
      return change({
        phase: "failed",
        busy: undefined,
        error: whatWentWrong(event.error),
        resumable: event.resumable,
      });
  }
}

const working = (what: string) => ({ what, done: 0, total: 0 });

const evaluationsLeft = ({ evalSteps }: Live, step: number, total: number) =>
  evalSteps ? Math.ceil(total / evalSteps) - Math.floor((step - 1) / evalSteps) : 0;

/** What comes after a step, if it is no step. */
function after({ evalSteps }: Live, step: number, total: number): Busy | undefined {
  evaluating = Date.now();
  if (evalSteps && (step === total || step % evalSteps === 0)) return working("Evaluating");
  return step === total ? working("Writing the result") : undefined;
}

const isStopping = (phase: Phase) => phase === "pausing" || phase === "stopping";
const quarterOf = (step: number, total: number) => Math.floor((4 * step) / Math.max(1, total));
