// The one tuner of the page. Options for tests and measurements come with the address: ?store=memory&kernels=register&hub=/mirror

import type { Tuner, TunerOptions } from "../../package/src/api";
import { createTuner } from "../../package/src/index";

const query = new URLSearchParams(location.search);

let inMemory = query.get("store") === "memory";

/** Whether this browser keeps files for the page; private windows often do not. Without, runs live as long as the tab. */
export async function findStorage(): Promise<boolean> {
  if (inMemory) return true;
  const found = await navigator.storage?.getDirectory?.().then(() => true, () => false);
  inMemory = !found;
  return Boolean(found);
}

function options(): TunerOptions {
  const kernels = query.get("kernels");
  const hub = query.get("hub");
  return {
    store: inMemory ? "memory" : "opfs",
    ...(kernels ? { kernels } : {}),
    ...(hub ? { hub: new URL(hub, document.baseURI).href } : {}),
  };
}

let made: Tuner | undefined;

/** Made when it is first needed. */
export function tuner(): Tuner {
  made ??= createTuner(options());
  return made;
}

/** After its worker has died. */
export function forgetTuner(): void {
  made = undefined;
}
