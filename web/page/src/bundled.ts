// What the page brings along: base/model and base/data of the repository, and the settings of base/tune.toml.

import type { ModelInput, RowFile, Settings, SuiteFiles } from "../../package/src/api";

const at = (path: string) => new URL(path, document.baseURI).href;

export const bundledModel: ModelInput = {
  kind: "url",
  base: at("./model/"),
  name: "base",
  files: ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"],
};

/** What a run in a tab has besides the tool's own defaults: tabs are closed more often than terminals. */
export const tabSettings: Settings = { "save-steps": 100, "logging-steps": 1 };

/** base/tune.toml, looked at in between. */
export const bundledSettings: Settings = {
  ...tabSettings,
  method: "full",
  "learning-rate": 6e-4,
  "lr-scheduler-type": "cosine",
  "warmup-steps": 0.1,
  "adam-beta2": 0.95,
  "batch-size": 8,
  "num-train-epochs": 2,
  "eval-steps": 96,
};

export const TRAIN = "train.jsonl";
export const HELD_OUT = "heldout.jsonl";
const SUITES = "suites.toml";
const SUITE_ROWS = ["heldout.jsonl", "reworded.jsonl", "wordings.jsonl", "new_task.jsonl", "corpus_heldout.jsonl"];

const fetched = new Map<string, Promise<Uint8Array>>();

async function load(name: string): Promise<Uint8Array> {
  const response = await fetch(at(`./data/${name}`));
  if (!response.ok) throw Object.assign(new Error(`${name}: the server says ${response.status}`), { name: "Network" });
  return new Uint8Array(await response.arrayBuffer());
}

/** A file of base/data. */
export async function bundledRows(name: string): Promise<RowFile> {
  let bytes = fetched.get(name);
  if (!bytes) {
    bytes = load(name);
    fetched.set(name, bytes);
    bytes.catch(() => fetched.delete(name));
  }
  return { name, bytes: await bytes };
}

/** base/data/suites.toml and its rows. */
export async function bundledSuites(): Promise<SuiteFiles> {
  const [toml, ...files] = await Promise.all([SUITES, ...SUITE_ROWS].map(bundledRows));
  return { toml: new TextDecoder().decode(toml!.bytes), files };
}
