// What the page does with the device, the model and the rows.

import type { ModelInput, Settings } from "../../package/src/api";
import { HELD_OUT, TRAIN, bundledModel, bundledRows, bundledSettings, tabSettings } from "./bundled";
import { announce } from "./dom";
import { forgetBase } from "./evaluations";
import { holdOut, type HandRow, pasted, readFiles, written } from "./rowfiles";
import { type State, set, state } from "./store";
import { forgetTuner, tuner } from "./tuner";
import { several, whatWentWrong } from "./words";

/** Opens the GPU, now or again after a loss. */
export async function openDevice(): Promise<boolean> {
  set({ device: { ...state.device, state: "opening" } });
  try {
    const info = await tuner().open();
    set({ device: { state: "ready", info } });
    plan();
    return true;
  } catch (error) {
    const { name, message } = whatWentWrong(error);
    set({ device: { state: name === "NoWebGpu" ? "none" : "failed", why: message } });
    return false;
  }
}

/** Listens for what may end: the device, the worker. */
export function listen(): void {
  tuner().onLost((why) => {
    const { live } = state;
    // The run's own last word may come before this or after.
    const under =
      live &&
      (!["idle", "stopped", "finished", "failed"].includes(live.phase) ||
        (live.phase === "failed" && live.error?.name === "Gpu"));
    set({ device: { ...state.device, state: "lost", why, runLost: under ? live.name : undefined } });
  });
  tuner().onDead((error) => {
    forgetTuner();
    const live = state.live && {
      ...state.live,
      phase: state.live.phase === "finished" ? ("finished" as const) : ("failed" as const),
      busy: undefined,
    };
    set({ dead: error.message, live, device: { state: "failed", why: error.message } });
  });
}

let lastModel: ModelInput = bundledModel;
let opening = 0;

/** Opens a model. What was asked before and is not done yet no longer counts. */
export async function openModel(input: ModelInput): Promise<void> {
  const mine = ++opening;
  set({ modelBusy: { what: "Reading the headers", done: 0, total: 0 }, modelError: undefined });
  try {
    const model = await tuner().openModel(input, (what, done, total) => {
      if (mine === opening) set({ modelBusy: { what, done, total } });
    });
    if (mine !== opening) return;
    lastModel = input;
    forgetBase();
    const settings: Settings = input === bundledModel ? { ...bundledSettings } : { ...tabSettings };
    set({
      model,
      modelBusy: undefined,
      plan: undefined,
      comparison: undefined,
      ...(state.touched ? {} : { settings }),
    });
    announce(`Model ${model.name} is open.`);
    plan(); // whether or not there are rows
    await readRows();
  } catch (error) {
    if (mine === opening) set({ modelBusy: undefined, modelError: whatWentWrong(error) });
  }
}

/** Goes back to the model that was open before. */
export function cancelOpening(): void {
  opening += 1;
  set({ modelBusy: undefined });
  if (state.model) void openModel(lastModel);
  else void tuner().stopOpening();
}

export async function keepModel(): Promise<void> {
  set({ keeping: true, modelBusy: { what: "Copying", done: 0, total: 0 }, modelError: undefined });
  try {
    await tuner().keepModel((what, done, total) => set({ modelBusy: { what, done, total } }));
    announce("The model is kept in this browser.");
  } catch (error) {
    set({ modelError: whatWentWrong(error) });
  }
  set({ keeping: false, modelBusy: undefined });
  await listModels();
}

export async function forgetModel(name: string): Promise<void> {
  try {
    await tuner().forgetModel(name);
  } catch (error) {
    set({ modelError: whatWentWrong(error) });
  }
  await listModels();
}

export async function listModels(): Promise<void> {
  try {
    set({ models: await tuner().models(), storage: await tuner().storage() });
  } catch {
    // A browser without storage keeps no models.
    set({ models: [] });
  }
}

let planning = 0;

/** What training would take, of the settings as they are. */
export function plan(): void {
  clearTimeout(planning);
  planning = setTimeout(async () => {
    if (!state.model || state.device.state !== "ready") return;
    const { settings, model } = state;
    try {
      const found = await tuner().memoryPlan(settings, state.rowCount?.longest);
      if (settings === state.settings && model === state.model) set({ plan: found, planError: undefined });
    } catch (error) {
      if (settings === state.settings && model === state.model)
        set({ plan: undefined, planError: whatWentWrong(error) });
    }
  }, 200) as unknown as number;
}

/** What the person chose or typed, as it is; where rows are taken from when they are read. */
export const given = {
  files: [] as File[],
  heldOut: [] as File[],
  text: "",
  hand: [
    { instruction: "", answer: "" },
    { instruction: "", answer: "" },
    { instruction: "", answer: "" },
  ] as HandRow[],
};

async function rowsOf({ dataSource, heldOutSource, heldOutPercent }: State) {
  let train;
  switch (dataSource) {
    case "bundled":
      train = [await bundledRows(TRAIN)];
      break;
    case "files":
      train = await readFiles(given.files);
      break;
    case "paste":
      train = given.text.trim() ? [pasted(given.text)] : [];
      break;
    case "write":
      train = [written(given.hand)].filter((file) => file.bytes.length);
  }
  if (!train.length) return undefined;
  if (heldOutSource === "none") return { train, heldOut: [] };
  if (heldOutSource === "share") return holdOut(train, heldOutPercent);
  if (dataSource === "bundled" && !given.heldOut.length) return { train, heldOut: [await bundledRows(HELD_OUT)] };
  return { train, heldOut: await readFiles(given.heldOut) };
}

let reading = 0;

/** Reads the rows that are chosen; finds flaws; shows them as the model would see them. */
export async function readRows(): Promise<void> {
  const mine = ++reading;
  const current = () => mine === reading;
  // Nothing may begin with the rows that were there before.
  set({ rows: undefined, dataBusy: "Reading rows", dataError: undefined, rowCount: undefined });
  try {
    const rows = await rowsOf(state);
    if (!current()) return;
    if (!rows) {
      set({ rows: undefined, report: undefined, preview: [], dataBusy: undefined });
      return;
    }
    set({ rows, dataBusy: "Looking for flaws" });
    const report = await tuner().checkRows(rows.train, rows.heldOut);
    if (!current()) return;
    set({ report, dataBusy: undefined });
    announce(`${several(report.rows, "row")} read.`);
  } catch (error) {
    if (current())
      set({ rows: undefined, report: undefined, preview: [], dataBusy: undefined, dataError: whatWentWrong(error) });
    return;
  }
  await Promise.all([countRows(), previewRows()]);
}

/** No longer waits for rows that are being read. */
export function cancelReading(): void {
  reading += 1;
  set({ dataBusy: undefined, ...(state.rows ? {} : { report: undefined, preview: [] }) });
}

export async function countRows(): Promise<void> {
  const { rows, model, settings } = state;
  if (!rows || !model?.tokenizer) return set({ rowCount: undefined });
  try {
    const rowCount = await tuner().countRows(rows.train, settings);
    if (rows === state.rows && model === state.model) set({ rowCount });
  } catch {
    // The preview says why.
    set({ rowCount: undefined });
  }
  plan();
}

export async function previewRows(): Promise<void> {
  const { rows, model, settings, previewLimit } = state;
  if (!rows || !model?.tokenizer) return set({ preview: [], previewError: undefined });
  try {
    // Rows that cannot be used are listed by countRows.
    const preview = await tuner().previewRows(rows.train, { ...settings, "skip-bad-rows": true }, previewLimit);
    if (rows === state.rows && model === state.model) set({ preview, previewError: undefined });
  } catch (error) {
    if (rows === state.rows && model === state.model) set({ preview: [], previewError: whatWentWrong(error) });
  }
}

// Settings that change what rows come to.
const OF_ROWS = new Set(["max-length", "overlong", "train-on", "columns", "shape", "alpaca-style", "skip-bad-rows"]);
let counting = 0;

/** Changes one setting; without a value, back to the tool's default. */
export function changeSetting(key: keyof Settings, value: unknown): void {
  const settings: Settings = { ...state.settings };
  if (value === undefined) delete settings[key];
  else Object.assign(settings, { [key]: value });
  set({ settings, touched: true });
  plan();
  if (!OF_ROWS.has(key)) return;
  clearTimeout(counting);
  counting = setTimeout(() => void Promise.all([countRows(), previewRows()]), 400) as unknown as number;
}

export function resetSettings(): void {
  set({
    settings: state.model?.kind === "url" || !state.model ? { ...bundledSettings } : { ...tabSettings },
    touched: false,
  });
  plan();
  void countRows();
  void previewRows();
}
