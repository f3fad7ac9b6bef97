// A run's folder, as this package keeps it: the native layout, and beside it what resuming needs.
import type { RowFile } from "wgpu-sft-wasm";
import type { Overrides, RunState, Settings, SuiteFiles } from "./api.js";
import { TunerError, type Told } from "./errors.js";
import { type Files, readJson, writeBytes, writeJson } from "./folder.js";
import type { ModelRef } from "./models.js";

/** What was asked for. Written once, before the run begins, and when it is resumed with something else. */
export interface JobFile {
  version: 1;
  model: ModelRef;
  settings: Settings;
  /** The folder of the rows; `input` where it is absent. */
  place?: string;
  /** Names of the files; their bytes are `PLACE/KIND/N`. Absent in a run from elsewhere. */
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

/** What a run is begun with. */
export interface Inputs {
  settings: Settings;
  data: RowFile[];
  evalData: RowFile[];
  suites?: SuiteFiles;
}

/** Store what a run is begun with, in place of what was stored before: that goes when the new is there. */
export async function writeJob(folder: Files, { version, model, started }: JobFile, inputs: Inputs): Promise<JobFile> {
  const { settings, data, evalData, suites } = inputs;
  const name: string = crypto.randomUUID();
  const place = `${INPUT}/${name}`;
  const write = async (kind: string, files: RowFile[]): Promise<string[]> => {
    for (const [at, file] of files.entries()) await writeBytes(folder, `${place}/${kind}/${at}`, file.bytes);
    return files.map((file) => file.name);
  };
  try {
    const file: JobFile = { version, model, settings, started, place, data: await write("data", data), evalData: await write("eval", evalData) };
    if (suites) file.suites = { toml: suites.toml, files: await write("suites", suites.files) };
    await writeJson(folder, JOB, file);
    for (const other of await folder.sub(INPUT).folders()) if (other !== name) await folder.remove(`${INPUT}/${other}`);
    return file;
  } catch (error) {
    if ((await readJson<JobFile>(folder, JOB))?.place !== place) await folder.remove(place);
    throw error;
  }
}

/** What a run was asked for; `undefined` where no run is. */
export async function readJob(folder: Files): Promise<JobFile | undefined> {
  if (!(await folder.file(JOB))) return undefined;
  const file = await readJson<JobFile>(folder, JOB);
  return file?.version === 1 ? file : recorded(folder);
}

/** run.json, as far as it matters here. */
export interface Recorded {
  model?: string;
  settings?: Record<string, unknown>;
  total_steps?: number;
  hashes?: { model?: string };
  sessions?: { outcome?: string; started?: number }[];
}

export const readRecord = (folder: Files): Promise<Recorded | undefined> => readJson<Recorded>(folder, "run.json");

/** Settings of the command line that mean nothing in a browser, or are files given otherwise. */
const ELSEWHERE: ReadonlySet<string> = new Set([
  "model", "data", "eval-data", "eval-suite", "output-dir", "report-to", "quiet", "device", "kernels", "checked",
]);

/** What a run was asked for as its run.json has it: where it is from elsewhere, or its job.json is damaged. */
export async function recorded(folder: Files): Promise<JobFile> {
  const run = await readRecord(folder);
  const settings = Object.entries(run?.settings ?? {}).filter(([key]) => !ELSEWHERE.has(key));
  const started = run?.sessions?.at(-1)?.started;
  return {
    version: 1,
    model: { name: run?.model?.split("/").filter(Boolean).at(-1) ?? "?", any: true },
    settings: Object.fromEntries(settings) as Settings,
    started: started === undefined ? Date.now() : 1000 * started,
  };
}

/** What a run is begun with: what is stored, but for what is `wanted` instead. */
export async function readInputs(folder: Files, file: JobFile, wanted: Overrides = {}): Promise<Inputs> {
  const rows = (kind: string, names: string[] = []): Promise<RowFile[]> => {
    const read = async (name: string, at: number): Promise<RowFile> => {
      const reader = await folder.open(`${file.place ?? INPUT}/${kind}/${at}`);
      if (!reader) throw new TunerError("Input", `the run's rows are missing: give ${name} again`);
      return { name, bytes: await reader.read(0, reader.size) };
    };
    return Promise.all(names.map(read));
  };
  const suites = wanted.suites ?? (file.suites && { toml: file.suites.toml, files: await rows("suites", file.suites.files) });
  return {
    settings: { ...file.settings, ...wanted.settings },
    data: wanted.data ?? (await rows("data", file.data)),
    evalData: wanted.evalData ?? (await rows("eval", file.evalData)),
    ...(suites && { suites }),
  };
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
  return (await readRecord(folder))?.hashes?.model || undefined;
}

/** What a run has learnt: an adapter's two files, or a model's folder; from its end, else from its newest checkpoint. */
export async function result(folder: Files): Promise<{ at: Files; name: string; kind: "adapter" | "model" } | undefined> {
  const [newest] = await checkpoints(folder);
  // Before the end is written down, what lies beside the checkpoints may be cut short.
  const outcome = (await readRecord(folder))?.sessions?.at(-1)?.outcome;
  const isOver = outcome === "finished" || (await readStatus(folder))?.state === "finished";
  const places = [...(isOver ? [""] : []), ...(newest === undefined ? [] : [`checkpoint-${newest}`])];
  for (const name of places) {
    const at = name ? folder.sub(name) : folder;
    const has = async (path: string): Promise<boolean> => (await at.file(path)) !== undefined;
    if ((await has("adapter_config.json")) && (await has("adapter_model.safetensors"))) return { at, name, kind: "adapter" };
    const weights = (await has("model.safetensors")) || (await has("model.safetensors.index.json"));
    if (weights && (await has("config.json"))) return { at, name, kind: "model" };
  }
  return undefined;
}
