// The runs that this browser keeps.

import type { RunSummary } from "../../../package/src/api";
import { button, field, fill, fold, h, notice, slot } from "../dom";
import { importRun, isBusy, remove, resume, show } from "../runs";
import { state, watch } from "../store";
import { T } from "../testids";
import { bytes, count, loss, moment, whatWentWrong } from "../words";

const WORDS: Record<RunSummary["state"], string> = {
  running: "running",
  paused: "paused",
  stopped: "stopped",
  finished: "finished",
  failed: "failed",
  interrupted: "interrupted",
};

export function runList(): HTMLElement {
  const list = h("div", { testid: T.runs });
  const error = slot(T.runsError);
  const folder = h("input", { type: "file", multiple: true, testid: T.runImport, on: { change: () => take(folder) } });
  folder.webkitdirectory = true;
  const zip = h("input", { type: "file", accept: ".zip", testid: T.runImportZip, on: { change: () => take(zip) } });
  const take = (input: HTMLInputElement) => {
    if (input.files?.length) void importRun([...input.files]);
    input.value = "";
  };
  watch(({ runs, live }) => [runs, live?.phase, live?.name], () => fill(list, drawn()));
  watch(({ runsError }) => [runsError], () => fill(error, state.runsError && notice("error", "This did not work", h("p", {}, state.runsError.message))));
  return h("div", { class: "runs" }, h("h3", {}, "Runs in this browser"), list, error,
    fold("Bring a run from the command line", "run-import-more", h("p", { class: "quiet" }, "Its folder (--output-dir), or the .zip of one. A checkpoint of the command line goes on here, and one of here goes on there."), h("div", { class: "grid" }, field("A run’s folder", folder), field("Or its .zip", zip))));
}

function drawn(): HTMLElement {
  if (!state.runs.length) return h("p", { class: "quiet" }, "None yet. They stay here when the tab is closed, until you delete them or clear this site’s data.");
  return h("ul", { class: "list" }, ...state.runs.map(row));
}

function row(run: RunSummary): HTMLElement {
  const busy = isBusy(state.live?.phase);
  const mine = state.live?.name === run.name && (busy || state.live.phase === "paused");
  const facts = [run.model, run.method === "full" ? "all weights" : "LoRA", run.total ? `step ${count(run.step)} of ${count(run.total)}` : `step ${count(run.step)}`, run.loss !== undefined ? `loss ${loss(run.loss)}` : "", moment(run.started), bytes(run.bytes)];
  const actions = h("span", { class: "row" });
  const usual = () => {
    const open = button("Open", T.runOpen, () => void show(run.name), "small");
    const goOn = button("Resume", T.runResume, () => void resume(run.name), "small");
    const ask = button("Delete", T.runDelete, sure, "small");
    for (const [one, what] of [[open, "Open"], [goOn, "Resume"], [ask, "Delete"]] as const) one.setAttribute("aria-label", `${what} ${run.name}`);
    open.hidden = mine || state.live?.name === run.name;
    goOn.hidden = mine || run.state === "finished" || run.state === "running";
    open.disabled = goOn.disabled = busy || state.live?.phase === "paused";
    ask.hidden = mine || run.state === "running";
    fill(actions, open, goOn, ask);
  };
  const sure = () => {
    const yes = button("Delete it for good", T.runDeleteSure, () => void remove(run.name), "small danger");
    fill(actions, yes, button("Keep it", "run-delete-not", usual, "small"));
    yes.focus();
  };
  usual();
  return h("li", { testid: "run-row", "data-run": run.name, "data-state": run.state },
    h("span", {}, h("b", {}, run.name), " ", h("span", { class: `badge ${run.state}` }, WORDS[run.state]), h("small", {}, facts.filter(Boolean).join(" · ")), run.error && h("small", { class: "error" }, whatWentWrong(run.error).message)),
    actions);
}
