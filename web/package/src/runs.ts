// All runs of this browser, and the one that is on the device.
import type { Job, Overrides, RunLog, RunState, RunSummary, Sample } from "./api.js";
import { Driver, type OnEvent } from "./driver.js";
import { TunerError } from "./errors.js";
import { type Files, readJson, readText, sizeOf } from "./folder.js";
import type { Gpu } from "./gpu.js";
import { type Inputs, type JobFile, type Status, checkName, checkpoints, readInputs, readJob, readStatus, result, writeJob } from "./job.js";
import { lock } from "./locks.js";
import type { ModelRef, Models } from "./models.js";
import { sparse } from "./progress.js";
import type { Queue } from "./queue.js";

/** What runs share with everything else. */
export interface Shared {
  gpu: Gpu;
  queue: Queue;
  models: Models;
  /** Free what asking has on the device. */
  makeRoom(): void;
}

export class Runs {
  readonly #files: Files;
  readonly #shared: Shared;
  /** What other tabs see, too: before the names of runs that are on a device. */
  readonly #locks: string;
  #current: Driver | undefined;
  /** From the call that starts or resumes a run to its end. */
  #busy: Promise<void> | undefined;
  /** The run that the call is about, as soon as it is there. */
  #going: Driver | undefined;
  /** What was asked of a run that was not there yet. */
  #early: "pause" | "stop" | undefined;

  constructor(files: Files, shared: Shared, locks: string) {
    this.#files = files;
    this.#shared = shared;
    this.#locks = locks;
  }

  start(job: Job, onEvent: OnEvent): Promise<void> {
    return this.#alone(async () => {
      checkName(job.name);
      const opened = this.#shared.models.current;
      await this.#leave();
      const release = await this.#lock(job.name);
      const folder = this.#files.sub(job.name);
      const { settings, data, evalData = [], suites } = job;
      const inputs: Inputs = { settings, data, evalData, ...(suites && { suites }) };
      const file: JobFile = { version: 1, model: this.#shared.models.ref(opened), settings: {}, started: Date.now() };
      try {
        if (await readJob(folder)) throw new TunerError("InUse", `there is a run ${job.name} already: resume it, delete it, or take another name`);
        await this.#files.remove(job.name);
        await writeJob(folder, file, inputs).catch(async (error: unknown) => {
          await this.#files.remove(job.name);
          throw error;
        });
      } catch (error) {
        release();
        throw error;
      }
      const driver = new Driver(job.name, folder, { state: "running", step: 0, total: 0 }, release);
      await this.#go(driver, file.model, inputs, false, onEvent).catch(async (error: unknown) => {
        // What has begun can be gone on with.
        if (!driver.hasBegun) await this.#files.remove(job.name);
        throw error;
      });
    });
  }

  resume(name: string, onEvent: OnEvent, overrides?: Overrides): Promise<void> {
    return this.#alone(async () => {
      const held = this.#current;
      if (held?.isHeld && held.name === name && !overrides) {
        this.#going = held;
        this.#shared.makeRoom();
        return this.#shared.queue.take(() => held.drive(this.#shared.gpu, onEvent));
      }
      await this.#leave();
      const release = await this.#lock(name);
      try {
        const folder = this.#files.sub(name);
        const stored = await readJob(folder);
        if (!stored) throw new TunerError("NoRun", `there is no run ${name}`);
        const status = (await readStatus(folder)) ?? { state: "interrupted", step: 0, total: 0 };
        if (status.state === "finished" && !overrides) throw new TunerError("Input", `${name} has finished: there is nothing to resume`);
        if (!(overrides?.data ?? stored.data)) throw new TunerError("Input", `${name} came without its rows: give them, and what else it was started with`);
        const inputs = await readInputs(folder, stored, overrides);
        // What is wrong with them is found out before they replace what is stored.
        const begun = overrides && (async (): Promise<void> => void (await writeJob(folder, stored, inputs)));
        await this.#go(new Driver(name, folder, status, release), stored.model, inputs, true, onEvent, begun);
      } catch (error) {
        release();
        throw error;
      }
    });
  }

  /** Train a run when the device is free. Rejects where it cannot begin: what happens later is an event. */
  async #go(
    driver: Driver,
    ref: ModelRef,
    inputs: Inputs,
    resume: boolean,
    onEvent: OnEvent,
    begun?: () => Promise<void>,
  ): Promise<void> {
    const { gpu, models, queue, makeRoom } = this.#shared;
    this.#current = this.#going = driver;
    if (this.#early) driver.hold(this.#early);
    try {
      await queue.take(async () => {
        makeRoom();
        const progress = sparse((what, done, total) => onEvent({ type: "progress", what, done, total }));
        const model = await models.find(ref, progress);
        await driver.begin(gpu, await gpu.open(), model, inputs, resume, onEvent);
        await begun?.();
        await driver.drive(gpu, onEvent);
      });
    } catch (error) {
      await driver.free();
      if (error instanceof Error && error.name === "Gpu") await gpu.abandon();
      throw error;
    }
  }

  async #alone(task: () => Promise<void>): Promise<void> {
    if (this.#busy) throw new TunerError("InUse", `the run ${this.#current?.name ?? "before"} is under way: stop it first`);
    this.#busy = task();
    try {
      await this.#busy;
    } finally {
      this.#busy = this.#going = this.#early = undefined;
    }
  }

  /** Free the run that is paused on the device. */
  async #leave(): Promise<void> {
    const held = this.#current;
    if (!held?.isHeld) return void (this.#current = undefined);
    if (held.isUnsaved) {
      throw new TunerError("InUse", `the run ${held.name} could not be saved: resume it when there is room, or delete it`);
    }
    await held.free();
    this.#current = undefined;
  }

  async #lock(name: string): Promise<() => void> {
    const release = await lock(`${this.#locks}run ${name}`);
    if (!release) throw new TunerError("InUse", `the run ${name} is open in another tab`);
    return release;
  }

  async hold(how: "pause" | "stop"): Promise<void> {
    if (this.#busy) {
      if (this.#going) this.#going.hold(how);
      else this.#early = how;
      await this.#busy.catch(() => {});
    } else if (!this.#current?.isHeld) throw new TunerError("NoRun", "no run is under way");
    if (how === "stop" && this.#current?.isHeld) await this.#current.stop(this.#shared.gpu);
  }

  /** End the evaluation of a run that trains. */
  stopEvaluating(): void {
    if (this.#busy) this.#going?.hold("pause");
  }

  /** The device is gone, and what a paused run had on it. */
  async lost(): Promise<void> {
    if (!this.#busy && this.#current?.isHeld) await this.#current.free();
  }

  async close(): Promise<void> {
    if (this.#busy || this.#current?.isHeld) await this.hold("stop").catch(() => {});
  }

  async list(): Promise<RunSummary[]> {
    const held = new Set((await navigator.locks.query()).held?.map((lock) => lock.name));
    const found: RunSummary[] = [];
    for (const name of await this.#files.folders()) {
      const folder = this.#files.sub(name);
      const file = await readJob(folder);
      if (file) found.push(await this.#summary(name, folder, file, held.has(`${this.#locks}run ${name}`)));
    }
    return found.sort((a, b) => b.started - a.started);
  }

  async #summary(name: string, folder: Files, file: JobFile, inUse: boolean): Promise<RunSummary> {
    const mine = this.#current?.name === name && (this.#busy || this.#current.isHeld) ? this.#current.status : undefined;
    const { state, ...status }: Status = mine ?? (await readStatus(folder)) ?? { state: "interrupted", step: 0, total: 0 };
    const now: RunState = state === "running" && !inUse ? "interrupted" : state;
    // It goes on from its newest checkpoint, which may have been written just before its tab ended, its status not.
    if (now === "interrupted" && !mine) [status.step = 0] = await checkpoints(folder);
    return {
      ...status,
      name,
      model: file.model.name,
      state: now,
      method: file.settings.method ?? "lora",
      started: file.started,
      hasResult: (await result(folder)) !== undefined,
      bytes: await sizeOf(folder),
      settings: file.settings,
    };
  }

  /** The folder of a run, and what it was asked for. */
  async find(name: string): Promise<{ folder: Files; file: JobFile }> {
    const folder = this.#files.sub(name);
    const file = await readJob(folder);
    if (!file) throw new TunerError("NoRun", `there is no run ${name}`);
    return { folder, file };
  }

  async log(name: string): Promise<RunLog> {
    const { folder } = await this.find(name);
    const run = await readJson<Record<string, unknown>>(folder, "run.json");
    const comparison = await readJson<RunLog["comparison"]>(folder, "compare.json");
    return {
      metrics: lines(await readText(folder, "metrics.jsonl")),
      samples: lines<Sample>(await readText(folder, "samples.jsonl")),
      ...(run && { run }),
      ...(comparison && { comparison }),
    };
  }

  async delete(name: string): Promise<void> {
    if (this.#current?.name === name) {
      if (this.#busy) throw new TunerError("InUse", `the run ${name} is under way: stop it first`);
      await this.#current.free();
      this.#current = undefined;
    }
    const release = await this.#lock(name);
    try {
      await this.#files.remove(name);
    } finally {
      release();
    }
  }

  /** Do something with a run's files while nobody trains it. */
  async still<T>(name: string, task: () => Promise<T>): Promise<T> {
    const mine = this.#current?.name === name;
    if (mine && this.#busy) throw new TunerError("InUse", `the run ${name} is under way: pause it first`);
    if (mine && this.#current?.isHeld) return task();
    const release = await this.#lock(name);
    try {
      return await task();
    } finally {
      release();
    }
  }

  /** Make a run from elsewhere in its folder. */
  async adopt(name: string, task: (folder: Files) => Promise<void>): Promise<void> {
    const release = await this.#lock(name);
    try {
      await task(this.#files.sub(name));
    } catch (error) {
      await this.#files.remove(name);
      throw error;
    } finally {
      release();
    }
  }

  /** A name like `wanted` that no run has. */
  async freeName(wanted: string): Promise<string> {
    const taken = new Set(await this.#files.folders());
    for (let number = 1; ; number++) {
      const name = number === 1 ? wanted : `${wanted} ${number}`;
      if (!taken.has(name)) return name;
    }
  }
}

/** Lines of JSON; one that a crash cut short is none. */
function lines<T>(text = ""): T[] {
  return text.split("\n").flatMap((line) => {
    try {
      return [JSON.parse(line) as T];
    } catch {
      return [];
    }
  });
}
