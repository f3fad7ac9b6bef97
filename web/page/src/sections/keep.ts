// Section 5: what a run leaves.

import type { Dtype } from "../../../package/src/api";
import { TRAIN, HELD_OUT } from "../bundled";
import { Progress, announce, button, byId, download, field, fill, h, notice, slot } from "../dom";
import { keepAdapter, keepFolder, keepMerged, keepMetrics, keepReport } from "../evaluations";
import { toToml } from "../fields";
import { isBusy } from "../runs";
import { state, watch } from "../store";
import { T } from "../testids";
import { bytes } from "../words";
import { runPicker } from "./evaluate";

export function keepSection(): void {
  const section = byId("keep");
  const dtype = h("select", { testid: T.keepDtype }, ...["as the model’s", "f32", "f16", "bf16"].map((name, i) => h("option", { value: i ? name : "" }, name)));
  const run = () => state.picked;
  const adapter = button("Download", T.keepAdapter, () => void keepAdapter(run()));
  const merged = button("Download", T.keepMerged, () => void keepMerged(run(), (dtype.value || undefined) as Dtype | undefined));
  const folder = button("Download", T.keepFolder, () => void keepFolder(run()));
  const report = button("Download", T.keepReport, () => void keepReport(run()));
  const metrics = button("Download", T.keepMetrics, () => void keepMetrics(run()));
  const progress = new Progress(T.keepProgress, "Packing");
  const error = slot(T.keepError);
  const why = h("p", { class: "quiet" });
  const row = (name: string, what: string, control: HTMLButtonElement, more?: HTMLElement) => {
    control.setAttribute("aria-label", `Download: ${name}`);
    return h("li", {}, h("span", {}, h("b", {}, name), h("small", {}, what)), h("span", { class: "row" }, more, control));
  };
  const adapterRow = row("Adapter (.zip)", "A PEFT folder: transformers, PEFT and wgpu-sft load it.", adapter);
  dtype.setAttribute("aria-label", "Type of the weights");
  section.append(
    h("p", { class: "lead" }, "Downloads are made here, from this browser’s storage. Each is a file that other tools read."),
    h("div", { class: "grid" }, runPicker(T.keepRun, "Run")),
    why,
    h("ul", { class: "list" },
      adapterRow,
      row("Merged model (.zip)", "A Hugging Face folder: weights with what was learnt, tokenizer, template.", merged, dtype),
      row("Report (.html)", "One page with curves, settings and answers before and after.", report),
      row("Metrics (.jsonl)", "The log, a line per step and evaluation.", metrics),
      row("Whole run (.zip)", "With its checkpoints: wgpu-sft train --resume goes on in it.", folder)),
    progress.root,
    error,
    tomlView(),
    storageView(),
  );
  watch(({ runs, picked, live, keepBusy }) => [runs, picked, live?.phase, keepBusy], () => {
    const found = state.runs.find((one) => one.name === state.picked);
    const busy = isBusy(state.live?.phase);
    fill(why, busy ? "A run is training. Pause it to download what it has so far." : !found?.hasResult && "Nothing to keep yet: train first.");
    adapterRow.hidden = found?.method === "full";
    for (const one of [adapter, merged, folder, report, metrics]) one.disabled = !found?.hasResult || busy || Boolean(state.keepBusy);
    const { keepBusy } = state;
    if (keepBusy) progress.show(keepBusy.total > 1000 ? `${keepBusy.what}: ${bytes(keepBusy.done)} of ${bytes(keepBusy.total)}` : keepBusy.what, keepBusy.done, keepBusy.total);
    else progress.hide();
  });
  watch(({ keepError }) => [keepError], () => fill(error, state.keepError && notice("error", "This could not be made", h("p", {}, state.keepError.message))));
}

/** The settings of the picked run, or of the next one, for the command line. */
function toml(): string {
  const run = state.runs.find((one) => one.name === state.picked);
  const { model, rows, dataSource, measure } = state;
  const folder = dataSource === "bundled" ? "base/data/" : "";
  const names = (files: { name: string }[] | undefined, usual: string) => (files ?? []).map((file) => folder + file.name).concat(files ? [] : [folder + usual]);
  const heldOut = names(rows?.heldOut, HELD_OUT);
  return toToml(
    `wgpu-sft train --config train.toml${run ? `   (run ${run.name})` : ""}`,
    {
      model: model?.kind === "url" ? "base/model" : (model?.name ?? "MODEL"),
      data: names(rows?.train, TRAIN),
      ...(heldOut.length ? { "eval-data": heldOut } : {}),
      ...(measure && dataSource === "bundled" ? { "eval-suite": ["base/data/suites.toml"] } : {}),
      "output-dir": run?.name ?? state.runName,
    },
    run?.settings ?? state.settings,
  );
}

function tomlView(): HTMLElement {
  const text = h("textarea", { class: "code", rows: 14, testid: T.keepToml, readonly: true, spellcheck: "false" });
  const copy = button("Copy", T.keepTomlCopy, () => {
    navigator.clipboard.writeText(text.value).then(
      () => announce("Copied."),
      () => text.select(),
    );
    copy.textContent = "Copied";
    setTimeout(() => (copy.textContent = "Copy"), 2000);
  }, "small");
  const save = button("Download train.toml", T.keepTomlSave, () => download("train.toml", new Blob([text.value], { type: "application/toml" })), "small");
  watch(({ settings, runs, picked, model, rows, measure, runName }) => [settings, runs, picked, model, rows, measure, runName], () => (text.value = toml()));
  return h("div", {}, h("h3", {}, "The same on the command line"), field("train.toml", text, "Settings are the run’s; rows and suites those chosen in Data now, by their paths in the repository or the names of your files."), h("div", { class: "row" }, copy, save));
}

function storageView(): HTMLElement {
  const text = h("p", { class: "quiet", testid: T.storage });
  watch(({ storage }) => [storage], () => {
    const { storage } = state;
    fill(text, storage && `This page keeps ${bytes(storage.used)} in this browser; there is room for ${bytes(storage.free)} more. ${storage.persisted ? "The browser has promised not to clear it by itself." : "The browser may clear it when the disk runs full: download what matters."}`);
  });
  return text;
}
