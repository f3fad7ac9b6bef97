// Zips, written and read as streams: none is in memory as a whole unless the browser keeps blobs there.
import { makeZip } from "client-zip";
import { TunerError } from "./errors.js";

/** Pieces of a blob that is being made: few enough of them, small enough each. */
const PIECE = 16 << 20;

/** Files by their paths. */
export type Entries = AsyncIterable<{ path: string; file: Blob }> | Iterable<{ path: string; file: Blob }>;

/** A zip of these files, not compressed: weights do not shrink. */
export async function zip(entries: Entries): Promise<Blob> {
  async function* inputs(): AsyncGenerator<{ name: string; size: number; input: Blob | ReadableStream }> {
    for await (const { path, file } of entries) yield { name: path, size: file.size, input: file.stream() };
  }
  const parts: Blob[] = [];
  let open: Uint8Array<ArrayBuffer>[] = [];
  let size = 0;
  const reader = makeZip(inputs()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (value) {
      open.push(value as Uint8Array<ArrayBuffer>);
      size += value.length;
    }
    if (done || size >= PIECE) {
      parts.push(new Blob(open));
      open = [];
      size = 0;
    }
    if (done) return new Blob(parts, { type: "application/zip" });
  }
}

const broken = (why: string): TunerError => new TunerError("Input", `the .zip cannot be read: ${why}`);

const view = async (blob: Blob, start: number, end: number): Promise<DataView> =>
  new DataView(await blob.slice(start, end).arrayBuffer());

/** Where the list of files begins, how long it is, and how many there are (APPNOTE.TXT 4.3.14 to 4.3.16). */
async function directory(blob: Blob): Promise<{ start: number; size: number; count: number }> {
  const from = Math.max(0, blob.size - 65_557);
  const tail = await view(blob, from, blob.size);
  let at = tail.byteLength - 22;
  while (at >= 0 && tail.getUint32(at, true) !== 0x06054b50) at -= 1;
  if (at < 0) throw broken("its list of files is missing; is the file whole?");
  const short = { count: tail.getUint16(at + 10, true), size: tail.getUint32(at + 12, true), start: tail.getUint32(at + 16, true) };
  if (short.start !== 0xffffffff && short.size !== 0xffffffff && short.count !== 0xffff) return short;
  if (at < 20 || tail.getUint32(at - 20, true) !== 0x07064b50) throw broken("its list of files is missing");
  const long = Number(tail.getBigUint64(at - 12, true));
  const record = await view(blob, long, long + 56);
  if (record.byteLength < 56 || record.getUint32(0, true) !== 0x06064b50) throw broken("its list of files is missing");
  const [count, size, start] = [32, 40, 48].map((offset) => Number(record.getBigUint64(offset, true)));
  return { count: count!, size: size!, start: start! };
}

/** The sizes and the place of a large file, from the extra field with id 1 (APPNOTE.TXT 4.5.3). */
function large(extra: DataView, sizes: [number, number, number]): [number, number, number] {
  for (let at = 0; at + 4 <= extra.byteLength; at += 4 + extra.getUint16(at + 2, true)) {
    if (extra.getUint16(at, true) !== 1) continue;
    let next = at + 4;
    return sizes.map((size) => {
      if (size !== 0xffffffff) return size;
      next += 8;
      return Number(extra.getBigUint64(next - 8, true));
    }) as [number, number, number];
  }
  return sizes;
}

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

/** CRC-32 (ISO 3309) of what gave `sum` and these bytes; before the first, it is 0. */
function crc32(sum: number, bytes: Uint8Array): number {
  let value = ~sum;
  for (let at = 0; at < bytes.length; at++) value = (value >>> 8) ^ TABLE[(value ^ bytes[at]!) & 255]!;
  return ~value >>> 0;
}

/** The same bytes, which fail unless they are as many, and have the sum, that the list of files says. */
function checked(stream: ReadableStream<Uint8Array>, path: string, size: number, sum: number): ReadableStream<Uint8Array> {
  const reader = stream.getReader();
  let [count, found] = [0, 0];
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      const { done, value } = await reader.read().catch((error: unknown) => {
        // What cannot be unpacked is a TypeError; the file itself may fail to be read, too.
        throw error instanceof TypeError ? broken(`${path} is damaged`) : error;
      });
      if (value) {
        count += value.length;
        found = crc32(found, value);
      }
      if (count > size || (done && (count < size || found !== sum))) {
        await reader.cancel().catch(() => {});
        throw broken(`${path} is damaged: ${count} bytes, ${size} were packed${count === size ? ", and others" : ""}`);
      }
      if (value) controller.enqueue(value);
      if (done) controller.close();
    },
    cancel: (why) => reader.cancel(why),
  });
}

/** The files of a zip, each read when it is asked for, and checked while it is. Folders are left out. */
export async function* unzip(blob: Blob): AsyncGenerator<{ path: string; stream: ReadableStream<Uint8Array>; size: number }> {
  const { start, size, count } = await directory(blob);
  const list = await view(blob, start, start + size);
  let at = 0;
  for (let file = 0; file < count; file++) {
    if (at + 46 > list.byteLength || list.getUint32(at, true) !== 0x02014b50) throw broken("its list of files is damaged");
    const [flags, method] = [list.getUint16(at + 8, true), list.getUint16(at + 10, true)];
    const [nameSize, extraSize, noteSize] = [28, 30, 32].map((offset) => list.getUint16(at + offset, true)) as [number, number, number];
    if (at + 46 + nameSize + extraSize > list.byteLength) throw broken("its list of files is damaged");
    // Some programs write Windows' separators.
    const path = new TextDecoder().decode(new Uint8Array(list.buffer, at + 46, nameSize)).replaceAll("\\", "/");
    const sum = list.getUint32(at + 16, true);
    const extra = new DataView(list.buffer, at + 46 + nameSize, extraSize);
    const [packed, unpacked, place] = large(extra, [
      list.getUint32(at + 20, true),
      list.getUint32(at + 24, true),
      list.getUint32(at + 42, true),
    ].map(Number) as [number, number, number]);
    at += 46 + nameSize + extraSize + noteSize;
    if (path.endsWith("/")) continue;
    if (flags & 1) throw broken(`${path} is encrypted`);
    if (method !== 0 && method !== 8) throw broken(`${path} is packed by method ${method}; stored and deflate are read`);
    const local = await view(blob, place, place + 30);
    if (local.byteLength < 30 || local.getUint32(0, true) !== 0x04034b50) throw broken(`${path} is damaged`);
    const from = place + 30 + local.getUint16(26, true) + local.getUint16(28, true);
    if (from + packed > blob.size) throw broken(`${path} is cut short`);
    const stored = blob.slice(from, from + packed).stream();
    const stream = method === 0 ? stored : stored.pipeThrough(new DecompressionStream("deflate-raw"));
    yield { path, stream: checked(stream, path, unpacked, sum), size: unpacked };
  }
}
