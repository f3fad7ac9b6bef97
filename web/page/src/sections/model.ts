// Section 1: which model, what it is, and whether it fits.

import type { ModelInput, PlacedFile } from "../../../package/src/api";
import { cancelOpening, forgetModel, keepModel, openModel } from "../actions";
import { bundledModel } from "../bundled";
import { Progress, button, byId, choice, field, fill, fold, h, notice, once, slot } from "../dom";
import { droppedFiles } from "../rowfiles";
import { set, state, watch } from "../store";
import { T } from "../testids";
import { bytes, count, millions, moment } from "../words";
import { planView } from "./plan";

export function modelSection(): void {
  const section = byId("model");
  const picker = h("div", { class: "panel" });
  const progress = new Progress(T.modelProgress, "Opening the model", cancelOpening);
  const error = slot(T.modelError);
  const info = h("div", { testid: T.modelInfo });
  section.append(
    h("p", { class: "lead" }, "What is tuned. The bundled model is small, made for this page, and open at once; take your own when you have seen it work."),
    choice(
      "Take",
      [
        { value: "bundled", label: "Bundled", testid: `${T.modelSource}-bundled` },
        { value: "files", label: "My files", testid: `${T.modelSource}-files` },
        { value: "hub", label: "Hub", testid: `${T.modelSource}-hub` },
        { value: "stored", label: "Kept here", testid: `${T.modelSource}-stored` },
      ],
      state.modelSource,
      (value) => {
        set({ modelSource: value as typeof state.modelSource });
        if (value === "bundled") void openModel(bundledModel);
      },
    ),
    picker,
    progress.root,
    error,
    info,
    planView(),
  );

  // Each is made once: what was typed stays.
  const views: Partial<Record<typeof state.modelSource, () => HTMLElement>> = { files: once(filesView), hub: once(hubView), stored: once(storedView) };
  watch(({ modelSource }) => [modelSource], () => {
    fill(picker, views[state.modelSource]?.());
    picker.hidden = state.modelSource === "bundled";
  });
  watch(({ modelBusy, keeping }) => [modelBusy, keeping], () => {
    const busy = state.modelBusy;
    progress.cancellable(!state.keeping);
    if (!busy) return progress.hide();
    const words = busy.total > 1000 ? `${busy.what}: ${bytes(busy.done)} of ${bytes(busy.total)}` : busy.what;
    progress.show(words, busy.done, busy.total);
  });
  watch(({ modelError }) => [modelError], () => {
    const wrong = state.modelError;
    fill(error, wrong && notice("error", "The model cannot be used", h("p", {}, wrong.message), advice(wrong.name), state.model && h("p", {}, `${state.model.kind === "url" ? "The bundled model" : state.model.name} is still open.`)));
  });
  watch(({ model, models, device }) => [model, models, device.state], () => fill(info, infoView()));
}

function advice(name: string): HTMLElement | null {
  const words: Record<string, string> = {
    Network: "Is the network there, and is the id spelled as on the Hub? Models behind a sign-in cannot be read from here: download them and choose the folder.",
    Storage: "Delete kept models or runs, or free space on the disk.",
    Weights: "A download may have broken off: compare the files’ sizes with those of their source.",
    TooLarge: "Take a smaller model, or one whose weights are stored in fewer bits.",
  };
  return words[name] ? h("p", {}, words[name]) : null;
}

const take = (files: (File | PlacedFile)[]) => {
  if (files.length) void openModel({ kind: "files", files });
};

function filesView(): HTMLElement {
  const folder = h("input", { type: "file", testid: T.modelFolder, multiple: true, on: { change: () => take([...(folder.files ?? [])]) } });
  folder.webkitdirectory = true;
  const files = h("input", { type: "file", testid: T.modelFiles, multiple: true, accept: ".gguf,.safetensors,.json,.jinja,.txt", on: { change: () => take([...(files.files ?? [])]) } });
  return dropZone(
    T.modelDrop,
    "Drop a folder or a .gguf file here",
    (dropped) => take(dropped),
    h("div", { class: "grid" }, field("A Hugging Face folder", folder, "config.json, tokenizer.json, tokenizer_config.json, *.safetensors"), field("Or files", files, "One .gguf, or the files of such a folder")),
  );
}

type Dropped = Awaited<ReturnType<typeof droppedFiles>>;

/** A place to drop files on, with buttons for those who cannot. */
export function dropZone(testid: string, words: string, onFiles: (files: Dropped) => void, ...inside: HTMLElement[]): HTMLElement {
  const zone = h("div", { class: "drop", testid }, h("p", { class: "quiet" }, words), ...inside);
  zone.addEventListener("dragover", (event) => {
    event.preventDefault();
    zone.classList.add("over");
  });
  zone.addEventListener("dragleave", () => zone.classList.remove("over"));
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    if (event.dataTransfer) void droppedFiles(event.dataTransfer).then(onFiles);
  });
  return zone;
}

function hubView(): HTMLElement {
  const id = h("input", { type: "text", testid: T.modelHubId, placeholder: "HuggingFaceTB/SmolLM2-135M", autocomplete: "off", spellcheck: "false", autocapitalize: "off" });
  const file = h("input", { type: "text", testid: T.modelHubFile, placeholder: "model.Q8_0.gguf", autocomplete: "off", spellcheck: "false" });
  const revision = h("input", { type: "text", testid: T.modelHubRevision, placeholder: "main", autocomplete: "off", spellcheck: "false" });
  const open = (event: Event) => {
    event.preventDefault();
    const input: ModelInput = { kind: "hub", id: id.value.trim() };
    if (file.value.trim()) input.file = file.value.trim();
    if (revision.value.trim()) input.revision = revision.value.trim();
    if (input.id) void openModel(input);
    else id.focus();
  };
  return h(
    "form",
    { on: { submit: open } },
    h("div", { class: "grid" }, field("Id on the Hugging Face Hub", id, "Owner/name. Only the headers are read now; the weights come when training begins or the model is kept."), h("div", { class: "field" }, h("span", { class: "label-space" }), h("button", { type: "submit", class: "primary", testid: T.modelHubOpen }, "Look at it"))),
    h("p", { class: "quiet" }, "This is the one thing here that asks another site: huggingface.co learns this id and your address, nothing else."),
    fold("One file, or another revision", "model-hub-more", h("div", { class: "grid" }, field("File (.gguf)", file), field("Revision", revision))),
  );
}

function storedView(): HTMLElement {
  const list = h("div", { testid: T.modelStored });
  watch(({ models }) => [models], () => {
    if (!state.models.length) return fill(list, h("p", { class: "quiet" }, "No model is kept in this browser yet. Open one, then press “Keep in this browser”."));
    const row = ({ name, bytes: size, kept }: (typeof state.models)[number]) =>
      h("li", {}, h("span", {}, h("b", {}, name), h("small", {}, `${bytes(size)}, kept ${moment(kept)}`)), h("span", { class: "row" },
        button("Open", "model-stored-open", () => void openModel({ kind: "stored", name }), "small"),
        button("Delete", "model-stored-forget", () => void forgetModel(name), "small")));
    fill(list, h("ul", { class: "list" }, ...state.models.map(row)));
  });
  return list;
}

function infoView(): HTMLElement | null {
  const { model, models } = state;
  if (!model) return null;
  const facts: [string, string][] = [
    ["Parameters", millions(model.parameters)],
    ["Layers × width", `${model.layers} × ${model.hidden_size}`],
    ["Context", `${count(model.context)} tokens`],
    ["Vocabulary", count(model.vocab_size)],
    ["Stored as", model.dtype],
    ["Files", bytes(model.file_bytes)],
    ["Chat template", model.template ? "yes" : "no"],
  ];
  const kept = models.some(({ name }) => name === model.name);
  const canKeep = model.kind === "hub" || model.kind === "files";
  return h(
    "div",
    { class: "card" },
    h("div", { class: "row between" },
      h("h3", { testid: T.modelName }, model.kind === "url" ? "The bundled base model" : model.name, " ", h("span", { class: "badge" }, model.model_type)),
      canKeep && !kept ? button(model.kind === "hub" ? "Download and keep in this browser" : "Keep in this browser", T.modelKeep, () => void keepModel(), "small") : kept ? h("span", { class: "badge" }, "kept here") : null),
    model.kind === "url" && h("p", { class: "quiet" }, "It has read sentences about a made-up world and continues them; it has never seen a question. Tuning teaches it to answer."),
    !model.tokenizer && notice("warning", "This model has no tokenizer, so it cannot be tuned on text", h("p", {}, "Choose its tokenizer.json and tokenizer_config.json together with the weights.")),
    model.tokenizer && !model.template && notice("info", "This model has no chat template", h("p", {}, "Instructions are written as Stanford’s Alpaca text; rows with conversations need a model with a template.")),
    h("dl", { class: "facts" }, ...facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
  );
}
