// The runs that this browser keeps: listed, shown as they were left, deleted, brought along.

import type { RunLog, RunSummary } from "../../package/src/api";
import { announce } from "./dom";
import { type Live, type Phase, fresh, isBusy, set, state } from "./store";
import { tuner } from "./tuner";
import { whatWentWrong } from "./words";

/** The runs of this browser; and the next free name. */
export async function listRuns(): Promise<void> {
  try {
    const runs = await tuner().runs();
    const names = new Set(runs.map((run) => run.name));
    let runName = state.runName;
    if (names.has(runName)) {
      let number = 1;
      while (names.has(`run-${number}`)) number += 1;
      runName = `run-${number}`;
    }
    const picked = names.has(state.picked) ? state.picked : (runs.find((run) => run.hasResult)?.name ?? "");
    set({ runs, runName, picked, runsError: undefined, storage: await tuner().storage() });
  } catch (error) {
    set({ runsError: whatWentWrong(error) });
  }
}

const PHASES: Record<RunSummary["state"], Phase> = {
  running: "stopped",
  paused: "stopped",
  stopped: "stopped",
  finished: "finished",
  failed: "failed",
  interrupted: "stopped",
};

/** A stored run as it would look had it just ended. */
export async function opened(name: string): Promise<Live> {
  const log: RunLog = await tuner().runLog(name);
  const run = state.runs.find((one) => one.name === name);
  const live = fresh(name, run ? PHASES[run.state] : "stopped");
  for (const line of log.metrics) {
    const step = line.step ?? 0;
    if (typeof line.loss === "number") live.losses.push([step, line.loss]);
    if (typeof line.eval_loss === "number") live.heldOut.push([step, line.eval_loss]);
  }
  return {
    ...live,
    step: run?.step ?? live.losses.at(-1)?.[0] ?? 0,
    total: run?.total ?? 0,
    lastLoss: live.losses.at(-1)?.[1],
    evalLoss: live.heldOut.at(-1)?.[1],
    samples: log.samples,
    evaluated: log.metrics.some((line) => Object.keys(line).some((key) => key.startsWith("eval_"))),
    comparison: log.comparison,
    error: run?.error && whatWentWrong(run.error),
    resumable: run ? run.state !== "finished" : false,
    note:
      run?.state === "interrupted"
        ? "This run was interrupted: the tab was closed, or the GPU lost. Resume goes on from its newest checkpoint."
        : undefined,
  };
}

/** Shows a stored run. */
export async function show(name: string): Promise<void> {
  if (isBusy(state.live?.phase) || state.live?.phase === "paused") return;
  try {
    const live = await opened(name);
    set({
      live,
      picked: name,
      runsError: undefined,
      comparison: live.comparison,
      compared: live.comparison ? name : undefined,
    });
    announce(`Run ${name} is open.`);
  } catch (error) {
    set({ runsError: whatWentWrong(error) });
  }
}

/** After a reload: the newest run, as it was left. */
export async function showNewest(): Promise<void> {
  const [newest] = state.runs;
  if (newest && newest.state !== "running" && !state.live) await show(newest.name);
}

export async function remove(name: string): Promise<void> {
  try {
    await tuner().deleteRun(name);
    if (state.live?.name === name) set({ live: undefined });
    if (state.compared === name) set({ comparison: undefined, compared: undefined });
    announce(`Run ${name} is deleted.`);
  } catch (error) {
    set({ runsError: whatWentWrong(error) });
  }
  await listRuns();
}

export async function importRun(files: File[]): Promise<void> {
  try {
    const name = await tuner().importRun(files);
    await listRuns();
    await show(name);
  } catch (error) {
    set({ runsError: whatWentWrong(error) });
  }
}
