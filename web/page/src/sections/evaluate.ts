// Section 4: base against tuned.

import { Progress, button, byId, choice, field, fill, h, notice, slot, tick } from "../dom";
import { evaluate, stopEvaluating } from "../evaluations";
import { isBusy } from "../runs";
import { set, state, watch } from "../store";
import { MEASURES, made } from "../suites";
import { T } from "../testids";
import { askView } from "./ask";
import { comparisonView } from "./comparison";

/** A list of the runs that have something to show; all of them change together. */
export function runPicker(testid: string, label: string): HTMLElement {
  const list = h("select", { testid, on: { change: () => set({ picked: list.value }) } });
  watch(({ runs, picked }) => [runs, picked], () => {
    const usable = state.runs.filter((run) => run.hasResult);
    fill(list, ...usable.map((run) => h("option", { value: run.name }, `${run.name} (${run.state}, step ${run.step})`)), !usable.length && h("option", { value: "" }, "no run has a result yet"));
    list.value = usable.some((run) => run.name === state.picked) ? state.picked : (usable[0]?.name ?? "");
    list.disabled = !usable.length;
  });
  return field(label, list);
}

export function evaluateSection(): void {
  const section = byId("evaluate");
  const detail = h("div", { class: "detail" });
  const go = button("Compare base and tuned", T.evalStart, () => void evaluate(), "primary");
  const why = h("p", { class: "quiet" });
  const progress = new Progress(T.evalProgress, "Evaluating", () => void stopEvaluating());
  const error = slot(T.evalError);
  const source = h("div", {});
  section.append(
    h("p", { class: "lead" }, "Whether tuning helped, on questions it was never asked. Both models answer the same items; intervals say how far the numbers could be off because these items were asked and not others."),
    h("div", { class: "grid" }, runPicker(T.evalRun, "Tuned model: the run")),
    source,
    detail,
    h("div", { class: "row" }, go),
    why,
    progress.root,
    error,
    comparisonView(),
    askView(),
  );
  watch(({ evalSource }) => [evalSource], () => {
    const focused = source.contains(document.activeElement);
    fill(source, choice(
      "Ask",
      [
        { value: "bundled", label: "Bundled suites", testid: `${T.evalSource}-bundled` },
        { value: "made", label: "Held-out rows", testid: `${T.evalSource}-made` },
        { value: "files", label: "A suite file", testid: `${T.evalSource}-files` },
      ],
      state.evalSource,
      (value) => set({ evalSource: value as typeof state.evalSource }),
    ));
    if (focused) source.querySelector<HTMLInputElement>("input:checked")?.focus();
    fill(detail, { bundled: bundledView, made: madeView, files: filesView }[state.evalSource]());
  });
  watch(({ evalBusy, picked, runs, live, device, model }) => [evalBusy, picked, runs, live?.phase, device.state, model], () => {
    const { evalBusy: busy, picked, runs, live, device, model } = state;
    const run = runs.find((one) => one.name === picked && one.hasResult);
    const missing = whatIsMissing(device.state, isBusy(live?.phase), Boolean(run));
    const other = run && model && run.model !== model.name ? `This run says that it tuned ${run.model}; ${model.name} is open, and is what it is compared with.` : "";
    go.disabled = Boolean(busy) || Boolean(missing);
    fill(why, !busy && (missing || other));
    if (busy) progress.show(busy.total ? `${busy.what}, ${busy.done} of ${busy.total}` : busy.what, busy.done, busy.total);
    else progress.hide();
  });
  watch(({ evalError }) => [evalError], () => fill(error, state.evalError && notice("error", "These suites cannot be run", h("p", {}, state.evalError.message))));
}

function whatIsMissing(device: string, training: boolean, hasRun: boolean): string {
  if (device !== "ready") return "Evaluating needs the GPU.";
  if (training) return "The GPU is training. Pause, or wait until it has finished.";
  return hasRun ? "" : "Train first: there is nothing to compare yet.";
}

function bundledView(): HTMLElement {
  return h("p", { class: "quiet" }, "Five suites: held-out questions, the same in new wordings, thirty facts in six wordings each (consistency), a task that was never taught, and texts it read before (forgetting). About 890 items.");
}

function madeView(): HTMLElement {
  const number = (testid: string, value: number, most: number, keep: (n: number) => void) => {
    const box = h("input", { type: "number", min: 1, max: most, step: 1, testid, inputmode: "numeric" });
    box.value = String(value);
    box.addEventListener("change", () => {
      const n = Math.min(most, Math.max(1, Math.round(Number(box.value) || value)));
      box.value = String(n);
      keep(n);
    });
    return box;
  };
  return h("div", {},
    h("fieldset", { class: "group" }, h("legend", {}, "Measures"), ...MEASURES.map(([name, what]) => {
      const box = tick(what, `${T.evalMeasures}-${name}`, made.measures.has(name), (on) => void (on ? made.measures.add(name) : made.measures.delete(name)));
      return h("div", {}, box);
    })),
    h("div", { class: "grid" },
      field("Rows at most", number(T.evalLimit, made.limit, 100_000, (n) => (made.limit = n))),
      field("Tokens of an answer at most", number(T.evalTokens, made.maxNewTokens, 4096, (n) => (made.maxNewTokens = n)))),
    h("p", { class: "quiet" }, "The first ticked measure decides. Rows with the same “group” are one question in several wordings: their consistency is measured, too."));
}

function filesView(): HTMLElement {
  const input = h("input", { type: "file", multiple: true, testid: T.evalFiles, accept: ".toml,.jsonl,.json,.csv,.gz", on: { change: () => {
    made.files = [...(input.files ?? [])];
  } } });
  return field("A suite file (.toml) and its rows, chosen together", input, made.files.map((file) => file.name).join(", ") || "As for wgpu-sft eval.");
}
