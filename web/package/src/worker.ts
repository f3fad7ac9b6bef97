// The worker: starts the module, and serves a tuner to the page.
import { expose, releaseProxy } from "comlink";
import init from "wgpu-sft-wasm";
import { TunerError, explain } from "./errors.js";
import type { Served } from "./protocol.js";
import { LocalTuner } from "./tuner.js";

/** A page's function: messages there and back, whose way ends when it is let go of. */
type Remote = ((...given: unknown[]) => Promise<unknown>) & { [releaseProxy]: () => void };

const isRemote = (given: unknown): given is Remote => typeof given === "function";

/** Called without waiting for what the page does with it; one that was let go of says nothing. */
const plain = (remote: Remote) => (...given: unknown[]): void => {
  try {
    remote(...given).catch(() => {});
  } catch {
    // Its way has ended: that throws at once.
  }
};

/** A module that panicked is beyond use. The page hears of it as the worker's error. */
function dieOf(error: unknown): void {
  if (error instanceof WebAssembly.RuntimeError) setTimeout(() => { throw error; });
}

let tuner: LocalTuner;

const served: Served = {
  async begin(options, onLost) {
    await init({ module_or_path: options.wasmUrl }).catch((error: unknown) => {
      throw new TunerError("Worker", `the WebAssembly module cannot be loaded: ${String(error)}`);
    });
    tuner = await LocalTuner.create(options, plain(onLost as Remote));
  },

  async call(method, ...given) {
    const remotes = given.filter(isRemote);
    try {
      const work = tuner[method as keyof LocalTuner] as (...given: unknown[]) => Promise<unknown>;
      return await work.apply(tuner, given.map((one) => (isRemote(one) ? plain(one) : one)));
    } catch (error) {
      dieOf(error);
      throw await explain(error);
    } finally {
      for (const remote of remotes) remote[releaseProxy]();
    }
  },
};

self.addEventListener("unhandledrejection", ({ reason }) => dieOf(reason));

expose(served);
