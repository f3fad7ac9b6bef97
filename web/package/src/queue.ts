// The device has one user at a time; the others wait in order.
import { stopped } from "./errors.js";

export class Queue {
  #last: Promise<unknown> = Promise.resolve();
  #closed = false;

  /** Do `task` when all that was taken before is done. A `signal` that is aborted before its turn rejects with `Stopped` at once. */
  take<T>(task: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    let begun = false;
    const turn = this.#last.then(() => {
      if (this.#closed || signal?.aborted) throw stopped();
      begun = true;
      return task();
    });
    this.#last = turn.catch(() => {});
    if (!signal) return turn;
    return new Promise((resolve, reject) => {
      const leave = (): void => void (begun || reject(stopped()));
      turn.then(resolve, reject).finally(() => signal.removeEventListener("abort", leave));
      if (signal.aborted) leave();
      else signal.addEventListener("abort", leave, { once: true });
    });
  }

  /** Let the task under way end; those that wait reject with `Stopped`. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#last;
  }
}
