// Base against tuned: on suites, and on a prompt of the person's own. Everything else that is made of a run, too.

import type { Dtype, Message, ModelInfo, SuiteFiles, SuiteResult } from "../../package/src/api";
import { announce, download } from "./dom";
import { set, state } from "./store";
import { evaluationSuites } from "./suites";
import { tuner } from "./tuner";
import { whatWentWrong } from "./words";

/** Answers side by side in a comparison. */
const EXAMPLES = 12;

// What the base model did on the suites asked last: it would do the same again.
let ofBase: { model: ModelInfo | undefined; key: string; results: SuiteResult[] } | undefined;

/** Forgets what the base model did: another one may have come in its place. */
export function forgetBase(): void {
  ofBase = undefined;
}

/** The same for the same suites with the same rows: by what is in them, not by names and sizes. */
async function keyOf({ toml, files }: SuiteFiles): Promise<string> {
  const contents = [new TextEncoder().encode(toml), ...files.map((file) => file.bytes)];
  const digests = contents.map((bytes) => crypto.subtle.digest("SHA-256", bytes as Uint8Array<ArrayBuffer>));
  const hashes = (await Promise.all(digests)).map((digest) => new Uint8Array(digest).join());
  return JSON.stringify([files.map((file) => file.name), hashes]);
}

export async function evaluate(): Promise<void> {
  const { picked: run, model } = state;
  if (!run || state.evalBusy) return;
  set({ evalBusy: { what: "Reading the suites", done: 0, total: 0 }, evalError: undefined });
  try {
    const suites = await evaluationSuites(state.evalSource);
    // Both are asked as the run was taught: in its words, with its columns.
    const settings = state.runs.find(({ name }) => name === run)?.settings;
    const key = `${await keyOf(suites)} ${JSON.stringify(settings ?? {})}`;
    const telling = (who: string) => (what: string, done: number, total: number) =>
      set({ evalBusy: { what: `${who}: ${what}`, done, total } });
    let base = ofBase?.model === model && ofBase?.key === key ? ofBase.results : undefined;
    if (!base) {
      base = await tuner().evaluate("base", suites, telling("Base model"), settings);
      ofBase = { model, key, results: base };
    }
    const tuned = await tuner().evaluate({ run }, suites, telling("Tuned model"), settings);
    const comparison = await tuner().compare(
      { name: "base", results: base },
      { name: run, results: tuned },
      EXAMPLES,
    );
    set({ comparison, compared: run });
    announce("The comparison is there.");
  } catch (error) {
    const what = whatWentWrong(error);
    if (what.name !== "Stopped") set({ evalError: what });
  }
  set({ evalBusy: undefined });
}

export async function stopEvaluating(): Promise<void> {
  await tuner()
    .stopEvaluating()
    .catch((error) => set({ evalError: whatWentWrong(error) }));
}

let stopped = false;

/** Asks the base model, then the tuned one. */
export async function ask(prompt: string, temperature: number, maxNewTokens: number): Promise<void> {
  const run = state.picked;
  if (state.asking || !prompt.trim()) return;
  stopped = false;
  const messages: Message[] = [{ role: "user", content: prompt }];
  const sampling = { temperature, max_new_tokens: maxNewTokens };
  set({ asking: true, askError: undefined, answers: { base: "", tuned: "", at: "base" } });
  const say = (which: "base" | "tuned") => (text: string) => {
    if (state.answers) set({ answers: { ...state.answers, [which]: text, at: which } });
  };
  try {
    say("base")(await tuner().answer("base", messages, sampling, say("base")));
    if (run && !stopped) say("tuned")(await tuner().answer({ run }, messages, sampling, say("tuned")));
    announce("Answered.");
  } catch (error) {
    const what = whatWentWrong(error);
    if (what.name !== "Stopped") set({ askError: what });
  }
  set({ asking: false, ...(state.answers ? { answers: { ...state.answers, at: "done" as const } } : {}) });
}

export async function stopAsking(): Promise<void> {
  stopped = true;
  await tuner()
    .stopAnswering()
    .catch((error) => set({ askError: whatWentWrong(error) }));
}

async function keep(what: string, name: string, make: () => Promise<Blob>): Promise<void> {
  if (state.keepBusy) return;
  set({ keepBusy: { what, done: 0, total: 0 }, keepError: undefined });
  try {
    download(name, await make());
    announce(`${name} is ready.`);
  } catch (error) {
    set({ keepError: whatWentWrong(error) });
  }
  set({ keepBusy: undefined });
}

export const keepAdapter = (run: string) =>
  keep("Packing the adapter", `${run}-adapter.zip`, () => tuner().exportAdapter(run));

export const keepMerged = (run: string, dtype: Dtype | undefined) =>
  keep("Merging", `${run}-model.zip`, () =>
    tuner().exportMerged(run, dtype, (what, done, total) => set({ keepBusy: { what, done, total } })),
  );

export const keepFolder = (run: string) => keep("Packing the run", `${run}.zip`, () => tuner().exportRun(run));

export const keepReport = (run: string) =>
  keep(
    "Writing the report",
    `${run}-report.html`,
    async () => new Blob([await tuner().report(run)], { type: "text/html" }),
  );

export const keepMetrics = (run: string) =>
  keep("Reading the log", `${run}-metrics.jsonl`, async () => {
    const { metrics } = await tuner().runLog(run);
    return new Blob([metrics.map((line) => `${JSON.stringify(line)}\n`).join("")], { type: "application/x-ndjson" });
  });

let running = 0;

/** Runs the kernels' cases. Cancelled, the rest of them is not looked at. */
export async function check(filter: string): Promise<void> {
  const mine = ++running;
  const cases: typeof state.cases = [];
  set({ checking: true, checkDone: false, checkError: undefined, cases, caseCount: 0 });
  try {
    await tuner().check(filter || undefined, (result) => {
      if (mine !== running) return;
      cases.push(result);
      set({ caseCount: cases.length });
    });
    if (mine === running) {
      set({ checkDone: true });
      const failed = cases.filter((one) => !one.passed).length;
      announce(failed ? `${failed} of ${cases.length} cases failed.` : `All ${cases.length} cases passed.`);
    }
  } catch (error) {
    if (mine === running) set({ checkError: whatWentWrong(error) });
  }
  if (mine === running) set({ checking: false });
}

export function stopChecking(): void {
  running += 1;
  set({ checking: false });
}
