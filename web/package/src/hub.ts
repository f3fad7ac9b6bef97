// Models on a server: a folder of static files, or the Hugging Face Hub.
import type { Reader } from "wgpu-sft-wasm";
import type { ModelInput, Progress } from "./api.js";
import { TunerError } from "./errors.js";
import { HttpReader, get } from "./readers.js";

/** Files of a Hugging Face folder, beside its weights, that say what a model is. */
const SIDE_FILES: readonly string[] = [
  "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
  "special_tokens_map.json", "added_tokens.json",
];
const INDEX = "model.safetensors.index.json";
const WEIGHTS = "model.safetensors";

/** Whether a file of a folder belongs to its model. */
export const isOfModel = (name: string): boolean =>
  SIDE_FILES.includes(name) || name === INDEX || name.endsWith(".safetensors") || name.endsWith(".gguf");

const shardsOf = (index: Uint8Array): string[] => {
  const { weight_map: map } = JSON.parse(new TextDecoder().decode(index)) as { weight_map?: Record<string, string> };
  return [...new Set(Object.values(map ?? {}))].sort();
};

/** A folder of static files; `base` may be one `.gguf`. */
export async function fromUrl(input: ModelInput & { kind: "url" }, progress: Progress): Promise<Reader[]> {
  const found: Reader[] = [];
  const open = async (name: string, url: string): Promise<boolean> => {
    progress(`opening ${name}`, 0, 0);
    const reader = await HttpReader.open(name, url);
    if (reader) found.push(reader);
    return reader !== undefined;
  };
  const base = new URL(input.base.replace(/\/?$/, "/"), self.location.href);
  const at = (name: string): string => new URL(name, base).href;
  if (/\.gguf$/i.test(input.base)) {
    const url = base.href.slice(0, -1);
    if (!(await open(url.slice(url.lastIndexOf("/") + 1), url))) throw new TunerError("Network", `${url}: not found`);
  } else if (input.files) {
    for (const name of input.files) {
      if (!(await open(name, at(name)))) throw new TunerError("Network", `${at(name)}: not found`);
    }
  } else {
    if (!(await open("config.json", at("config.json")))) throw new TunerError("Network", `${at("config.json")}: not found`);
    for (const name of SIDE_FILES.slice(1)) await open(name, at(name));
    if (!(await open(WEIGHTS, at(WEIGHTS))) && (await open(INDEX, at(INDEX)))) {
      const index = found[found.length - 1]!;
      for (const name of shardsOf(await index.read(0, index.size))) await open(name, at(name));
    }
  }
  return found;
}

interface Listing {
  sha: string;
  siblings: { rfilename: string; size?: number }[];
}

/** A model of the Hub, at the commit that `revision` is now. Nothing but the list of its files is asked for. */
export async function fromHub(hub: string, input: ModelInput & { kind: "hub" }): Promise<Reader[]> {
  const { id, revision = "main", file } = input;
  if (!/^[\w.-]+(\/[\w.-]+)?$/.test(id)) throw new TunerError("Input", `${JSON.stringify(id)} is no model's id: OWNER/NAME`);
  const listing = `${hub}/api/models/${id}/revision/${encodeURIComponent(revision)}?blobs=true`;
  const response = await get(listing);
  if (response.status === 401 || response.status === 403) {
    throw new TunerError("Network", `the Hub has no public model ${id}; download a private or gated one, and open its files`);
  }
  if (!response.ok) throw new TunerError("Network", `the Hub has no model ${id} at ${revision}: it says ${response.status}`);
  const { sha, siblings } = (await response.json()) as Listing;
  const there = new Map(siblings.map(({ rfilename, size }) => [rfilename, size]));
  const reader = async (name: string): Promise<Reader> => {
    const url = `${hub}/${id}/resolve/${sha}/${name.split("/").map(encodeURIComponent).join("/")}`;
    const size = there.get(name);
    const opened = size === undefined ? await HttpReader.open(name, url) : HttpReader.sized(name, url, size);
    if (!opened) throw new TunerError("Network", `${url}: not found`);
    return opened;
  };
  const all = (names: string[]): Promise<Reader[]> => Promise.all(names.map(reader));
  if (file !== undefined) {
    if (!there.has(file)) throw new TunerError("Input", `${id} has no file ${file}`);
    return all([file]);
  }
  if (there.has("config.json")) {
    const sides = SIDE_FILES.filter((name) => there.has(name));
    if (there.has(WEIGHTS)) return all([...sides, WEIGHTS]);
    if (there.has(INDEX)) {
      const index = await reader(INDEX);
      return [...(await all([...sides, ...shardsOf(await index.read(0, index.size))])), index];
    }
  }
  const gguf = [...there.keys()].filter((name) => name.endsWith(".gguf"));
  if (gguf.length > 0) throw new TunerError("Input", `${id} has several forms: choose one of ${gguf.join(", ")}`);
  throw new TunerError("Input", `${id} has no config.json with safetensors weights, and no .gguf`);
}
