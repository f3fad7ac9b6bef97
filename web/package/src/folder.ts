// Folders: in the origin's private file system, and in memory.
import { TunerError } from "./errors.js";
import type { Folder, Reader, Writer } from "wgpu-sft-wasm";
import { BlobReader, BytesReader } from "./readers.js";

/** A folder, and folders below it. One that does not exist is empty, and made when a file is. */
export interface Files extends Folder {
  /** The folder at `path` below this one. */
  sub(path: string): Files;
  /** Names of the folders right below it. */
  folders(): Promise<string[]>;
  /** The file at `path`, for handing out. */
  file(path: string): Promise<Blob | undefined>;
  /** Resolves when all files that were closed are in their places; whatever else is asked waits for that, too. */
  settled(): Promise<void>;
}

function split(path: string): string[] {
  const parts = path.split("/").filter((part) => part !== "");
  if (parts.some((part) => part === "." || part === "..") || path.includes("\\")) {
    throw new TunerError("Input", `${JSON.stringify(path)} is no path inside a folder`);
  }
  return parts;
}

/** A whole small file. */
export async function readText(folder: Folder, path: string): Promise<string | undefined> {
  const reader = await folder.open(path);
  return reader && new TextDecoder().decode(await reader.read(0, reader.size));
}

/** A whole small file's JSON; `undefined` where there is none, or a crash cut it short. */
export async function readJson<T>(folder: Folder, path: string): Promise<T | undefined> {
  const text = await readText(folder, path);
  try {
    return text === undefined ? undefined : (JSON.parse(text) as T);
  } catch {
    return undefined;
  }
}

export async function writeBytes(folder: Files, path: string, bytes: Uint8Array): Promise<void> {
  const writer = await folder.create(path);
  writer.write(bytes, 0);
  writer.close();
  await folder.settled();
}

export const writeJson = (folder: Files, path: string, value: unknown): Promise<void> =>
  writeBytes(folder, path, new TextEncoder().encode(JSON.stringify(value, undefined, 1)));

/** Bytes of all files below a folder. */
export async function sizeOf(folder: Folder): Promise<number> {
  let total = 0;
  for (const path of await folder.list()) total += (await folder.open(path))?.size ?? 0;
  return total;
}

class OpfsWriter implements Writer {
  #handle: FileSystemSyncAccessHandle | undefined;
  readonly #ended: (isWhole: boolean) => void;

  constructor(handle: FileSystemSyncAccessHandle, ended: (isWhole: boolean) => void) {
    this.#handle = handle;
    this.#ended = ended;
  }

  write(bytes: Uint8Array, at: number): void {
    if (!this.#handle) throw new TunerError("Storage", "the file was closed");
    // Some browsers throw when the storage is full, others write less.
    const written = this.#handle.write(bytes as Uint8Array<ArrayBuffer>, { at });
    if (written !== bytes.length) throw new DOMException("no room for the file", "QuotaExceededError");
  }

  close(): void {
    if (!this.#handle) return;
    try {
      this.#handle.flush();
    } catch (error) {
      this.drop();
      throw error;
    }
    this.#end(true);
  }

  /** Give the file up. */
  drop(): void {
    if (this.#handle) this.#end(false);
  }

  #end(isWhole: boolean): void {
    this.#handle?.close();
    this.#handle = undefined;
    this.#ended(isWhole);
  }
}

const isMissing = (error: unknown): boolean =>
  error instanceof DOMException && (error.name === "NotFoundError" || error.name === "TypeMismatchError");

/** This worker's writers that were not closed: a file has one at most, and cannot be removed while it has. */
const unclosed = new Map<string, OpfsWriter>();

/** The end of a file's name until it is whole, where the browser can rename files: what it replaces stays until then. */
const NEW = ".new-";
const canMove = typeof FileSystemFileHandle !== "undefined" && "move" in FileSystemFileHandle.prototype;

/** Files of this worker that are going to their places. */
let moving: Promise<void> = Promise.resolve();

async function settled(): Promise<void> {
  const moves = moving;
  try {
    await moves;
  } finally {
    // A failure is told once.
    if (moving === moves) moving = Promise.resolve();
  }
}

function move(file: FileSystemFileHandle, name: string): void {
  const earlier = moving;
  moving = file.move!(name).then(() => earlier);
  moving.catch(() => {});
}

/** A folder of the origin's private file system. For workers: files are written synchronously. */
export class OpfsFolder implements Files {
  readonly #root: FileSystemDirectoryHandle;
  readonly #path: string[];

  private constructor(root: FileSystemDirectoryHandle, path: string[]) {
    this.#root = root;
    this.#path = path;
  }

  /** The origin's folder `name`. */
  static async root(name: string): Promise<OpfsFolder> {
    const root = await navigator.storage.getDirectory();
    return new OpfsFolder(root, split(name));
  }

  sub(path: string): OpfsFolder {
    return new OpfsFolder(this.#root, [...this.#path, ...split(path)]);
  }

  settled(): Promise<void> {
    return settled();
  }

  async #handle(parts: string[], create = false): Promise<FileSystemDirectoryHandle | undefined> {
    try {
      let at = this.#root;
      for (const part of [...this.#path, ...parts]) at = await at.getDirectoryHandle(part, { create });
      return at;
    } catch (error) {
      if (!create && isMissing(error)) return undefined;
      throw error;
    }
  }

  /** What is right below a folder. One that another tab removes meanwhile has nothing. */
  async #entries(parts: string[]): Promise<FileSystemHandle[]> {
    const found: FileSystemHandle[] = [];
    try {
      for await (const entry of (await this.#handle(parts))?.values() ?? []) {
        if (entry.kind === "directory" || !entry.name.endsWith(NEW)) found.push(entry);
      }
    } catch (error) {
      if (!isMissing(error)) throw error;
    }
    return found.sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  async list(): Promise<string[]> {
    await settled();
    const walk = async (parts: string[]): Promise<string[]> => {
      const found: string[] = [];
      for (const { kind, name } of await this.#entries(parts)) {
        if (kind === "file") found.push([...parts, name].join("/"));
        else found.push(...(await walk([...parts, name])));
      }
      return found;
    };
    return (await walk([])).sort();
  }

  async folders(): Promise<string[]> {
    await settled();
    const entries = await this.#entries([]);
    return entries.filter(({ kind }) => kind === "directory").map(({ name }) => name);
  }

  async file(path: string): Promise<File | undefined> {
    await settled();
    const parts = split(path);
    const name = parts.pop();
    const folder = name && (await this.#handle(parts));
    try {
      return folder ? await (await folder.getFileHandle(name)).getFile() : undefined;
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  }

  async open(path: string): Promise<Reader | undefined> {
    const file = await this.file(path);
    return file && new BlobReader(file, file.name);
  }

  async create(path: string): Promise<Writer> {
    const parts = split(path);
    const name = parts.pop();
    const folder = await this.#handle(parts, true);
    if (!name || !folder) throw new TunerError("Input", "a file needs a name");
    const key = [...this.#path, ...parts, name].join("/");
    unclosed.get(key)?.drop();
    await settled();
    const file = await folder.getFileHandle(canMove ? name + NEW : name, { create: true });
    const handle = await file.createSyncAccessHandle();
    handle.truncate(0);
    const writer: OpfsWriter = new OpfsWriter(handle, (isWhole) => {
      if (unclosed.get(key) === writer) unclosed.delete(key);
      if (isWhole && canMove) move(file, name);
    });
    unclosed.set(key, writer);
    return writer;
  }

  async remove(path: string): Promise<void> {
    const parts = split(path);
    const key = [...this.#path, ...parts].join("/");
    for (const [at, writer] of unclosed) {
      if (at === key || at.startsWith(`${key}/`)) writer.drop();
    }
    await settled();
    const name = parts.pop();
    const folder = await this.#handle(parts);
    if (!name || !folder) return;
    for (const entry of [name, name + NEW]) {
      try {
        await folder.removeEntry(entry, { recursive: true });
      } catch (error) {
        if (!isMissing(error)) throw error;
      }
    }
  }
}

class MemoryWriter implements Writer {
  #bytes = new Uint8Array(0);
  #length = 0;
  readonly #done: (bytes: Uint8Array<ArrayBuffer>) => void;

  constructor(done: (bytes: Uint8Array<ArrayBuffer>) => void) {
    this.#done = done;
  }

  write(bytes: Uint8Array, at: number): void {
    const end = at + bytes.length;
    if (end > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(end, 2 * this.#bytes.length));
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    this.#bytes.set(bytes, at);
    this.#length = Math.max(this.#length, end);
  }

  close(): void {
    this.#done(this.#bytes.slice(0, this.#length));
  }
}

/** A folder in memory, gone with the worker. */
export class MemoryFolder implements Files {
  readonly #files: Map<string, Uint8Array<ArrayBuffer>>;
  readonly #before: string;

  constructor(files = new Map<string, Uint8Array<ArrayBuffer>>(), before = "") {
    this.#files = files;
    this.#before = before;
  }

  async settled(): Promise<void> {}

  #at(path: string): string {
    return this.#before + split(path).join("/");
  }

  sub(path: string): MemoryFolder {
    return new MemoryFolder(this.#files, `${this.#at(path)}/`);
  }

  async list(): Promise<string[]> {
    const mine = [...this.#files.keys()].filter((path) => path.startsWith(this.#before));
    return mine.map((path) => path.slice(this.#before.length)).sort();
  }

  async folders(): Promise<string[]> {
    const paths = (await this.list()).filter((path) => path.includes("/"));
    return [...new Set(paths.map((path) => path.slice(0, path.indexOf("/"))))];
  }

  async file(path: string): Promise<Blob | undefined> {
    const bytes = this.#files.get(this.#at(path));
    return bytes && new Blob([bytes]);
  }

  async open(path: string): Promise<Reader | undefined> {
    const bytes = this.#files.get(this.#at(path));
    return bytes && new BytesReader(bytes, path.slice(path.lastIndexOf("/") + 1));
  }

  async create(path: string): Promise<Writer> {
    const at = this.#at(path);
    this.#files.set(at, new Uint8Array(0));
    return new MemoryWriter((bytes) => this.#files.set(at, bytes));
  }

  async remove(path: string): Promise<void> {
    const at = this.#at(path);
    for (const other of [...this.#files.keys()]) {
      if (other === at || other.startsWith(`${at}/`)) this.#files.delete(other);
    }
  }
}
