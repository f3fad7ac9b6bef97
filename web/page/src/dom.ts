// Elements, made by code: text is always text, never markup.

export type Child = Node | string | number | null | undefined | false;

interface Props {
  class?: string | undefined;
  testid?: string | undefined;
  on?: { [K in keyof HTMLElementEventMap]?: (event: HTMLElementEventMap[K]) => void };
  [attribute: string]: unknown;
}

// These are properties of elements, not only attributes.
const PROPERTIES = new Set(["value", "checked", "disabled", "hidden", "open", "multiple", "indeterminate", "readOnly", "max"]);

/** An element with attributes, listeners and children. */
export function h<K extends keyof HTMLElementTagNameMap>(tag: K, props: Props = {}, ...children: Child[]): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null) continue;
    if (name === "class") element.className = String(value);
    else if (name === "testid") element.dataset.testid = String(value);
    else if (name === "on") {
      for (const [event, listener] of Object.entries(value as object)) element.addEventListener(event, listener as EventListener);
    } else if (PROPERTIES.has(name)) (element as unknown as Record<string, unknown>)[name] = value;
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false) element.setAttribute(name, String(value));
  }
  append(element, children);
  return element;
}

function append(parent: Element, children: Child[]): void {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    parent.append(child instanceof Node ? child : String(child));
  }
}

/** Puts children in the place of what an element holds. */
export function fill(parent: Element, ...children: Child[]): void {
  parent.replaceChildren();
  append(parent, children);
}

/** Sets a text if it differs, so that nothing is laid out for nothing. */
export function write(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** The element with this id, which index.html has. */
export function byId(id: string): HTMLElement {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found;
}

export function button(text: string, testid: string, onClick: () => void, kind = ""): HTMLButtonElement {
  return h("button", { type: "button", class: kind, testid, on: { click: onClick } }, text);
}

export type Tone = "info" | "good" | "warning" | "error";
const SAID: Record<Tone, string> = { info: "Note", good: "Done", warning: "Mind", error: "Error" };

/** A message where it belongs. Errors are read out at once. */
export function notice(tone: Tone, title: string, ...body: Child[]): HTMLElement {
  const role = tone === "error" ? "alert" : "status";
  return h("div", { class: `notice ${tone}`, role }, h("p", { class: "title" }, h("span", { class: "unseen" }, `${SAID[tone]}: `), title), ...body);
}

/** A message in a place of its own, there only while there is one. */
export function slot(testid: string): HTMLElement {
  return h("div", { class: "slot", testid });
}

/** A fold that opens. */
export function fold(title: string, testid: string, ...children: Child[]): HTMLDetailsElement {
  return h("details", { testid }, h("summary", {}, title), ...children);
}

let ids = 0;

/** A control below its label, with a line of help. */
export function field(label: string, control: HTMLElement, help?: string): HTMLElement {
  const id = control.id || `f${++ids}`;
  control.id = id;
  const hint = help ? h("small", { id: `${id}-help` }, help) : null;
  if (hint) control.setAttribute("aria-describedby", hint.id);
  return h("div", { class: "field" }, h("label", { for: id }, label), control, hint);
}

/** A tick box with its label. */
export function tick(label: string, testid: string, checked: boolean, onChange: (on: boolean) => void): HTMLLabelElement {
  const box = h("input", { type: "checkbox", testid, checked, on: { change: () => onChange(box.checked) } });
  return h("label", { class: "tick" }, box, label);
}
/** Makes an element when it is first wanted, and keeps it. */
export function once(make: () => HTMLElement): () => HTMLElement {
  let made: HTMLElement | undefined;
  return () => (made ??= make());
}

export interface Choice {
  value: string;
  label: string;
  testid: string;
}

/** One of several, as radio buttons that look like tabs. */
export function choice(legend: string, options: Choice[], picked: string, onPick: (value: string) => void): HTMLFieldSetElement {
  const name = `c${++ids}`;
  const radios = options.map(({ value, label, testid }) => {
    const radio = h("input", { type: "radio", name, value, testid, checked: value === picked, on: { change: () => onPick(value) } });
    return h("label", {}, radio, h("span", {}, label));
  });
  return h("fieldset", { class: "choice" }, h("legend", {}, legend), h("div", {}, ...radios));
}

/** A table; the first cell of a row is its heading. */
export function table(caption: string, heads: string[], rows: Child[][], testid?: string): HTMLElement {
  const row = (cells: Child[]) => h("tr", {}, ...cells.map((cell, i) => (i ? h("td", {}, cell) : h("th", { scope: "row" }, cell))));
  const head = h("thead", {}, h("tr", {}, ...heads.map((text) => h("th", { scope: "col" }, text))));
  const body = h("tbody", {}, ...rows.map(row));
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption }, h("table", { testid }, h("caption", {}, caption), head, body));
}

/** A bar that fills, with words and a way out. */
export class Progress {
  readonly root: HTMLElement;
  private readonly bar: HTMLProgressElement;
  private readonly words: HTMLElement;
  private readonly out: HTMLButtonElement;

  constructor(testid: string, label: string, onCancel?: () => void) {
    this.bar = h("progress", { "aria-label": label, max: 1 });
    this.words = h("span", { class: "quiet" });
    this.out = button("Cancel", `${testid}-cancel`, () => onCancel?.(), "small");
    this.out.hidden = !onCancel;
    this.root = h("div", { class: "progress", testid, hidden: true }, this.bar, h("div", { class: "row" }, this.words, this.out));
  }

  /** Without a total the bar only shows that something goes on. */
  show(words: string, done?: number, total?: number): void {
    this.root.hidden = false;
    write(this.words, words);
    if (done !== undefined && total) this.bar.value = done / total;
    else this.bar.removeAttribute("value");
  }

  /** Whether there is a way out now. */
  cancellable(can: boolean): void {
    this.out.hidden = !can;
  }

  hide(): void {
    this.root.hidden = true;
  }
}

/** Tells a screen reader, politely. */
export function announce(text: string): void {
  write(byId("announcer"), text);
}

/** Hands a file to the person. */
export function download(name: string, blob: Blob): void {
  const url = URL.createObjectURL(blob);
  const link = h("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
