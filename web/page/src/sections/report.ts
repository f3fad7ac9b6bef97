// What was found in the rows.

import type { Finding, RowReport } from "../../../package/src/api";
import { fill, fold, h, table } from "../dom";
import { state, watch } from "../store";
import { T } from "../testids";
import { capital, count, several } from "../words";

const SHOWN_BAD = 10;
const SIGNS: Record<string, string> = { error: "✗", warning: "!", note: "i", info: "i" };

export function reportView(): HTMLElement {
  const root = h("div", {});
  watch(({ report, rowCount }) => [report, rowCount], () => fill(root, state.report ? drawn(state.report) : null));
  return root;
}

function drawn(report: RowReport): HTMLElement {
  const rowsOf = (heldOut: boolean) => report.sources.filter((one) => one.held_out === heldOut).reduce((sum, one) => sum + one.rows, 0);
  const training = rowsOf(false);
  const heldOut = rowsOf(true);
  const errors = report.findings.filter((one) => one.severity === "error");
  const warnings = report.findings.filter((one) => one.severity === "warning");
  const verdict = errors.length ? several(errors.length, "kind of error", "kinds of errors") : warnings.length ? several(warnings.length, "kind of warning", "kinds of warnings") : "no flaws found";
  const tokens = state.rowCount;
  const tiles: [string, string][] = [
    [count(training), training === 1 ? "row to train on" : "rows to train on"],
    [count(heldOut), "held out"],
    ...(tokens ? ([[count(tokens.tokens), "tokens an epoch"], [count(tokens.targets), "of them learnt"], [count(tokens.longest), "tokens in the longest"]] as [string, string][]) : []),
  ];
  const unusable = tokens?.bad_rows ?? 0;
  return h(
    "div",
    { class: "card" },
    h("div", { class: "row between" }, h("h3", { testid: T.dataSummary, "data-rows": training, "data-held-out": heldOut }, "What is in it"), h("span", { class: `verdict ${errors.length ? "error" : warnings.length ? "warning" : "good"}` }, errors.length ? "✗ " : warnings.length ? "! " : "✓ ", verdict)),
    h("div", { class: "tiles", testid: T.dataCount, "data-tokens": tokens?.tokens, "data-targets": tokens?.targets }, ...tiles.map(([number, what]) => h("div", {}, h("b", {}, number), h("span", {}, what)))),
    unusable
      ? h("div", { class: "notice error", testid: T.dataBad }, h("p", { class: "title" }, `${several(unusable, "row")} cannot be used with this model and these settings`),
        h("ul", {}, ...tokens!.bad.slice(0, SHOWN_BAD).map(({ place, why }) => h("li", {}, h("code", {}, place), ` ${why.replace(/^line \d+: /, "")}`))),
        h("p", {}, "Mend them, or tick “skip_bad_rows” in More settings to leave them out."))
      : null,
    h("div", { testid: T.dataFindings, class: "findings" }, ...report.findings.map(finding)),
    report.tasks.length
      ? fold(`Tasks (${report.tasks.length})`, T.dataTasks, table("Rows of each task", ["task", "train", "held out"], report.tasks.map((one) => [taskName(one), count(one.rows), count(one.held_out)])))
      : null,
    report.length ? fold("Lengths, shapes, languages", "data-more", lengths(report)) : null,
  );
}

function taskName(one: RowReport["tasks"][number]): HTMLElement {
  const all = one.rows + one.held_out;
  return h("span", {}, one.name, one.guessed ? h("small", {}, one.guessed === all ? `guessed, ${Math.round(100 * one.confidence)} % sure` : `${several(one.guessed, "row")} guessed`) : null);
}

function finding(one: Finding): HTMLElement {
  const details = fold("", "data-finding",
    h("p", {}, one.advice),
    h("ul", { class: "examples" }, ...one.examples.map((example) =>
      h("li", {}, h("code", {}, `${example.file}:${example.line}`), example.like ? h("span", { class: "quiet" }, ` like ${example.like.file}:${example.like.line}`) : null, h("q", { dir: "auto" }, example.snippet)))));
  details.dataset.code = one.code;
  details.dataset.severity = one.severity;
  details.className = `finding ${one.severity}`;
  fill(details.querySelector("summary")!, h("span", { class: "sign", "aria-hidden": "true" }, SIGNS[one.severity] ?? "i"), h("span", {}, h("span", { class: "unseen" }, `${one.severity}: `), capital(one.title)), h("span", { class: "number" }, count(one.count), h("small", {}, ` ${(100 * one.share).toFixed(1)} %`)));
  return details;
}

function lengths(report: RowReport): HTMLElement {
  const length = report.length!;
  const most = Math.max(1, ...length.histogram.map((bin) => bin.rows));
  const bars = length.histogram.map((bin) => {
    const bar = h("i", { title: `${bin.from} to ${bin.to}: ${several(bin.rows, "row")}` });
    bar.style.height = `${Math.max(bin.rows ? 3 : 0, (100 * bin.rows) / most)}%`;
    return bar;
  });
  const counts = (all: { name: string; rows: number }[]) => all.map((one) => `${one.name} ${count(one.rows)}`).join(", ");
  const overlap = report.overlap;
  const facts: [string, string][] = [
    ["Length", `half of the rows have at most ${several(length.median, length.unit.slice(0, -1), length.unit)}, nine in ten at most ${count(length.p90)}, the longest ${count(length.longest)}`],
    ["Shapes", counts(report.shapes)],
    ["Languages", counts(report.languages)],
    ...(overlap ? ([["Held-out rows in training", `${several(overlap.duplicates, "duplicate")}, ${several(overlap.near_duplicates, "near duplicate")}, ${several(overlap.overlapping_rows, "row")} of ${count(overlap.measured_rows)} share long word sequences`]] as [string, string][]) : []),
  ];
  return h("div", {},
    h("div", { class: "histogram", role: "img", "aria-label": `Rows by ${length.unit}: from ${length.histogram[0]?.from ?? 0} to ${length.longest}` }, ...bars),
    h("p", { class: "quiet row between" }, h("span", {}, `${length.histogram[0]?.from ?? 0} ${length.unit}`), h("span", {}, `${count(length.longest)} ${length.unit}`)),
    h("dl", {}, ...facts.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])));
}
