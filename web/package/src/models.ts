// Models: opened from anywhere, kept in the browser's storage.
import type { Reader, Source } from "wgpu-sft-wasm";
import * as wasm from "wgpu-sft-wasm";
import type { ModelInfo, ModelInput, PlacedFile, Progress, StoredModel } from "./api.js";
import { TunerError, room, stopped, storageIsFull } from "./errors.js";
import { type Files, readJson, sizeOf, writeJson } from "./folder.js";
import { free } from "./gpu.js";
import { fromHub, fromUrl, isOfModel } from "./hub.js";
import { lock } from "./locks.js";
import { BlobReader } from "./readers.js";

/** A model whose headers were read. */
export interface Opened {
  /** No two have the same. */
  serial: number;
  info: ModelInfo;
  source: Source;
  files: Reader[];
  /** Where it can be fetched again. */
  origin?: Origin;
  /** Of the configuration and every weight, once it was asked for. */
  hash?: Promise<string>;
}

type Origin = Extract<ModelInput, { kind: "url" | "hub" }>;

/** Which model a run needs, as its folder says it. */
export interface ModelRef {
  name: string;
  /** Absent where only the user has the files. */
  origin?: Origin;
  /** The run is from elsewhere, where models have other names: any may be it. Checkpoints know theirs by its contents. */
  any?: true;
}

/** A model as it arrives in the worker: files know where they were. */
export type LocalInput = Exclude<ModelInput, { kind: "files" }> | { kind: "files"; files: PlacedFile[]; name?: string };

/** Written last: a kept model without it is not whole. */
export const KEPT = "kept.json";
interface Kept {
  name: string;
  bytes: number;
  kept: number;
  files: string[];
  origin?: Origin;
}

const PIECE = 8 << 20;
const quiet: Progress = () => {};

export class Models {
  readonly #files: Files;
  /** Before the names of folders that are being written, which other tabs see. */
  readonly #locks: string;
  readonly #hub: string;
  #open: Opened | undefined;
  /** Counts the calls of `open`: the last one has its way. */
  #calls = 0;
  #serial = 0;
  /** The last model that was opened for a run, where it is not the open one. */
  #other: Opened | undefined;

  constructor(files: Files, locks: string, hub: string) {
    this.#files = files;
    this.#locks = locks;
    this.#hub = hub;
  }

  get opened(): Opened | undefined {
    return this.#open;
  }

  /** The open model. */
  get current(): Opened {
    if (!this.#open) throw new TunerError("NoModel", "open a model first");
    return this.#open;
  }

  async open(input: LocalInput, progress: Progress): Promise<ModelInfo> {
    const call = ++this.#calls;
    const opened = await this.#read(input, progress);
    if (call !== this.#calls) {
      free(opened.source);
      throw stopped();
    }
    this.#open = opened;
    return opened.info;
  }

  /** Let an `open` under way reject; what is open stays. */
  stopOpening(): void {
    this.#calls += 1;
  }

  async #read(input: LocalInput, progress: Progress): Promise<Opened> {
    const { name, files, origin } = await this.#readers(input, progress);
    if (files.length === 0) throw new TunerError("Input", `${name}: no file of a model: a config.json with .safetensors, or one .gguf`);
    progress("reading headers", 0, 0);
    const source = await wasm.Source.open(name, files);
    const info = { ...(JSON.parse(source.about) as Omit<ModelInfo, "kind">), name, kind: input.kind };
    return { serial: ++this.#serial, info, source, files, ...(origin && { origin }) };
  }

  async #readers(input: LocalInput, progress: Progress): Promise<ModelRef & { files: Reader[] }> {
    switch (input.kind) {
      case "files":
        return fromFiles(input.files, input.name);
      case "url":
        return { name: input.name, files: await fromUrl(input, progress), origin: input };
      case "hub": {
        const name = input.file ? `${input.id}/${input.file}` : input.id;
        return { name, files: await fromHub(this.#hub, input), origin: input };
      }
      case "stored": {
        const stored = await this.#stored(input.name);
        if (!stored) throw new TunerError("NoModel", `no model ${input.name} is kept in this browser`);
        return stored;
      }
    }
  }

  #folder(name: string): Files {
    return this.#files.sub(encodeURIComponent(name));
  }

  async #stored(name: string): Promise<(ModelRef & { files: Reader[] }) | undefined> {
    const folder = this.#folder(name);
    const kept = await readJson<Kept>(folder, KEPT);
    if (!kept) return undefined;
    const files = await Promise.all(kept.files.map((file) => folder.open(file)));
    const { origin } = kept;
    return files.every((file) => file !== undefined) ? { name, files, ...(origin && { origin }) } : undefined;
  }

  /** How a run finds the model again. */
  ref({ info, origin }: Opened): ModelRef {
    return { name: info.name, ...(origin && { origin }) };
  }

  /**
   * The model of a run: the open one, a kept one, or fetched again. With the `hash` that the run knows its model by, only one with that
   * hash: names say little.
   */
  async find(ref: ModelRef, progress: Progress, hash?: string): Promise<Opened> {
    let others = 0;
    const fits = async (opened: Opened): Promise<boolean> => {
      if (hash === undefined) return true;
      if (!opened.hash) progress("checking that the model is the run's", 0, 0);
      const same = (await hashOf(opened)) === hash;
      if (!same) others += 1;
      return same;
    };
    for (const opened of [this.#open, this.#other]) {
      if (opened?.info.name === ref.name && (await fits(opened))) return opened;
    }
    const kept = (await this.#stored(ref.name)) && ({ kind: "stored", name: ref.name } as const);
    for (const input of [kept, ref.origin]) {
      if (!input) continue;
      const opened = await this.#read(input, progress);
      if (await fits(opened)) return (this.#other = opened);
      free(opened.source);
    }
    if (ref.any && this.#open && this.#open.info.name !== ref.name && (await fits(this.#open))) return this.#open;
    if (others === 0) throw new TunerError("NoModel", `this run is of the model ${ref.name}, which is not kept in this browser: open it first`);
    const why = `this run was trained on other weights than those of the model here, ${ref.name} by its name`;
    throw new TunerError("NoModel", `${why}: open the run's own model`);
  }

  /** Copy the open model into the storage; what is read of it from now on comes from there. */
  async keep(progress: Progress): Promise<void> {
    const opened = this.current;
    const { info, files, origin } = opened;
    if (info.kind === "stored") return;
    const folder = this.#folder(info.name);
    const total = files.reduce((sum, file) => sum + file.size, 0);
    const need = { what: info.name, bytes: total };
    // What is replaced makes room, too, but stays where that is not enough.
    if ((await room()).free + (await sizeOf(folder)) < total) throw await storageIsFull(need);
    const release = await lock(`${this.#locks}model ${encodeURIComponent(info.name)}`);
    if (!release) throw new TunerError("InUse", `${info.name} is being kept already, maybe by another tab`);
    try {
      await this.#files.remove(encodeURIComponent(info.name));
      let done = 0;
      for (const file of files) {
        const writer = await folder.create(file.name);
        for (let at = 0; at < file.size; at += PIECE) {
          const piece = await file.read(at, Math.min(file.size, at + PIECE));
          writer.write(piece, at);
          progress(file.name, (done += piece.length), total);
        }
        writer.close();
      }
      const names = files.map((file) => file.name);
      const kept: Kept = { name: info.name, bytes: total, kept: Date.now(), files: names, ...(origin && { origin }) };
      await writeJson(folder, KEPT, kept);
    } catch (error) {
      await this.#files.remove(encodeURIComponent(info.name));
      if (error instanceof Error && error.name === "QuotaExceededError") throw await storageIsFull(need);
      throw error;
    } finally {
      release();
    }
    const stored = await this.#read({ kind: "stored", name: info.name }, quiet);
    if (this.#open === opened) this.#open = stored;
  }

  async list(): Promise<StoredModel[]> {
    const found: StoredModel[] = [];
    for (const name of await this.#files.folders()) {
      const kept = await readJson<Kept>(this.#files.sub(name), KEPT);
      if (kept) found.push({ name: kept.name, bytes: kept.bytes, kept: kept.kept });
    }
    return found;
  }

  async forget(name: string): Promise<void> {
    await this.#files.remove(encodeURIComponent(name));
    if (this.#other?.info.name === name && this.#other.info.kind === "stored") this.#other = undefined;
    if (this.#open?.info.name === name && this.#open.info.kind === "stored") this.#open = undefined;
  }
}

/** A model's hash, as runs know it. Every byte of it is read, once. */
function hashOf(opened: Opened): Promise<string> {
  opened.hash ??= opened.source.modelHash(true).catch((error: unknown) => {
    delete opened.hash;
    throw error;
  });
  return opened.hash;
}

/** Files of one folder, or one `.gguf`. */
function fromFiles(given: PlacedFile[], name: string | undefined): { name: string; files: Reader[] } {
  const files = given.map(({ path, file }) => ({ parts: path.split("/"), file }));
  const top = Math.min(...files.map(({ parts }) => parts.length));
  const mine = files.filter(({ parts }) => parts.length === top).map(({ parts, file }) => new BlobReader(file, parts.at(-1)!));
  const gguf = mine.filter((file) => file.name.endsWith(".gguf"));
  const isFolder = mine.some((file) => file.name === "config.json");
  if (gguf.length > 1 && !isFolder) throw new TunerError("Input", `choose one of ${gguf.map((file) => file.name).join(", ")}`);
  const chosen = isFolder ? mine.filter((file) => isOfModel(file.name) && !gguf.includes(file)) : gguf;
  const called = isFolder ? files[0]?.parts.at(-2) : gguf[0]?.name.replace(/\.gguf$/, "");
  return { name: name ?? called ?? "model", files: chosen };
}
