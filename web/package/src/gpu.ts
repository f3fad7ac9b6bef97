// The device: opened when it is needed, and again after it was lost.
import type { Device } from "wgpu-sft-wasm";
import * as wasm from "wgpu-sft-wasm";
import type { DeviceInfo, DeviceMemory } from "./api.js";
import { TunerError } from "./errors.js";

/** Milliseconds to wait for word of a loss. */
const PATIENCE = 250;

export class Gpu {
  readonly #kernels: string | undefined;
  readonly #onLost: (why: string) => void;
  #opening: Promise<Device> | undefined;
  #device: Device | undefined;
  #loss: Promise<never> = new Promise(() => {});

  constructor(kernels: string | undefined, onLost: (why: string) => void) {
    this.#kernels = kernels;
    this.#onLost = onLost;
  }

  /** The device. */
  open(): Promise<Device> {
    this.#opening ??= this.#open().catch((error: unknown) => {
      this.#opening = undefined;
      throw error;
    });
    return this.#opening;
  }

  async #open(): Promise<Device> {
    const device = await wasm.Device.open(this.#kernels);
    this.#device = device;
    this.#loss = device.lost().then((why) => {
      const mine = this.#device === device;
      if (mine) this.#forget();
      if (mine) this.#onLost(why);
      throw new TunerError("Gpu", `the GPU was lost: ${why}`);
    });
    this.#loss.catch(() => {});
    return device;
  }

  #forget(): void {
    this.#device = undefined;
    this.#opening = undefined;
  }

  /** What `work` comes to, or the loss of the device: nothing waits for a device that is gone. */
  unlessLost<T>(work: Promise<T>): Promise<T> {
    work.catch(() => {});
    return Promise.race([work, this.#loss]);
  }

  /** Destroy the device and all on it, if there is one. */
  close(): void {
    const device = this.#device;
    this.#forget();
    if (device) dispose(device);
  }

  /** Give up a device that failed, and tell why it was lost if it was. */
  async abandon(): Promise<string | undefined> {
    const device = this.#device;
    this.#forget();
    if (!device) return undefined;
    // The loss and the error that it brings come in either order.
    const patience = new Promise<undefined>((resolve) => setTimeout(resolve, PATIENCE));
    const why = await Promise.race([device.lost(), patience]);
    dispose(device);
    if (why !== undefined) this.#onLost(why);
    return why;
  }

  async info(): Promise<DeviceInfo> {
    const { name, kernels, isSoftware, features, maxBinding, maxBuffer } = await this.open();
    return { name, kernels, isSoftware, features, maxBinding, maxBuffer };
  }

  memory(): DeviceMemory {
    const device = this.#device;
    return device
      ? { live: device.memory, peak: device.peakMemory, allocations: device.allocations }
      : { live: 0, peak: 0, allocations: 0 };
  }
}

function attempt(task: () => void): void {
  try {
    task();
  } catch (error) {
    // A module that panicked is beyond use; else a call that a lost device never answered still holds the object.
    if (error instanceof WebAssembly.RuntimeError) throw error;
    console.warn(String(error));
  }
}

/** Free an object of the module. */
export const free = (object: { free(): void }): void => attempt(() => object.free());

/** Destroy what is on the device, then free what is of it in the module. What a lost device had on it went with that. */
export function dispose(object: { destroy(): void; free(): void }): void {
  attempt(() => {
    object.destroy();
    object.free();
  });
}
