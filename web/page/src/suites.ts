// Which suites are asked: the bundled ones, a file of the person's, or one made of the held-out rows.

import type { RowFile, SuiteFiles } from "../../package/src/api";
import { bundledSuites } from "./bundled";
import { readFiles } from "./rowfiles";
import { state } from "./store";

/** Measures that any rows with an answer have; the first that is ticked decides. */
export const MEASURES: [name: string, what: string][] = [
  ["exact_match", "Exact match: the answer is the reference, but for case, punctuation and articles"],
  ["f1", "F1: words that answer and reference share"],
  ["rougeL", "ROUGE-L: the longest sequence of words they share"],
  ["chrf", "chrF: runs of characters they share"],
  ["token_accuracy", "Token accuracy: the reference's tokens that were the likeliest"],
  ["loss", "Loss: how improbable the reference is, per token"],
];

/** What the form says. */
export const made = {
  measures: new Set(["exact_match", "f1"]),
  limit: 100,
  maxNewTokens: 64,
  files: [] as File[],
};

const quoted = (text: string) => JSON.stringify(text);

function problem(message: string): Error {
  return Object.assign(new Error(message), { name: "Input" });
}

/** Rows of one question in several wordings say so with `group`. */
function hasGroups(file: RowFile): boolean {
  return new TextDecoder().decode(file.bytes.subarray(0, 1 << 16)).includes('"group"');
}

function madeSuites(): SuiteFiles {
  if (!state.rows && state.dataBusy) throw problem("The rows are still being read.");
  const files = state.rows?.heldOut ?? [];
  if (!files.length)
    throw problem(
      "There are no held-out rows to measure on. Choose some in Data, or untick “Measure before and after”.",
    );
  const measures = MEASURES.map(([name]) => name).filter((name) => made.measures.has(name));
  if (!measures.length) throw problem("No measure is ticked.");
  const suite = (file: RowFile, name: string, measure: string) =>
    [
      "[[suite]]",
      `name = ${quoted(name)}`,
      `data = ${quoted(file.name)}`,
      `measure = ${measure}`,
      `limit = ${made.limit}`,
      `max_new_tokens = ${made.maxNewTokens}`,
      "",
    ].join("\n");
  const parts: string[] = [];
  files.forEach((file, i) => {
    const name = i ? `held-out-${i + 1}` : "held-out";
    parts.push(suite(file, name, `[${measures.map(quoted).join(", ")}]`));
    if (hasGroups(file)) parts.push(suite(file, `${name}-consistency`, '"consistency"'));
  });
  return { toml: parts.join("\n"), files };
}

async function ownSuites(): Promise<SuiteFiles> {
  const tomls = made.files.filter((file) => file.name.endsWith(".toml"));
  if (tomls.length !== 1) throw problem("Choose one suite file (.toml), and with it the files of rows that it names.");
  return { toml: await tomls[0]!.text(), files: await readFiles(made.files.filter((file) => file !== tomls[0])) };
}

export async function evaluationSuites(source: typeof state.evalSource): Promise<SuiteFiles> {
  if (source === "bundled") return bundledSuites();
  return source === "made" ? madeSuites() : ownSuites();
}
