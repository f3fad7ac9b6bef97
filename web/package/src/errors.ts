// Errors whose names are those of api.ts, and sentences for what browsers throw.
import type { ErrorName } from "./api.js";

const NAMES: ReadonlySet<string> = new Set<ErrorName>([
  "Data", "Template", "Config", "Weights", "TooLarge", "Diverged", "Gpu", "Checkpoint", "NoWebGpu",
  "Storage", "Network", "NoModel", "NoRun", "InUse", "Input", "Stopped", "Worker",
]);

/** An error of the tuner. */
export class TunerError extends Error {
  constructor(name: ErrorName, message: string) {
    super(message);
    this.name = name;
  }
}

/** An error as data, for events and files. */
export interface Told {
  name: ErrorName;
  message: string;
}

export const stopped = (): TunerError => new TunerError("Stopped", "it was stopped");

/** Bytes for people. */
export function bytes(count: number): string {
  const units = ["bytes", "kB", "MB", "GB"];
  let at = 0;
  while (count >= 999.5 && at < units.length - 1) {
    count /= 1000;
    at += 1;
  }
  return `${at === 0 || count >= 100 ? Math.round(count) : count.toFixed(1)} ${units[at]}`;
}

/** Bytes used and free, where the browser tells. */
export async function room(): Promise<{ used: number; free: number }> {
  const { usage = 0, quota = 0 } = await navigator.storage.estimate();
  return { used: usage, free: Math.max(0, quota - usage) };
}

/** No room for what was to be written. Some browsers say less or more is free than is so. */
export async function storageIsFull(need?: { what: string; bytes: number }): Promise<TunerError> {
  const { used, free } = await room().catch(() => ({ used: 0, free: 0 }));
  const wanted = need ? `${need.what} needs ${bytes(need.bytes)}; ` : "";
  const left = free < Math.max(need?.bytes ?? 0, 1 << 24) ? `${bytes(free)} are free` : `the browser counts ${bytes(free)} as free: the disk may be full`;
  const why = `${wanted}the browser's storage for this site is full: ${bytes(used)} are used, ${left}`;
  return new TunerError("Storage", `${why}. Delete a run or a kept model, or free space on the disk`);
}

/** What was thrown, with one of our names wherever it is known what it means. */
export async function explain(thrown: unknown): Promise<Error> {
  if (!(thrown instanceof Error)) return new TunerError("Worker", String(thrown));
  if (NAMES.has(thrown.name)) return thrown;
  switch (thrown.name) {
    case "QuotaExceededError":
      return storageIsFull();
    case "NoModificationAllowedError":
      return new TunerError("InUse", "another tab is using these files: close it, or wait until it is done");
    case "NotReadableError":
    case "NotFoundError":
      return new TunerError("Input", `a file cannot be read any more; it was changed or moved: ${thrown.message}`);
    case "SecurityError":
    case "NotAllowedError":
    case "InvalidStateError":
    case "UnknownError":
      return new TunerError("Storage", `the browser refuses its storage: ${thrown.message}`);
    case "RuntimeError":
      return new TunerError("Worker", `the module failed: ${thrown.message}`);
  }
  return thrown;
}

/** The same, as data. */
export async function told(thrown: unknown): Promise<Told> {
  const { name, message } = await explain(thrown);
  return { name: NAMES.has(name) ? (name as ErrorName) : "Worker", message };
}
