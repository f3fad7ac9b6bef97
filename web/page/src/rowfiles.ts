// Rows as files: what was pasted or written becomes one, and a share of a file's rows becomes another.

import type { RowFile } from "../../package/src/api";
import type { Rows } from "./store";

const encode = (text: string) => new TextEncoder().encode(text);

export interface HandRow {
  instruction: string;
  answer: string;
}

/** Gives files of one name a number: suites find their rows by name. */
function distinct(files: RowFile[]): RowFile[] {
  const taken = new Set(files.map((file) => file.name));
  const seen = new Set<string>();
  return files.map((file) => {
    if (!seen.has(file.name)) {
      seen.add(file.name);
      return file;
    }
    const [, stem, endings] = /^(.[^.]*)(.*)$/s.exec(file.name) ?? ["", file.name, ""];
    let number = 2;
    while (taken.has(`${stem}-${number}${endings}`)) number += 1;
    const name = `${stem}-${number}${endings}`;
    taken.add(name);
    return { ...file, name };
  });
}

/** What is in files, under names that differ: files of two folders may have the same. */
export async function readFiles(files: Iterable<File>): Promise<RowFile[]> {
  const read = async (file: File) => ({ name: file.name, bytes: new Uint8Array(await file.arrayBuffer()) });
  return distinct(await Promise.all([...files].map(read)));
}

/** A name that says how the text is to be read. */
export function pasted(text: string): RowFile {
  const start = text.trimStart()[0];
  const ending = start === "[" ? "json" : start === "{" ? "jsonl" : "csv";
  return { name: `pasted.${ending}`, bytes: encode(text) };
}

/** Rows with both cells filled, as JSONL. */
export function written(rows: HandRow[]): RowFile {
  const used = rows.filter((row) => row.instruction.trim() && row.answer.trim());
  const line = (row: HandRow) => JSON.stringify({ instruction: row.instruction.trim(), output: row.answer.trim() });
  return { name: "written.jsonl", bytes: encode(used.map((row) => `${line(row)}\n`).join("")) };
}

async function textOf(file: RowFile): Promise<string> {
  const [a, b] = file.bytes;
  if (a !== 0x1f || b !== 0x8b) return new TextDecoder().decode(file.bytes);
  const stream = new Blob([file.bytes as Uint8Array<ArrayBuffer>])
    .stream()
    .pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

/** A CSV text's records: line breaks within quotes do not end one. */
function records(text: string): string[] {
  const found: string[] = [];
  let start = 0;
  let quoted = false;
  for (let i = 0; i < text.length; i++) {
    if (text[i] === '"') quoted = !quoted;
    else if (text[i] === "\n" && !quoted) {
      found.push(text.slice(start, i + 1));
      start = i + 1;
    }
  }
  if (start < text.length) found.push(`${text.slice(start)}\n`);
  return found.filter((record) => record.trim());
}

/** A file's rows, each as a text of its own, and what stands before them all. JSON lines keep their places: an empty one is no row. */
async function rowsOf(file: RowFile): Promise<{ head: string; rows: string[]; ending: string }> {
  const text = await textOf(file);
  const name = file.name.replace(/\.gz$/i, "");
  if (/\.csv$/i.test(name)) {
    const [head = "", ...rows] = records(text);
    return { head, rows, ending: "csv" };
  }
  if (!text.trimStart().startsWith("["))
    return { head: "", rows: text.split("\n").map((line) => `${line}\n`), ending: "jsonl" };
  try {
    return {
      head: "",
      rows: (JSON.parse(text) as unknown[]).map((row) => `${JSON.stringify(row)}\n`),
      ending: "jsonl",
    };
  } catch (error) {
    throw Object.assign(new Error(`${file.name}: ${(error as Error).message}`), { name: "Data" });
  }
}

/** Takes a share of every file's rows, evenly from first to last, out of training. */
export async function holdOut(files: RowFile[], percent: number): Promise<Rows> {
  const split: Rows = { train: [], heldOut: [] };
  for (const file of files) {
    const { head, rows, ending } = await rowsOf(file);
    let seen = 0;
    let heldOut = 0;
    const parts = { train: [] as string[], heldOut: [] as string[] };
    for (const row of rows) {
      const isRow = row.trim() !== "";
      const isOut = isRow && Math.floor(((seen + 1) * percent) / 100) > Math.floor((seen * percent) / 100);
      if (isRow) seen += 1;
      if (isOut) heldOut += 1;
      // What is not in a part leaves an empty line there, so that places are those of the file.
      parts.train.push(isOut ? (ending === "csv" ? "" : "\n") : row);
      parts.heldOut.push(isOut ? row : ending === "csv" ? "" : "\n");
    }
    const stem = file.name.replace(/\.gz$/i, "").replace(/\.[^.]+$/, "");
    const make = (name: string, lines: string[]) => ({
      name: `${name}.${ending}`,
      bytes: encode(head + lines.join("")),
    });
    split.train.push(make(stem, parts.train));
    if (heldOut) split.heldOut.push(make(`${stem}-heldout`, parts.heldOut));
  }
  return { train: distinct(split.train), heldOut: distinct(split.heldOut) };
}

/** Files that were dropped, those in a folder included, with their paths. */
export async function droppedFiles(transfer: DataTransfer): Promise<{ path: string; file: File }[]> {
  // Both lists are empty once this function has waited for anything.
  const loose = [...transfer.files].map((file) => ({ path: file.name, file }));
  const entries = [...transfer.items]
    .map((item) => item.webkitGetAsEntry?.())
    .filter((entry) => entry !== null && entry !== undefined);
  const files: { path: string; file: File }[] = [];
  const walk = async (entry: FileSystemEntry): Promise<void> => {
    if (entry.isFile) {
      const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
      files.push({ path: entry.fullPath.replace(/^\//, ""), file });
      return;
    }
    const reader = (entry as FileSystemDirectoryEntry).createReader();
    // A reader gives a hundred entries at a time.
    for (;;) {
      const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
      if (!some.length) return;
      for (const child of some) await walk(child);
    }
  };
  for (const entry of entries) await walk(entry);
  return files.length ? files : loose;
}
