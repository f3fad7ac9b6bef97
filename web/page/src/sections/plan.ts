// What training takes of the GPU's memory, before any of it is taken.

import { fill, h, notice } from "../dom";
import { state, watch } from "../store";
import { T } from "../testids";
import { bytes, count, inOurWords, sentence } from "../words";

export function planView(): HTMLElement {
  const root = h("div", {});
  watch(
    ({ plan, planError, device, model }) => [plan, planError, device.state, model],
    () => {
      const { plan, planError, model, device } = state;
      if (planError) {
        const box = notice("error", "This does not fit, or cannot be planned", h("p", {}, planError.message));
        box.dataset.testid = T.planError;
        return fill(root, box);
      }
      if (!model) return fill(root);
      if (!plan) return fill(root, device.state === "ready" ? h("p", { class: "quiet" }, "Planning memory …") : null);
      fill(root, drawn());
    },
  );
  return root;
}

const VERDICTS = {
  true: ["good", "✓ fits this adapter"],
  maybe: ["warning", "? may be too large"],
  false: ["error", "✗ does not fit"],
} as const;

/** Bytes that a plan may take without a word of caution: half of what the browser says the machine has, or of 4 GiB. */
function likelyFree(): number {
  const told = (navigator as { deviceMemory?: number }).deviceMemory;
  return ((told ?? 4) * 2 ** 30) / 2;
}

function drawn(): HTMLElement {
  const plan = state.plan!;
  const parts: [string, number, string][] = [
    ["Weights", plan.weights, `stored as ${plan.dtype}`],
    ["Adapter", plan.adapter, ""],
    ["Gradients", plan.gradients, ""],
    ["Optimizer", plan.optimizer, "AdamW’s two moments"],
    [
      "Activations",
      plan.activations,
      `${count(plan.micro_batch_tokens)} tokens at once${plan.recompute ? ", computed twice" : ""}`,
    ],
  ];
  const rest = plan.total - parts.reduce((sum, [, size]) => sum + size, 0);
  if (rest > plan.total / 200) parts.push(["Other", rest, "buffers for rows and for reading back"]);
  const shown = parts.map((part, i) => [...part, i] as const).filter(([, size]) => size > 0);
  const bar = h("div", {
    class: "stack",
    role: "img",
    "aria-label": shown.map(([name, size]) => `${name} ${bytes(size)}`).join(", "),
  });
  for (const [, size, , i] of shown) {
    const piece = h("i", { class: `c${i}` });
    piece.style.flexGrow = String(size);
    bar.append(piece);
  }
  const key = shown.map(([name, size, about, i]) =>
    h(
      "li",
      {},
      h("i", { class: `c${i}`, "aria-hidden": "true" }),
      h("span", {}, name, about && h("small", {}, about)),
      h("b", {}, bytes(size)),
    ),
  );
  const method = state.settings.method === "full" ? "all weights" : "an adapter";
  const fits = !plan.fits ? "false" : plan.total <= likelyFree() ? "true" : "maybe";
  const card = h(
    "div",
    { class: "card plan", testid: T.plan, "data-fits": fits, "data-total": plan.total },
    h(
      "div",
      { class: "row between" },
      h("h3", {}, `Memory to train ${method}: ${bytes(plan.total)}`),
      h(
        "span",
        { class: `verdict ${VERDICTS[fits][0]}` },
        VERDICTS[fits][1],
      ),
    ),
    bar,
    h("ul", { class: "key" }, ...key),
    h(
      "p",
      { class: "quiet" },
      `The largest piece bound at once is ${bytes(plan.largest_binding)}; this adapter allows ${bytes(plan.max_binding)}. Nothing has been allocated or downloaded for this. Browsers do not tell how much memory is free.`,
    ),
  );
  if (!plan.fits) {
    card.append(
      notice(
        "error",
        "What to change",
        h("ul", {}, ...plan.advice.map((line) => h("li", {}, sentence(inOurWords(line))))),
      ),
    );
  } else if (fits === "maybe") {
    card.append(
      notice(
        "warning",
        "This may be more memory than there is",
        h("p", {}, "Browsers do not tell how much the GPU has. If it is refused, train an adapter instead of all weights, use shorter rows, or take a smaller model."),
      ),
    );
  } else if (plan.advice.length) {
    card.append(h("ul", { class: "quiet" }, ...plan.advice.map((line) => h("li", {}, sentence(inOurWords(line))))));
  }
  return card;
}
