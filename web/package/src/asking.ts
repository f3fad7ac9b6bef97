// What a model is asked: answers, suites. One model is on the device for it at a time.
import type { Chat, Model, Reader, Source } from "wgpu-sft-wasm";
import * as wasm from "wgpu-sft-wasm";
import type { Message, Progress, Sampling, Settings, SuiteFiles, SuiteResult, Which } from "./api.js";
import { TunerError, stopped } from "./errors.js";
import type { Files } from "./folder.js";
import { type Gpu, dispose, free } from "./gpu.js";
import { checkpoints, modelHash, result } from "./job.js";
import type { Models } from "./models.js";
import type { Runs } from "./runs.js";

/** A model's files, and an adapter for it. */
interface Learnt {
  source: Source;
  adapter: Reader[] | undefined;
  /** Whether the source was opened for this, and is to be freed with it. */
  own: boolean;
}

/** Something to load, which is known by its key before anything of it is read. */
interface Wanted {
  key: string;
  /** Of its rows, where a run says. */
  settings: Settings | undefined;
  open(progress: Progress): Promise<Learnt>;
}

interface Loaded extends Learnt {
  key: string;
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
    const loaded = this.#loaded;
    this.#loaded = undefined;
    if (!loaded) return;
    if (loaded.chat) dispose(loaded.chat);
    dispose(loaded.model);
    if (loaded.own) free(loaded.source);
  }

  async #wanted(which: Which): Promise<Wanted> {
    if (which === "base") {
      const { source, serial } = this.#models.current;
      return { key: `base ${serial}`, settings: undefined, open: async () => ({ source, adapter: undefined, own: false }) };
    }
    const { folder, file } = await this.#runs.find(which.run);
    const found = await result(folder);
    if (!found) throw new TunerError("NoRun", `${which.run} has learnt nothing yet: it has no checkpoint`);
    // A run that goes on has another newest checkpoint; one that was deleted and made again has begun at another time.
    const [newest] = await checkpoints(folder);
    const open = async (progress: Progress): Promise<Learnt> => {
      if (found.kind === "model") {
        const names = (await found.at.list()).filter((name) => !name.includes("/") && name !== "optimizer.safetensors");
        const source = await wasm.Source.open(which.run, await readers(found.at, names));
        return { source, adapter: undefined, own: true };
      }
      const { source } = await this.#models.find(file.model, progress, await modelHash(folder));
      return { source, adapter: await readers(found.at, ["adapter_config.json", "adapter_model.safetensors"]), own: false };
    };
    return { key: `run ${which.run} ${file.started} ${found.name} ${newest}`, settings: file.settings, open };
  }

  /** What a run has learnt: an adapter for its model, or a model of its own. */
  async learnt(run: string, progress: Progress): Promise<Learnt> {
    const wanted = await this.#wanted({ run });
    return wanted.open(progress);
  }

  async #load({ key, open }: Wanted, progress: Progress): Promise<Loaded> {
    if (this.#loaded?.key === key) return this.#loaded;
    this.release();
    const learnt = await open(progress);
    try {
      const device = await this.#gpu.open();
      const loading = (done: number, total: number): void => progress("loading the model", done, total);
      const model = await this.#gpu.unlessLost(wasm.Model.load(device, learnt.source, learnt.adapter, undefined, loading));
      return (this.#loaded = { ...learnt, key, model });
    } catch (error) {
      if (learnt.own) free(learnt.source);
      throw error;
    }
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
      const loaded = await this.#load(await this.#wanted(which), quiet);
      if (signal.aborted) return "";
      loaded.chat ??= await this.#gpu.unlessLost(wasm.Chat.create(loaded.model, loaded.source, undefined));
      const each = (text: string): boolean => {
        onText(text);
        return !signal.aborted;
      };
      return this.#gpu.unlessLost(loaded.chat.answer(JSON.stringify(messages), JSON.stringify(sampling), each));
    });
  }

  /** Run suites, their rows read by `settings`; without them by the run's own. */
  evaluate(
    which: Which,
    { toml, files }: SuiteFiles,
    progress: Progress,
    settings: Settings | undefined,
    signal: AbortSignal,
  ): Promise<SuiteResult[]> {
    return this.#guard(async () => {
      const wanted = await this.#wanted(which);
      const { source, model } = await this.#load(wanted, progress);
      if (signal.aborted) throw stopped();
      const suites = new wasm.Suites(source, toml, files, JSON.stringify(settings ?? wanted.settings ?? {}));
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
