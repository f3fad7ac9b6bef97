// Bytes that are read by pieces: of blobs and files, of memory, of a server.
import type { Reader } from "wgpu-sft-wasm";
import { TunerError } from "./errors.js";

/** A blob or a file of the user's, or of the browser's storage. */
export class BlobReader implements Reader {
  readonly name: string;
  readonly size: number;
  readonly #blob: Blob;

  constructor(blob: Blob, name: string) {
    this.name = name;
    this.size = blob.size;
    this.#blob = blob;
  }

  async read(start: number, end: number): Promise<Uint8Array> {
    return new Uint8Array(await this.#blob.slice(start, end).arrayBuffer());
  }
}

/** Bytes at hand. */
export class BytesReader implements Reader {
  readonly name: string;
  readonly size: number;
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array, name: string) {
    this.name = name;
    this.size = bytes.length;
    this.#bytes = bytes;
  }

  async read(start: number, end: number): Promise<Uint8Array> {
    return this.#bytes.subarray(start, end);
  }
}

const ATTEMPTS = 3;
/** Bytes that are asked for at least: headers are read in small pieces. */
const WINDOW = 1 << 19;

/** Get an address, trying again when the network or the server fails. Rejects with `Network`; answers of 400 to 499 are given back. */
export async function get(url: string, start?: number, end?: number): Promise<Response> {
  const headers: Record<string, string> = start === undefined ? {} : { range: `bytes=${start}-${(end ?? 0) - 1}` };
  for (let attempt = 1; ; attempt++) {
    let why: string;
    try {
      const response = await fetch(url, { headers });
      if (response.status < 500 && response.status !== 429) return response;
      why = `the server says ${response.status} ${response.statusText}`;
    } catch (error) {
      why = navigator.onLine ? String(error) : "there is no network";
    }
    if (attempt === ATTEMPTS) throw new TunerError("Network", `${url}: ${why}`);
    await new Promise((resolve) => setTimeout(resolve, 500 * attempt));
  }
}

/** A file of a server: by ranges where the server has them, else whole. */
export class HttpReader implements Reader {
  readonly name: string;
  readonly size: number;
  readonly #url: string;
  #whole: Blob | undefined;
  #window: { start: number; bytes: Uint8Array } | undefined;

  private constructor(name: string, url: string, size: number) {
    this.name = name;
    this.size = size;
    this.#url = url;
  }

  /** A file whose size is known. Nothing is asked for. */
  static sized(name: string, url: string, size: number): HttpReader {
    return new HttpReader(name, url, size);
  }

  /** A file of unknown size, or `undefined` where there is none: some servers say so with a page. Its first bytes are read. */
  static async open(name: string, url: string): Promise<HttpReader | undefined> {
    const response = await get(url, 0, WINDOW);
    if (response.status === 404) return undefined;
    if (response.status === 416) return new HttpReader(name, url, 0);
    if (!response.ok) throw new TunerError("Network", `${url}: the server says ${response.status}`);
    if (/^text\/html\b/i.test(response.headers.get("content-type") ?? "")) {
      await response.body?.cancel();
      return undefined;
    }
    const body = await received(response, url);
    const total = /\/(\d+)$/.exec(response.headers.get("content-range") ?? "")?.[1];
    if (response.status === 206 && total === undefined) {
      throw new TunerError("Network", `${url}: the server gives a part, but not of how much (Content-Range)`);
    }
    const reader = new HttpReader(name, url, response.status === 206 ? Number(total) : body.size);
    if (response.status === 206) reader.#window = { start: 0, bytes: new Uint8Array(await body.arrayBuffer()) };
    else reader.#whole = body;
    return reader;
  }

  async read(start: number, end: number): Promise<Uint8Array> {
    if (start === end) return new Uint8Array(0);
    const window = this.#window;
    if (window && start >= window.start && end <= window.start + window.bytes.length) {
      return window.bytes.subarray(start - window.start, end - window.start);
    }
    if (!this.#whole) {
      const upTo = Math.min(this.size, Math.max(end, start + WINDOW));
      const response = await get(this.#url, start, upTo);
      if (!response.ok) throw new TunerError("Network", `${this.#url}: the server says ${response.status}`);
      const body = await received(response, this.#url);
      const wanted = response.status === 206 ? upTo - start : this.size;
      if (body.size !== wanted) throw new TunerError("Network", `${this.#url}: ${body.size} bytes came, not ${wanted}`);
      if (response.status === 206) {
        const bytes = new Uint8Array(await body.arrayBuffer());
        if (upTo > end) this.#window = { start, bytes };
        return bytes.subarray(0, end - start);
      }
      this.#whole = body;
    }
    return new Uint8Array(await this.#whole.slice(start, end).arrayBuffer());
  }
}

/** A response's body, which may break off. */
async function received(response: Response, url: string): Promise<Blob> {
  try {
    return await response.blob();
  } catch (error) {
    throw new TunerError("Network", `${url}: the download broke off: ${String(error)}`);
  }
}
