// Section 6: every kernel against its reference, on this GPU, in this browser.

import type { CheckCase } from "../../../package/src/api";
import { Progress, announce, button, byId, field, fill, h, notice, slot, tick } from "../dom";
import { check, stopChecking } from "../evaluations";
import { isBusy } from "../runs";
import { state, watch } from "../store";
import { T } from "../testids";
import { several } from "../words";

const error = (x: number) => (Number.isFinite(x) ? x.toExponential(1) : "none");

export function checkSection(): void {
  const section = byId("check");
  let failuresOnly = false;
  const filter = h("input", { type: "text", testid: T.checkFilter, placeholder: "all kernels", autocomplete: "off", spellcheck: "false" });
  const go = h("button", { type: "submit", class: "primary", testid: T.checkStart }, "Run the cases");
  const only = tick("Only failures", T.checkFailures, false, (on) => {
    failuresOnly = on;
    drawAll();
  });
  const progress = new Progress(T.checkProgress, "Cases", stopChecking);
  const wrong = slot(T.checkError);
  const summary = h("p", { testid: T.checkSummary, class: "summary" });
  const body = h("tbody", {});
  const caption = h("caption", {}, "Cases");
  const box = h("div", { class: "scroll tall", tabindex: 0, role: "region", "aria-label": "Cases", hidden: true },
    h("table", { testid: T.checkTable }, caption, h("thead", {}, h("tr", {}, ...["case", "error", "allowed", ""].map((text) => h("th", { scope: "col" }, text)))), body));
  const copy = button("Copy for a bug report", T.checkCopy, () => {
    navigator.clipboard.writeText(bugReport()).then(() => {
      copy.textContent = "Copied";
      announce("Copied.");
      setTimeout(() => (copy.textContent = "Copy for a bug report"), 2000);
    }, () => fill(wrong, notice("error", "The clipboard is closed to this page", h("textarea", { class: "code", rows: 8, readonly: true, "aria-label": "Bug report" }, bugReport()))));
  }, "small");
  section.append(
    h("p", { class: "lead" }, "Drivers and browsers have faults. This runs every kernel on awkward sizes and compares it with a plain reference computed beside it: if all pass, what is trained here can be trusted. On a software adapter it takes some minutes."),
    h("form", { class: "grid", on: { submit: (event) => {
      event.preventDefault();
      void check(filter.value.trim());
    } } }, field("Kernels whose name contains", filter), h("div", { class: "field" }, h("span", { class: "label-space" }), h("div", { class: "row" }, go, only))),
    progress.root,
    wrong,
    h("div", { class: "row between" }, summary, copy),
    box,
  );

  let drawn = 0;
  const add = (one: CheckCase) => {
    if (failuresOnly && one.passed) return;
    body.append(h("tr", { testid: "check-row", "data-passed": one.passed, class: one.passed ? "" : "failed" },
      h("th", { scope: "row" }, one.name, h("small", {}, one.family)), h("td", {}, error(one.max_error)), h("td", {}, error(one.tolerance)), h("td", {}, one.passed ? h("span", { class: "good" }, "✓ ok") : h("span", { class: "error" }, "✗ failed"))));
  };
  const drawAll = () => {
    body.replaceChildren();
    drawn = 0;
    drawMore();
  };
  // A fresh run has a fresh list; within one only what is new is drawn.
  let list = state.cases;
  const drawMore = () => {
    if (list !== state.cases) {
      list = state.cases;
      drawn = 0;
      body.replaceChildren();
    }
    for (; drawn < list.length; drawn++) add(list[drawn]!);
    box.hidden = !list.length;
  };
  watch(({ cases, caseCount }) => [cases, caseCount], drawMore);
  watch(({ caseCount, checking, checkDone, cases, device, live }) => [caseCount, checking, checkDone, cases, device.state, live?.phase], () => {
    const { cases, checking, checkDone, device, live } = state;
    const failed = cases.filter((one) => !one.passed).length;
    const passed = cases.length - failed;
    Object.assign(summary.dataset, { passed, failed, done: checkDone });
    copy.hidden = !cases.length;
    const busy = isBusy(live?.phase);
    go.disabled = checking || busy || device.state === "none" || device.state === "failed" || device.state === "lost";
    if (checking) progress.show(`${several(cases.length, "case")} so far${failed ? `, ${failed} failed` : ""}`);
    else progress.hide();
    const verdict = failed ? h("span", { class: "verdict error" }, `✗ ${failed} of ${several(cases.length, "case")} failed`) : h("span", { class: "verdict good" }, `✓ All ${several(cases.length, "case")} passed`);
    fill(summary, !cases.length ? (busy ? h("span", { class: "quiet" }, "The GPU is training.") : null) : checkDone ? verdict : h("span", { class: "quiet" }, checking ? "" : `Ended early: ${passed} passed, ${failed} failed`));
  });
  watch(({ checkError }) => [checkError], () => fill(wrong, state.checkError && notice("error", "The cases could not be run", h("p", {}, state.checkError.message))));
}

/** Plain text that says what matters. */
function bugReport(): string {
  const { device, cases } = state;
  const failed = cases.filter((one) => !one.passed);
  const line = (one: CheckCase) => `  ${one.name} [${one.family}]: error ${error(one.max_error)}, allowed ${error(one.tolerance)}`;
  return [
    "wgpu-sft, kernels in a browser tab",
    `adapter: ${device.info?.name || "unknown"}${device.info?.isSoftware ? " (software)" : ""}`,
    `kernels: ${device.info?.kernels ?? "unknown"}; features: ${device.info?.features.join(", ") || "none"}`,
    `limits: binding ${device.info?.maxBinding ?? "?"}, buffer ${device.info?.maxBuffer ?? "?"}`,
    `browser: ${navigator.userAgent}`,
    `cases: ${cases.length}, failed: ${failed.length}${state.checkDone ? "" : " (not finished)"}`,
    ...failed.map(line),
    "",
  ].join("\n");
}
