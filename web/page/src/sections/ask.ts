// Any prompt, answered by both models.

import { button, field, fill, h, notice, slot, write } from "../dom";
import { ask, stopAsking } from "../evaluations";
import { isBusy } from "../runs";
import { state, watch } from "../store";
import { T } from "../testids";

export function askView(): HTMLElement {
  const prompt = h("textarea", { rows: 2, testid: T.askPrompt });
  prompt.value = "What does Foto like to eat?";
  const temperature = h("input", { type: "number", min: 0, max: 2, step: 0.1, testid: T.askTemperature, inputmode: "decimal" });
  temperature.value = "0";
  const tokens = h("input", { type: "number", min: 1, max: 4096, step: 1, testid: T.askTokens, inputmode: "numeric" });
  tokens.value = "32";
  const go = h("button", { type: "submit", class: "primary", testid: T.ask }, "Ask both");
  const stop = button("Stop", T.askStop, () => void stopAsking());
  const why = h("p", { class: "quiet" });
  const error = slot(T.askError);
  const base = h("p", { class: "text", testid: T.askBase, dir: "auto" });
  const tuned = h("p", { class: "text", testid: T.askTuned, dir: "auto" });
  const tunedName = h("small", {});
  const answers = h("div", { class: "answers card", "aria-live": "off", hidden: true }, h("div", {}, h("small", {}, "base"), base), h("div", {}, tunedName, tuned));
  const submit = (event: Event) => {
    event.preventDefault();
    if (!go.disabled) void ask(prompt.value, Number(temperature.value) || 0, Math.max(1, Math.round(Number(tokens.value) || 32)));
  };
  prompt.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) submit(event);
  });
  watch(({ answers: found }) => [found], () => {
    const found = state.answers;
    answers.hidden = !found;
    if (!found) return;
    const waiting = (text: string, mine: "base" | "tuned") => text.trim() || (found.at === "done" ? "(nothing)" : found.at === mine ? "…" : "");
    write(base, waiting(found.base, "base"));
    write(tuned, state.picked ? waiting(found.tuned, "tuned") : "No run has a result yet.");
    write(tunedName, state.picked ? `tuned: ${state.picked}` : "tuned");
  });
  watch(({ asking, device, model, live }) => [asking, device.state, model, live?.phase], () => {
    const { asking, device, model, live } = state;
    const missing = device.state !== "ready" ? "Answering needs the GPU." : !model ? "Open a model first." : isBusy(live?.phase) ? "The GPU is training. Pause, and ask what it has learnt so far." : "";
    go.disabled = asking || Boolean(missing);
    stop.hidden = !asking;
    fill(why, !asking && missing);
  });
  watch(({ askError }) => [askError], () => fill(error, state.askError && notice("error", "No answer", h("p", {}, state.askError.message))));
  return h("div", {}, h("h3", {}, "Ask both yourself"),
    h("form", { on: { submit } }, field("Prompt", prompt, "Ctrl and Enter asks."), h("div", { class: "grid" }, field("Temperature", temperature, "0 takes the likeliest token, always."), field("Tokens at most", tokens)), h("div", { class: "row" }, go, stop)),
    why, error, answers);
}
