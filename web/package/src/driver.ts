// One run: worked on piece by piece, held, saved, gone on with.
import type { Device, Run } from "wgpu-sft-wasm";
import * as wasm from "wgpu-sft-wasm";
import type { RunAbout, RunEvent } from "./api.js";
import { TunerError, type Told, told } from "./errors.js";
import type { Files } from "./folder.js";
import { type Gpu, dispose } from "./gpu.js";
import { type Inputs, type Status, modelHash, writeStatus } from "./job.js";
import type { Opened } from "./models.js";
import { sparse } from "./progress.js";

export type OnEvent = (event: RunEvent) => void;

/** Let messages in: a pause may be among them. */
const breathe = (): Promise<void> =>
  new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(undefined);
  });

/** A run on the device, or about to be. */
export class Driver {
  readonly name: string;
  readonly folder: Files;
  readonly status: Status;
  /** Gives the run's name back to other tabs. */
  readonly release: () => void;
  #wanted: "pause" | "stop" | undefined;
  #run: Run | undefined;
  #begun = false;
  /** Whether steps were done that no checkpoint has. */
  #unsaved = false;
  /** Who hears of the run: whoever started or resumed it last. */
  #onEvent: OnEvent = () => {};

  constructor(name: string, folder: Files, status: Status, release: () => void) {
    this.name = name;
    this.folder = folder;
    this.status = status;
    this.release = release;
  }

  /** Whether it holds the device's memory, and can go on at once. */
  get isHeld(): boolean {
    return this.#run !== undefined;
  }

  /** Whether it was on the device: from then on its folder is a run's. */
  get hasBegun(): boolean {
    return this.#begun;
  }

  /** Whether freeing it would lose steps. */
  get isUnsaved(): boolean {
    return this.#unsaved;
  }

  /** Ask a run that trains to pause or stop. It does after the piece of work under way. */
  hold(how: "pause" | "stop"): void {
    if (this.#wanted !== "stop") this.#wanted = how;
    this.#run?.stopEvaluating();
  }

  /** Put it on the device: from the newest checkpoint if `resume`, else anew. */
  async begin(gpu: Gpu, device: Device, model: Opened, inputs: Inputs, resume: boolean, onEvent: OnEvent): Promise<void> {
    this.#onEvent = onEvent;
    const { settings, data, evalData, suites } = inputs;
    const job = JSON.stringify({ settings, ...(suites && { suites: suites.toml }), resume });
    // The run keeps this function for its evaluations: it outlives the call that began it.
    const progress = sparse((what, done, total) => this.#onEvent({ type: "progress", what, done, total }));
    const run = wasm.Run.begin(device, model.source, job, data, evalData, suites?.files ?? [], this.folder, progress);
    this.#run = await gpu.unlessLost(run);
    this.#begun = true;
    const about = JSON.parse(this.#run.about) as RunAbout;
    // The run has read the model: nobody needs to again, to tell which it is.
    const hash = (settings.method ?? "lora") === "lora" ? await modelHash(this.folder) : undefined;
    if (hash !== undefined) model.hash = Promise.resolve(hash);
    Object.assign(this.status, { step: about.step, total: about.total_steps });
    onEvent({ type: "begun", about });
  }

  /** Train until it has finished, is held, or fails; the last event says which. */
  async drive(gpu: Gpu, onEvent: OnEvent): Promise<void> {
    this.#onEvent = onEvent;
    try {
      // What could not be saved comes first: the reason may be gone.
      if (this.#unsaved && !(await this.#saves(gpu))) return;
      await this.#become("running");
      while (!this.#wanted) {
        let event: RunEvent;
        try {
          event = JSON.parse(await gpu.unlessLost(this.#taken.advance())) as RunEvent;
        } catch (error) {
          const why = await told(error);
          if (why.name !== "Storage") throw error;
          return await this.#keep(why);
        }
        // An evaluation that was stopped; it is not over.
        if (event.type === "paused") {
          this.#wanted ??= "pause";
          break;
        }
        await this.#see(event);
        if (event.type === "finished") this.#end();
        this.#onEvent(event);
        if (event.type === "finished") return;
        await breathe();
      }
      await this.#pause(gpu);
    } catch (error) {
      // A module that panicked can tell no more.
      if (error instanceof WebAssembly.RuntimeError) throw error;
      let why = await told(error);
      // After this not even the device is to be trusted.
      const lost = why.name === "Gpu" ? await gpu.abandon() : undefined;
      if (lost !== undefined) why = { name: "Gpu", message: `the GPU was lost: ${lost}` };
      this.status.error = why;
      await this.#note(why);
      await this.#become("failed");
      this.#end();
      this.#onEvent({ type: "failed", error: why, resumable: why.name !== "Diverged" });
    }
  }

  get #taken(): Run {
    if (!this.#run) throw new TunerError("NoRun", `${this.name} is not under way`);
    return this.#run;
  }

  async #see(event: RunEvent): Promise<void> {
    const { status } = this;
    switch (event.type) {
      case "step":
        Object.assign(status, { step: event.step, total: event.total, loss: event.loss });
        this.#unsaved = true;
        return;
      case "evaluation": {
        const loss = event.numbers["eval_loss"];
        if (typeof loss === "number") status.evalLoss = loss;
        return writeStatus(this.folder, status);
      }
      case "saved":
        this.#unsaved = false;
        return writeStatus(this.folder, status);
      case "finished":
        this.#unsaved = false;
        return this.#become("finished");
    }
  }

  /** Let run.json say why it failed, if it can. */
  async #note({ name, message }: Told): Promise<void> {
    try {
      await this.#run?.fail(name === "Diverged" ? "diverged" : "failed", message);
    } catch (error) {
      console.warn(String(error));
    }
  }

  async #become(state: Status["state"]): Promise<void> {
    this.status.state = state;
    if (state === "running") delete this.status.error;
    await writeStatus(this.folder, this.status);
  }

  /** Make a checkpoint. */
  async #save(gpu: Gpu): Promise<void> {
    // Steps that were under way end first.
    for (const event of JSON.parse(await gpu.unlessLost(this.#taken.save())) as RunEvent[]) {
      await this.#see(event);
      this.#onEvent(event);
    }
    this.#unsaved = false;
    delete this.status.error;
    // Before the first step there is nothing to save.
    if (this.status.step > 0) this.#onEvent({ type: "saved", step: this.status.step });
  }

  /** The same; where there is no room for it, the run stays as it is, paused. */
  async #saves(gpu: Gpu): Promise<boolean> {
    try {
      await this.#save(gpu);
      return true;
    } catch (error) {
      const why = await told(error);
      if (why.name !== "Storage") throw error;
      await this.#keep(why);
      return false;
    }
  }

  /** Paused for want of storage: for this tab, which has it on the device; whoever comes later finds it interrupted. */
  async #keep(error: Told): Promise<void> {
    this.#unsaved = true;
    this.#wanted = undefined;
    Object.assign(this.status, { state: "paused", error });
    await writeStatus(this.folder, { ...this.status, state: "interrupted" });
    this.#onEvent({ type: "unsaved", step: this.status.step, error });
    this.#onEvent({ type: "paused", step: this.status.step });
  }

  async #pause(gpu: Gpu): Promise<void> {
    if (!(await this.#saves(gpu))) return;
    const stop = this.#wanted === "stop";
    this.#wanted = undefined;
    await this.#become(stop ? "stopped" : "paused");
    if (stop) this.#end();
    this.#onEvent({ type: "paused", step: this.status.step });
  }

  /** Free what it has on the device, and its name. Steps that were not saved are lost. */
  #end(): void {
    const run = this.#run;
    this.#run = undefined;
    this.#unsaved = false;
    if (run) dispose(run);
    this.release();
  }

  /** Save a held run if it must be, and free it. Rejects where there is no room, and holds it still. */
  async stop(gpu: Gpu): Promise<void> {
    if (this.#unsaved) await this.#save(gpu);
    await this.free();
  }

  /** Free it as it is. */
  async free(): Promise<void> {
    if (this.status.state === "paused") await this.#become(this.#unsaved ? "interrupted" : "stopped");
    this.#end();
  }
}
