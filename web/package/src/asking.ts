// What a model is asked: answers, suites. One model is on the device for it at a time.
import type { Chat, Model, Reader, Source } from "wgpu-sft-wasm";
import * as wasm from "wgpu-sft-wasm";
import type { Message, Progress, Sampling, SuiteFiles, SuiteResult, Which } from "./api.js";
import { TunerError, stopped } from "./errors.js";
import type { Files } from "./folder.js";
import { type Gpu, dispose } from "./gpu.js";
import { checkpoints, result } from "./job.js";
import type { Models } from "./models.js";
import type { Runs } from "./runs.js";

/** Something to load: a model's files, and an adapter for it. */
interface Learnt {
  key: string;
  source: Source;
  adapter: Reader[] | undefined;
}

interface Loaded {
  key: string;
  source: Source;
  model: Model;
  chat?: Chat;
}

const quiet: Progress = () => {};

/** Readers of these files of a folder; those that are missing are left out. */
async function readers(folder: Files, names: string[]): Promise<Reader[]> {
  const found = await Promise.all(names.map((name) => folder.open(name)));
  return found.filter((reader) => reader !== undefined);
}

export class Asking {
  readonly #gpu: Gpu;
  readonly #models: Models;
  readonly #runs: Runs;
  #loaded: Loaded | undefined;

  constructor(gpu: Gpu, models: Models, runs: Runs) {
    this.#gpu = gpu;
    this.#models = models;
    this.#runs = runs;
  }

  /** Free what is on the device. */
  release(): void {
    const { chat, model } = this.#loaded ?? {};
    this.#loaded = undefined;
    if (chat) dispose(chat);
    if (model) dispose(model);
  }

  /** What a run has learnt: an adapter for its model, or a model of its own. */
  async learnt(which: Which, progress: Progress = quiet): Promise<Learnt> {
    if (which === "base") {
      const { info, source } = this.#models.current;
      return { key: `base ${info.name}`, source, adapter: undefined };
    }
    const { folder, file } = await this.#runs.find(which.run);
    const found = await result(folder);
    if (!found) throw new TunerError("NoRun", `${which.run} has learnt nothing yet: it has no checkpoint`);
    // A run that goes on has another newest checkpoint; one that was deleted and made again has begun at another time.
    const [newest] = await checkpoints(folder);
    const key = `run ${which.run} ${file.started} ${found.name} ${newest}`;
    if (found.kind === "model") {
      const names = (await found.at.list()).filter((name) => !name.includes("/") && name !== "optimizer.safetensors");
      const source = await wasm.Source.open(which.run, await readers(found.at, names));
      return { key, source, adapter: undefined };
    }
    const { source } = await this.#models.find(file.model, progress);
    return { key, source, adapter: await readers(found.at, ["adapter_config.json", "adapter_model.safetensors"]) };
  }

  async #load(which: Which, progress: Progress): Promise<Loaded> {
    const learnt = await this.learnt(which, progress);
    const { key, source } = learnt;
    if (this.#loaded?.key === key && this.#loaded.source === source) return this.#loaded;
    this.release();
    const device = await this.#gpu.open();
    const loading = (done: number, total: number): void => progress("loading the model", done, total);
    const model = await this.#gpu.unlessLost(wasm.Model.load(device, source, learnt.adapter, undefined, loading));
    return (this.#loaded = { key, source, model });
  }

  /** A device that failed has nothing of use on it. */
  async #guard<T>(task: () => Promise<T>): Promise<T> {
    try {
      return await task();
    } catch (error) {
      if (error instanceof Error && error.name === "Gpu") this.release();
      throw error;
    }
  }

  answer(which: Which, messages: Message[], sampling: Sampling, onText: (text: string) => void, signal: AbortSignal): Promise<string> {
    return this.#guard(async () => {
      const loaded = await this.#load(which, quiet);
      if (signal.aborted) return "";
      loaded.chat ??= await this.#gpu.unlessLost(wasm.Chat.create(loaded.model, loaded.source, undefined));
      const each = (text: string): boolean => {
        onText(text);
        return !signal.aborted;
      };
      return this.#gpu.unlessLost(loaded.chat.answer(JSON.stringify(messages), JSON.stringify(sampling), each));
    });
  }

  evaluate(which: Which, { toml, files }: SuiteFiles, progress: Progress, signal: AbortSignal): Promise<SuiteResult[]> {
    return this.#guard(async () => {
      const { source, model } = await this.#load(which, progress);
      if (signal.aborted) throw stopped();
      const suites = new wasm.Suites(source, toml, files);
      try {
        const each = (suite: string, done: number, total: number): boolean => {
          progress(suite, done, total);
          return !signal.aborted;
        };
        const results = await this.#gpu.unlessLost(suites.run(model, source, each));
        if (results === undefined) throw stopped();
        return JSON.parse(results) as SuiteResult[];
      } finally {
        suites.free();
      }
    });
  }
}
