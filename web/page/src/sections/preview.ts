// Rows as the model will see them, token by token. What is learnt is coloured and underlined.

import type { PreviewRow } from "../../../package/src/api";
import { previewRows } from "../actions";
import { button, fill, h, notice } from "../dom";
import { set, state, watch } from "../store";
import { T } from "../testids";
import { several } from "../words";

const MORE = 8;
const MOST_PIECES = 1200;

export function previewView(): HTMLElement {
  const root = h("div", {});
  const rows = h("div", { class: "rows" });
  const more = button("Show more rows", T.previewMore, () => {
    set({ previewLimit: state.previewLimit + MORE });
    void previewRows();
  }, "small");
  watch(({ preview, previewError, model, rows: given }) => [preview, previewError, model, given], () => {
    const { preview, previewError, model, rows: given, previewLimit } = state;
    if (previewError) {
      const box = notice("error", "These rows cannot be shown to this model", h("p", {}, previewError.message));
      box.dataset.testid = T.previewError;
      return fill(root, box);
    }
    if (!given) return fill(root);
    if (!model?.tokenizer) return fill(root, h("p", { class: "quiet" }, "Open a model with a tokenizer to see these rows token by token."));
    if (!preview.length) return fill(root);
    fill(rows, ...preview.map(drawn));
    more.hidden = preview.length < previewLimit;
    if (!root.contains(rows)) {
      fill(root,
        h("h3", {}, "As the model sees it"),
        h("p", { class: "quiet legend" }, h("span", { class: "l" }, "Underlined"), " is learnt; ", h("span", {}, "the rest"), " is read before; ", h("span", { class: "s" }, "framed"), " are special tokens."),
        h("div", { testid: T.preview }, rows), more);
    }
  });
  return root;
}

function drawn(row: PreviewRow): HTMLElement {
  const pieces = row.pieces.slice(0, MOST_PIECES).map((piece) => {
    const kind = [piece.learnt ? "l" : "", piece.special ? "s" : ""].join(" ").trim();
    const text = piece.text.replaceAll("\n", "↵\n");
    return h("span", { class: kind || undefined, "data-learnt": piece.learnt, title: piece.ids.join(" ") }, text);
  });
  const left = row.pieces.length - pieces.length;
  return h("article", { testid: "preview-row", "data-tokens": row.tokens, "data-targets": row.targets },
    h("p", { class: "row between" }, h("b", {}, row.title), h("span", { class: "quiet" }, `${several(row.tokens, "token")}, ${row.targets} learnt`)),
    h("pre", { class: "tokens", dir: "auto" }, ...pieces, left > 0 && h("i", {}, ` … ${left} more`)));
}
