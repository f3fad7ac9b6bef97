// A run's folder, as this package keeps it: the native layout, and beside it what resuming needs.
import type { RowFile } from "wgpu-sft-wasm";
import type { Job, Overrides, RunState, Settings, SuiteFiles } from "./api.js";
import { TunerError, type Told } from "./errors.js";
import { type Files, readJson, writeBytes, writeJson } from "./folder.js";
import type { ModelRef } from "./models.js";

/** What was asked for. Written once, before the run begins, and when it is resumed with something else. */
export interface JobFile {
  version: 1;
  model: ModelRef;
  settings: Settings;
  /** Names of the files; their bytes are `input/KIND/N`. Absent in a run from elsewhere. */
  data?: string[];
  evalData?: string[];
  suites?: { toml: string; files: string[] };
  /** Milliseconds since 1970. */
  started: number;
}

/** How far it came. Written often, and of no importance: a damaged one is as good as none. */
export interface Status {
  state: RunState;
  step: number;
  total: number;
  loss?: number;
  evalLoss?: number;
  error?: Told;
}

export const JOB = "job.json";
export const STATUS = "status.json";
const INPUT = "input";

/** Whether a file is this package's own, not the native layout's. */
export const isOurs = (path: string): boolean => path === JOB || path === STATUS || path.startsWith(`${INPUT}/`);

/** Refuse what cannot be a folder's name. */
export function checkName(name: string): void {
  if (!/^[\p{L}\p{N}_][\p{L}\p{N}._ -]{0,99}$/u.test(name) || /[. ]$/.test(name)) {
    const what = "letters, digits, '.', '_', '-' and spaces, up to 100 of them, the first a letter, a digit or '_'";
    throw new TunerError("Input", `${JSON.stringify(name)} cannot be a run's name: it may have ${what}`);
  }
}

async function writeRows(folder: Files, kind: string, files: RowFile[]): Promise<string[]> {
  await folder.remove(`${INPUT}/${kind}`);
  for (const [at, file] of files.entries()) await writeBytes(folder, `${INPUT}/${kind}/${at}`, file.bytes);
  return files.map((file) => file.name);
}

async function readRows(folder: Files, kind: string, names: string[]): Promise<RowFile[]> {
  const read = async (name: string, at: number): Promise<RowFile> => {
    const reader = await folder.open(`${INPUT}/${kind}/${at}`);
    if (!reader) throw new TunerError("Input", `the run's rows are missing: give ${name} again`);
    return { name, bytes: await reader.read(0, reader.size) };
  };
  return Promise.all(names.map(read));
}

/** Store what is wanted, and what replaces it. */
export async function writeJob(folder: Files, file: JobFile, wanted: Overrides): Promise<JobFile> {
  const next: JobFile = { ...file, settings: { ...file.settings, ...wanted.settings } };
  if (wanted.data) next.data = await writeRows(folder, "data", wanted.data);
  if (wanted.evalData) next.evalData = await writeRows(folder, "eval", wanted.evalData);
  if (wanted.suites) next.suites = { toml: wanted.suites.toml, files: await writeRows(folder, "suites", wanted.suites.files) };
  await writeJson(folder, JOB, next);
  return next;
}

export const readJob = (folder: Files): Promise<JobFile | undefined> => readJson<JobFile>(folder, JOB);

/** What a stored run was given. */
export async function readInputs(folder: Files, file: JobFile): Promise<Required<Omit<Job, "name" | "suites">> & { suites?: SuiteFiles }> {
  const { settings, suites } = file;
  const data = await readRows(folder, "data", file.data ?? []);
  const evalData = await readRows(folder, "eval", file.evalData ?? []);
  if (!suites) return { settings, data, evalData };
  return { settings, data, evalData, suites: { toml: suites.toml, files: await readRows(folder, "suites", suites.files) } };
}

export const readStatus = (folder: Files): Promise<Status | undefined> => readJson<Status>(folder, STATUS);

/** Write how far a run came, if there is room for it. */
export async function writeStatus(folder: Files, status: Status): Promise<void> {
  await writeJson(folder, STATUS, status).catch(() => {});
}

/** Steps of the checkpoints that are whole, newest first: a folder without a readable state.json is none. */
export async function checkpoints(folder: Files): Promise<number[]> {
  const steps: number[] = [];
  for (const name of await folder.folders()) {
    const step = /^checkpoint-(\d+)$/.exec(name)?.[1];
    if (step !== undefined && (await readJson(folder, `${name}/state.json`))) steps.push(Number(step));
  }
  return steps.sort((a, b) => b - a);
}

/** The hash that a run knows its model by: of the weights too, where they are not what it trains. */
export async function modelHash(folder: Files): Promise<string | undefined> {
  const run = await readJson<{ hashes?: { model?: string } }>(folder, "run.json");
  return run?.hashes?.model || undefined;
}

/** What a run has learnt: an adapter's two files, or a model's folder; from its end, else from its newest checkpoint. */
export async function result(folder: Files): Promise<{ at: Files; name: string; kind: "adapter" | "model" } | undefined> {
  const [newest] = await checkpoints(folder);
  const places = ["", ...(newest === undefined ? [] : [`checkpoint-${newest}`])];
  for (const name of places) {
    const at = name ? folder.sub(name) : folder;
    const has = async (path: string): Promise<boolean> => (await at.file(path)) !== undefined;
    if ((await has("adapter_config.json")) && (await has("adapter_model.safetensors"))) return { at, name, kind: "adapter" };
    const weights = (await has("model.safetensors")) || (await has("model.safetensors.index.json"));
    if (weights && (await has("config.json"))) return { at, name, kind: "model" };
  }
  return undefined;
}
