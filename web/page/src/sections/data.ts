// Section 2: rows to learn from, rows held out.

import { cancelReading, given, readRows } from "../actions";
import { button, byId, choice, field, fill, h, notice, once, slot, write, Progress } from "../dom";
import { set, state, watch } from "../store";
import { T } from "../testids";
import { dropZone } from "./model";
import { previewView } from "./preview";
import { reportView } from "./report";

const ACCEPT = ".jsonl,.ndjson,.json,.csv,.gz";

export function dataSection(): void {
  const section = byId("data");
  const picker = h("div", { class: "panel" });
  const heldOut = h("div", {});
  const progress = new Progress(T.dataProgress, "Reading rows", cancelReading);
  const error = slot(T.dataError);
  section.append(
    h("p", { class: "lead" }, "What is taught: instructions and answers. JSONL, JSON or CSV, plain or gzip, in any of the usual shapes (Alpaca, messages, ShareGPT, prompt and completion, text). Files never leave this machine."),
    choice(
      "Take",
      [
        { value: "bundled", label: "Bundled", testid: `${T.dataSource}-bundled` },
        { value: "files", label: "My files", testid: `${T.dataSource}-files` },
        { value: "paste", label: "Paste", testid: `${T.dataSource}-paste` },
        { value: "write", label: "Write", testid: `${T.dataSource}-write` },
      ],
      state.dataSource,
      (value) => {
        const dataSource = value as typeof state.dataSource;
        const own = dataSource === "bundled" || given.heldOut.length > 0;
        set({ dataSource, heldOutSource: own ? "own" : "share", measure: dataSource === "bundled", evalSource: dataSource === "bundled" ? "bundled" : "made" });
        void readRows();
      },
    ),
    picker,
    heldOut,
    progress.root,
    error,
    reportView(),
    previewView(),
  );
  // Each is made once: what was typed stays.
  const views = { bundled: once(bundledView), files: once(filesView), paste: once(pasteView), write: once(writeView) };
  watch(({ dataSource }) => [dataSource], () => fill(picker, views[state.dataSource]()));
  watch(({ dataSource, heldOutSource }) => [dataSource, heldOutSource], () => fill(heldOut, heldOutView()));
  watch(({ dataBusy }) => [dataBusy], () => (state.dataBusy ? progress.show(state.dataBusy) : progress.hide()));
  watch(({ dataError }) => [dataError], () => {
    const wrong = state.dataError;
    fill(error, wrong && notice("error", "These rows cannot be read", h("p", {}, wrong.message)));
  });
}

function bundledView(): HTMLElement {
  return h("p", {}, "1,145 short questions and answers about a made-up world: facts, translation, sums, sentiment, stories. 282 others are held out; the facts they ask for are in no training row, only in what the base model has read.");
}

function filesView(): HTMLElement {
  const names = h("p", { class: "quiet" });
  const take = (files: File[]) => {
    given.files = files;
    write(names, files.length ? `Chosen: ${files.map((file) => file.name).join(", ")}` : "");
    void readRows();
  };
  const input = h("input", { type: "file", multiple: true, accept: ACCEPT, testid: T.dataFiles, on: { change: () => take([...(input.files ?? [])]) } });
  return dropZone(T.dataDrop, "Drop files of rows here", (dropped) => take(dropped.map(({ file }) => file)), field("Or choose them", input, "Several files are taken together."), names);
}

function pasteView(): HTMLElement {
  const text = h("textarea", { rows: 7, testid: T.dataPaste, spellcheck: "false", class: "code", placeholder: '{"instruction": "Name a colour.", "output": "Blue."}\n{"instruction": "Name another.", "output": "Green."}' });
  text.value = given.text;
  text.addEventListener("input", () => (given.text = text.value));
  return h("div", {}, field("Rows", text, "JSON lines, a JSON array, or CSV with a line of column names."), button("Use these rows", T.dataPasteUse, () => void readRows(), "primary"));
}

function writeView(): HTMLElement {
  const body = h("tbody", {});
  const add = () => {
    const row = { instruction: "", answer: "" };
    given.hand.push(row);
    const line = lineOf(row);
    body.append(line);
    line.querySelector("textarea")?.focus();
  };
  const lineOf = (row: (typeof given.hand)[number]): HTMLTableRowElement => {
    const cell = (key: "instruction" | "answer", label: string) => {
      const box = h("textarea", { rows: 2, "aria-label": label, testid: `data-row-${key}` });
      box.value = row[key];
      box.addEventListener("input", () => (row[key] = box.value));
      return h("td", { "data-name": label }, box);
    };
    const remove = button("✕", "data-row-remove", () => {
      given.hand.splice(given.hand.indexOf(row), 1);
      const next = (line.nextElementSibling ?? line.previousElementSibling)?.querySelector("textarea");
      line.remove();
      next?.focus();
    }, "small");
    remove.setAttribute("aria-label", "Remove this row");
    const line = h("tr", {}, cell("instruction", "Instruction"), cell("answer", "Answer"), h("td", {}, remove));
    return line;
  };
  body.append(...given.hand.map(lineOf));
  return h(
    "div",
    {},
    h("table", { class: "hand", testid: T.dataRows }, h("caption", { class: "unseen" }, "Rows by hand"), h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Instruction"), h("th", { scope: "col" }, "Answer"), h("th", {}, h("span", { class: "unseen" }, "Remove")))), body),
    h("div", { class: "row" }, button("Add a row", T.dataRowAdd, add), button("Use these rows", T.dataRowsUse, () => void readRows(), "primary")),
    h("p", { class: "quiet" }, "A few dozen rows change how a model answers; what it knows changes little."),
  );
}

function heldOutView(): HTMLElement {
  const { dataSource, heldOutSource } = state;
  const detail = h("div", { class: "detail" });
  if (heldOutSource === "own" && dataSource !== "bundled") {
    const input = h("input", { type: "file", multiple: true, accept: ACCEPT, testid: T.heldOutFiles, on: { change: () => {
      given.heldOut = [...(input.files ?? [])];
      void readRows();
    } } });
    fill(detail, field("Files of held-out rows", input, given.heldOut.map((file) => file.name).join(", ") || "Rows that training must not see."));
  } else if (heldOutSource === "share") {
    const percent = h("input", { type: "number", min: 1, max: 50, step: 1, testid: T.heldOutShare, inputmode: "numeric", on: { change: () => {
      set({ heldOutPercent: Math.min(50, Math.max(1, Math.round(Number(percent.value) || 10))) });
      percent.value = String(state.heldOutPercent);
      void readRows();
    } } });
    percent.value = String(state.heldOutPercent);
    fill(detail, field("Per cent", percent, "Taken evenly from first row to last. Rows that say nearly the same can end up on both sides; the check below tells."));
  }
  return h(
    "div",
    { class: "panel" },
    choice(
      "Held out, to measure on",
      [
        { value: "own", label: dataSource === "bundled" ? "Bundled" : "A file", testid: `${T.heldOut}-own` },
        { value: "share", label: "A share", testid: `${T.heldOut}-share` },
        { value: "none", label: "None", testid: `${T.heldOut}-none` },
      ],
      heldOutSource,
      (value) => {
        set({ heldOutSource: value as typeof heldOutSource });
        void readRows();
      },
    ),
    detail,
  );
}
