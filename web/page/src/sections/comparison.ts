// Two models side by side: numbers with their intervals, and what these say.

import type { Difference, Estimate, SuiteComparison } from "../../../package/src/api";
import { fill, fold, h } from "../dom";
import { state, watch } from "../store";
import { T } from "../testids";
import { change, count, isShare, measured } from "../words";

const SHOWN = 3;
const UNITS: Record<string, string> = { agreement: "agreement", worst_case: "right in every wording" };

export function comparisonView(): HTMLElement {
  const root = h("div", { testid: T.comparison });
  watch(
    ({ comparison, compared }) => [comparison, compared],
    () => {
      const { comparison, compared } = state;
      if (!comparison?.suites.length) return fill(root);
      const kinds: [boolean, string][] = [
        [false, "What should get better"],
        [true, "What must not get worse"],
      ];
      fill(
        root,
        h("h3", {}, `Base against ${compared ?? comparison.tuned}`),
        h(
          "p",
          { class: "quiet" },
          "Small numbers are 95 % intervals. A difference is called better or worse where its interval leaves zero out and at least six items differ.",
        ),
        ...kinds.map(([forgetting, title]) =>
          part(
            title,
            comparison.suites.filter((suite) => suite.forgetting === forgetting),
          ),
        ),
        consistency(comparison.suites),
        ...comparison.suites.map(examples),
      );
    },
  );
  return root;
}

function part(title: string, suites: SuiteComparison[]): HTMLElement | null {
  if (!suites.length) return null;
  const rows = suites.flatMap((suite) => [
    row(suite, suite.name, suite.all, true),
    ...suite.tasks.map(([task, of]) => row(suite, task, of, false)),
  ]);
  return h(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-label": title },
    h(
      "table",
      { class: "difference cards" },
      h("caption", {}, title),
      h(
        "thead",
        {},
        h("tr", {}, ...["suite", "base", "tuned", "difference"].map((text) => h("th", { scope: "col" }, text))),
      ),
      h("tbody", {}, ...rows),
    ),
  );
}

/** What the interval of a difference says: the tool's words, where it has said them. */
function verdict(suite: SuiteComparison, of: Difference, whole: boolean): [tone: string, words: string] {
  const tone = (words: string) => (words === "better" ? "good" : words === "worse" ? "error" : "quiet");
  if (whole && suite.verdict) return [tone(suite.verdict), suite.verdict];
  const differ = of.wins + of.losses;
  if (isShare(suite.measure) && differ < 6) return ["quiet", differ ? "too few differ" : "no clear difference"];
  const { low, high } = of.difference;
  const up = low !== null && low > 0;
  const down = high !== null && high < 0;
  const words = up || down ? (up === suite.higher_is_better ? "better" : "worse") : "no clear difference";
  return [tone(words), words];
}

function row(suite: SuiteComparison, name: string, of: Difference, whole: boolean): HTMLElement {
  const [tone, words] = verdict(suite, of, whole);
  const all = of.wins + of.losses + of.ties;
  const bar = h("span", {
    class: "wins",
    role: "img",
    "aria-label": `${of.wins} better, ${of.losses} worse, ${of.ties} alike`,
  });
  for (const [n, kind] of [
    [of.wins, "good"],
    [of.losses, "error"],
    [of.ties, "rest"],
  ] as const) {
    const piece = h("i", { class: kind });
    piece.style.flexGrow = String(n);
    bar.append(piece);
  }
  const cell = (
    label: string,
    estimate: Estimate,
    show: (measure: string, value: number | null) => string,
    ...more: HTMLElement[]
  ) =>
    h(
      "td",
      { "data-name": label },
      show(suite.measure, estimate.value),
      h("small", {}, `${show(suite.measure, estimate.low)} to ${show(suite.measure, estimate.high)}`),
      ...more,
    );
  const about = whole ? `${measureName(suite.measure)}, ${suite.higher_is_better ? "more" : "less"} is better, ` : "";
  const sign = tone === "good" ? "✓ " : tone === "error" ? "✗ " : "";
  return h(
    "tr",
    {
      class: whole ? "whole" : "part",
      testid: whole ? "comparison-row" : "comparison-task",
      "data-suite": suite.name,
      "data-measure": suite.measure,
      "data-base": of.base.value,
      "data-tuned": of.tuned.value,
      "data-verdict": words,
    },
    h(
      "th",
      { scope: "row" },
      name,
      h("small", {}, `${about}${count(of.items)} items${all && all !== of.items ? ` in ${count(all)} groups` : ""}`),
      all ? bar : null,
    ),
    cell("base", of.base, measured),
    cell("tuned", of.tuned, measured),
    cell("difference", of.difference, change, h("small", { class: `verdict ${tone}` }, sign, words)),
  );
}

const measureName = (name: string) => UNITS[name] ?? name.replaceAll("_", " ");

function consistency(suites: SuiteComparison[]): HTMLElement | null {
  const found = suites.filter((suite) => suite.measure === "agreement" || suite.measure === "worst_case");
  if (!found.length) return null;
  const agreement = found.find((suite) => suite.measure === "agreement");
  const worst = found.find((suite) => suite.measure === "worst_case");
  const both = (suite: SuiteComparison | undefined) =>
    suite
      ? `${measured(suite.measure, suite.all.base.value)} before, ${measured(suite.measure, suite.all.tuned.value)} now`
      : "";
  return h(
    "div",
    { class: "card", testid: T.consistency },
    h("h3", {}, "Consistency across wordings"),
    h("p", {}, "The same question in other words should get the same answer, and the right one."),
    h(
      "dl",
      {},
      ...(agreement ? [h("dt", {}, "Two wordings agree"), h("dd", {}, both(agreement))] : []),
      ...(worst ? [h("dt", {}, "Right in every wording"), h("dd", {}, both(worst))] : []),
    ),
  );
}

function examples(suite: SuiteComparison): HTMLElement | null {
  if (!suite.examples.length) return null;
  const show = (one: SuiteComparison["examples"][number]) =>
    h(
      "article",
      { class: "example" },
      h("p", {}, h("b", { dir: "auto" }, one.prompt), one.task ? h("span", { class: "badge" }, one.task) : null),
      h("div", { class: "answers" }, answer("base", one.base), answer("tuned", one.tuned)),
      h("p", { class: "quiet" }, "Right: ", h("span", { dir: "auto" }, one.reference)),
    );
  return fold(
    `Answers side by side: ${suite.name} (${suite.examples.length})`,
    "comparison-examples",
    ...suite.examples.slice(0, SHOWN).map(show),
    suite.examples.length > SHOWN
      ? fold(
          `${suite.examples.length - SHOWN} more`,
          "comparison-examples-more",
          ...suite.examples.slice(SHOWN).map(show),
        )
      : null,
  );
}

function answer(who: string, text: string): HTMLElement {
  return h("div", {}, h("small", {}, who), h("p", { class: "text", dir: "auto" }, text.trim() || "(nothing)"));
}
