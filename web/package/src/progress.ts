import type { Progress } from "./api.js";

/** Milliseconds between two words of progress: a page that hears of every tensor does little else. */
const PAUSE = 50;

/** The same, told less often; what is new, or done, is told at once. */
export function sparse(progress: Progress): Progress {
  let last: string | undefined;
  let next = 0;
  return (what, done, total) => {
    const now = performance.now();
    if (what === last && now < next && done !== total) return;
    last = what;
    next = now + PAUSE;
    progress(what, done, total);
  };
}
