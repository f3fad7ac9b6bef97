// What the page's side and the worker say to each other.
import type { TunerOptions } from "./api.js";

export interface Served {
  /** Start the module, first of all. */
  begin(options: TunerOptions, onLost: (why: string) => void): Promise<void>;
  /** Call a method of the tuner. */
  call(method: string, ...given: unknown[]): Promise<unknown>;
}
