// All runs of this browser, and the one that is on the device.
import type { Job, Overrides, RunLog, RunState, RunSummary, Sample } from "./api.js";
import { Driver, type OnEvent } from "./driver.js";
import { TunerError } from "./errors.js";
import { type Files, readJson, readText, sizeOf } from "./folder.js";
import type { Gpu } from "./gpu.js";
import { type JobFile, type Status, checkName, readJob, readStatus, result, writeJob } from "./job.js";
import type { Models } from "./models.js";
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
  /** What other tabs see, too: names of runs that are on a device. */
  readonly #locks: string;
  #current: Driver | undefined;
  /** From the call that starts or resumes a run to its end. */
  #busy: Promise<void> | undefined;
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
      let file: JobFile = { version: 1, model: this.#shared.models.ref(opened), settings: {}, started: Date.now() };
      try {
        if (await readJob(folder)) throw new TunerError("InUse", `there is a run ${job.name} already: resume it, delete it, or take another name`);
        await this.#files.remove(job.name);
        file = await writeJob(folder, file, job).catch(async (error: unknown) => {
          await this.#files.remove(job.name);
          throw error;
        });
      } catch (error) {
        release();
        throw error;
      }
      const driver = new Driver(job.name, folder, { state: "running", step: 0, total: 0 }, release);
      await this.#go(driver, file, false, onEvent).catch(async (error: unknown) => {
        await this.#files.remove(job.name);
        throw error;
      });
    });
  }

  resume(name: string, onEvent: OnEvent, overrides?: Overrides): Promise<void> {
    return this.#alone(async () => {
      const held = this.#current;
      if (held?.isHeld && held.name === name && !overrides) {
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
        const file = overrides ? await writeJob(folder, stored, overrides) : stored;
        if (!file.data) throw new TunerError("Input", `${name} came without its rows: give them, and what else it was started with`);
        await this.#go(new Driver(name, folder, status, release), file, true, onEvent);
      } catch (error) {
        release();
        throw error;
      }
    });
  }

  /** Train a run when the device is free. Rejects where it cannot begin: what happens later is an event. */
  async #go(driver: Driver, file: JobFile, resume: boolean, onEvent: OnEvent): Promise<void> {
    const { gpu, models, queue, makeRoom } = this.#shared;
    this.#current = driver;
    if (this.#early) driver.hold(this.#early);
    try {
      await queue.take(async () => {
        makeRoom();
        const progress = sparse((what, done, total) => onEvent({ type: "progress", what, done, total }));
        const model = await models.find(file.model, progress);
        await driver.begin(gpu, await gpu.open(), model, file, resume, onEvent);
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
      this.#busy = undefined;
      this.#early = undefined;
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

  #lock(name: string): Promise<() => void> {
    return new Promise((resolve, reject) => {
      const request = navigator.locks.request(this.#locks + name, { ifAvailable: true }, (lock) => {
        if (!lock) throw new TunerError("InUse", `the run ${name} is open in another tab`);
        return new Promise<void>((release) => resolve(release));
      });
      request.catch(reject);
    });
  }

  async hold(how: "pause" | "stop"): Promise<void> {
    if (this.#busy) {
      if (this.#current) this.#current.hold(how);
      else this.#early = how;
      await this.#busy.catch(() => {});
    } else if (!this.#current?.isHeld) throw new TunerError("NoRun", "no run is under way");
    if (how === "stop" && this.#current?.isHeld) await this.#current.stop(this.#shared.gpu);
  }

  /** End the evaluation of a run that trains. */
  stopEvaluating(): void {
    if (this.#busy) this.#current?.hold("pause");
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
      if (file) found.push(await this.#summary(name, folder, file, held.has(this.#locks + name)));
    }
    return found.sort((a, b) => b.started - a.started);
  }

  async #summary(name: string, folder: Files, file: JobFile, inUse: boolean): Promise<RunSummary> {
    const mine = this.#current?.name === name && (this.#busy || this.#current.isHeld) ? this.#current.status : undefined;
    const { state, ...status }: Status = mine ?? (await readStatus(folder)) ?? { state: "interrupted", step: 0, total: 0 };
    const now: RunState = state === "running" && !inUse ? "interrupted" : state;
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

  /** A name like `wanted` that no run has. */
  async freeName(wanted: string): Promise<string> {
    const taken = new Set(await this.#files.folders());
    for (let number = 1; ; number++) {
      const name = number === 1 ? wanted : `${wanted} ${number}`;
      if (!taken.has(name)) return name;
    }
  }

  folder(name: string): Files {
    return this.#files.sub(name);
  }

  remove(name: string): Promise<void> {
    return this.#files.remove(name);
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
