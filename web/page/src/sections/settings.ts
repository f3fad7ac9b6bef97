// The settings of the next run.

import type { Settings } from "../../../package/src/api";
import { changeSetting, resetSettings } from "../actions";
import { button, choice, field, fill, fold, h, tick } from "../dom";
import { type Field, MAIN, MORE } from "../fields";
import { set, state, watch } from "../store";
import { T } from "../testids";

export function settingsForm(): HTMLElement {
  const method = h("div", {});
  watch(
    ({ settings }) => [settings.method],
    () => {
      const focused = method.contains(document.activeElement);
      fill(
        method,
        choice(
          "What is trained",
          [
            { value: "lora", label: "An adapter (LoRA)", testid: "setting-method-lora" },
            { value: "full", label: "All weights", testid: "setting-method-full" },
          ],
          state.settings.method ?? "lora",
          (value) => changeSetting("method", value),
        ),
      );
      if (focused) method.querySelector<HTMLInputElement>("input:checked")?.focus();
    },
  );
  const name = h("input", {
    type: "text",
    testid: T.runName,
    maxlength: 60,
    autocomplete: "off",
    spellcheck: "false",
    on: { input: () => set({ runName: name.value.trim() }) },
  });
  watch(
    ({ runName }) => [runName],
    () => {
      if (name !== document.activeElement) name.value = state.runName;
    },
  );
  const measure = tick("Measure before and after", T.useSuites, state.measure, (on) => set({ measure: on }));
  watch(
    ({ measure: on }) => [on],
    () => (measure.querySelector("input")!.checked = state.measure),
  );
  const said = h("p", { class: "quiet" });
  watch(
    ({ settings }) => [settings.method],
    () => {
      said.textContent =
        state.settings.method === "full"
          ? "Every weight changes. It teaches most and takes most memory; for small models."
          : "The model stays as it is; a small adapter beside it learns. Less memory, and a small file to keep.";
    },
  );
  return h(
    "div",
    { testid: T.form },
    h("div", { class: "panel" }, method, said),
    h("div", { class: "grid four" }, ...MAIN.map(control)),
    h(
      "div",
      { class: "grid" },
      field("Name of the run", name),
      h(
        "div",
        { class: "field" },
        measure,
        h(
          "small",
          {},
          "Asks the suites of Evaluate before the first step and after the last. It takes time, and tells what the loss cannot.",
        ),
      ),
    ),
    fold(
      "More settings",
      T.settingsMore,
      ...MORE.map(group),
      button("Back to the defaults", T.settingsReset, resetSettings, "small"),
    ),
  );
}

function group({ title, fields }: (typeof MORE)[number]): HTMLElement {
  const set = h(
    "fieldset",
    { class: "group" },
    h("legend", {}, title),
    h("div", { class: "grid" }, ...fields.map(control)),
  );
  if (fields.every(({ only }) => only))
    watch(
      ({ settings }) => [settings.method],
      () => (set.hidden = fields[0]!.only !== (state.settings.method ?? "lora")),
    );
  return set;
}

function control(of: Field): HTMLElement {
  const testid = `setting-${of.key}`;
  const { key, kind, name = key, usual } = of;
  const help = `${of.help}${of.help ? " " : ""}Default: ${usual}.`;
  let root: HTMLElement;
  if (kind === "switch") {
    const box = tick(name, testid, false, (on) => changeSetting(key, on || undefined));
    watch(
      ({ settings }) => [settings[key]],
      () => (box.querySelector("input")!.checked = state.settings[key] === true),
    );
    root = h("div", { class: "field" }, box, h("small", {}, help));
  } else if (Array.isArray(kind)) {
    const list = h(
      "select",
      { testid, on: { change: () => changeSetting(key, list.value || undefined) } },
      h("option", { value: "" }, `default: ${shortened(usual)}`),
      ...kind.map((value) => h("option", { value }, value)),
    );
    watch(
      ({ settings }) => [settings[key]],
      () => (list.value = String(state.settings[key] ?? "")),
    );
    root = field(name, list, kind.includes(usual) ? of.help : help);
  } else {
    const box = h("input", {
      type: "text",
      testid,
      placeholder: shortened(usual),
      inputmode: kind === "number" ? "decimal" : "text",
      autocomplete: "off",
      spellcheck: "false",
    });
    const wrong = h("small", { class: "error", hidden: true }, "This is no number.");
    box.addEventListener("change", () => {
      const text = box.value.trim();
      const value = kind === "number" ? Number(text) : text;
      const bad = kind === "number" && text !== "" && !Number.isFinite(value);
      wrong.hidden = !bad;
      box.setAttribute("aria-invalid", String(bad));
      if (!bad) changeSetting(key, text === "" ? undefined : value);
    });
    watch(
      ({ settings }) => [settings[key]],
      () => {
        const value = state.settings[key];
        if (box !== document.activeElement) box.value = value === undefined ? "" : shown(value);
      },
    );
    root = field(name, box, help);
    root.append(wrong);
  }
  if (of.only)
    watch(
      ({ settings }) => [settings.method],
      () => (root.hidden = of.only !== (state.settings.method ?? "lora")),
    );
  return root;
}

const shortened = (usual: string) => {
  const first = usual.split(/[,:;]/)[0]!;
  return first.length > 20 ? "" : first;
};

function shown(value: Settings[keyof Settings]): string {
  if (typeof value === "number" && value !== 0 && Math.abs(value) < 1e-2) return value.toExponential();
  return Array.isArray(value) ? value.join(",") : String(value);
}
