// What a run tells while it goes on: numbers, curves, answers.

import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { fill, fold, h, table, tick } from "../dom";
import { type Live, state, watch } from "../store";
import { T } from "../testids";
import { bytes, count, duration, loss } from "../words";

/** Points of a curve that are drawn at most. */
const POINTS = 1500;
const TABLE_ROWS = 24;
const HEIGHT = 260;

export function liveView(): HTMLElement {
  const tiles = h("div", { class: "tiles", testid: T.live });
  const chart = h("div", { class: "chart", testid: T.chart, role: "img" });
  const tickLog = h("span", {});
  const tableBox = h("div", {});
  const tableFold = fold("The curves as a table", T.chartTable, tableBox);
  const answers = h("div", { testid: T.samples });
  const root = h(
    "div",
    { hidden: true },
    tiles,
    h(
      "figure",
      {},
      chart,
      h(
        "figcaption",
        { class: "quiet legend-line row between" },
        h("span", {}, h("i", { class: "c0" }), " training loss ", h("i", { class: "c1 dashed" }), " held-out loss"),
        tickLog,
      ),
    ),
    tableFold,
    answers,
  );

  watch(
    ({ live }) => [live],
    () => {
      const { live } = state;
      root.hidden = !live || (!live.total && !live.losses.length);
      if (live && !root.hidden) drawTiles(tiles, live);
    },
  );

  let plot: uPlot | undefined;
  let logarithmic = false;
  const draw = () => {
    const { live } = state;
    if (!live || root.hidden) return;
    chart.hidden = !live.losses.length && !live.heldOut.length;
    if (chart.hidden) return;
    chart.setAttribute(
      "aria-label",
      `Loss: ${loss(live.losses[0]?.[1])} at first, now ${loss(live.lastLoss)}. Held-out loss: ${loss(live.heldOut[0]?.[1])} at first, now ${loss(live.evalLoss)}. The table below has the numbers.`,
    );
    if (!plot) plot = new uPlot(options(chart, logarithmic), curves(live), chart);
    else plot.setData(curves(live));
  };
  const anew = () => {
    plot?.destroy();
    plot = undefined;
    draw();
  };
  watch(({ live }) => [live?.name], anew);
  watch(({ live }) => [live?.step, live?.evalLoss, live?.heldOut.length, live?.phase], draw);
  tickLog.append(
    tick("Logarithmic", T.chartLog, false, (on) => {
      logarithmic = on;
      anew();
    }),
  );
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", anew);
  new ResizeObserver(
    () => plot && chart.clientWidth && plot.setSize({ width: chart.clientWidth, height: HEIGHT }),
  ).observe(chart);

  const fillTable = () => tableFold.open && state.live && fill(tableBox, tableOf(state.live));
  tableFold.addEventListener("toggle", fillTable);
  watch(({ live }) => [live?.name, live?.phase, live?.heldOut.length, Math.floor((live?.step ?? 0) / 10)], fillTable);
  watch(
    ({ live }) => [live?.samples],
    () => fill(answers, state.live?.samples.length ? samples(state.live) : null),
  );
  return root;
}

function drawTiles(tiles: HTMLElement, live: Live): void {
  const shown: [string, string][] = [
    [
      live.total ? `${count(live.step)} / ${count(live.total)}` : count(live.step),
      live.epoch ? `steps, epoch ${live.epoch.toFixed(1)}` : "steps",
    ],
    [loss(live.lastLoss), "loss"],
    [loss(live.evalLoss), "held-out loss"],
    [live.tokensPerSecond ? count(live.tokensPerSecond) : "–", "tokens/s"],
    [live.phase === "running" && live.secondsLeft !== undefined ? duration(live.secondsLeft) : "–", "left"],
    [live.memory ? bytes(live.memory) : "–", live.peak ? `on the GPU; ${bytes(live.peak)} at most` : "on the GPU"],
  ];
  // What a run that is over cannot tell is left out.
  const known = shown.filter(([number]) => live.phase !== "finished" || number !== "–");
  while (tiles.children.length > known.length) tiles.lastChild!.remove();
  while (tiles.children.length < known.length) tiles.append(h("div", {}, h("b", {}), h("span", {})));
  known.forEach(([number, what], i) => {
    const [b, span] = tiles.children[i]!.children;
    if (b!.textContent !== number) b!.textContent = number;
    if (span!.textContent !== what) span!.textContent = what;
  });
  Object.assign(tiles.dataset, {
    step: live.step,
    total: live.total,
    loss: live.lastLoss ?? "",
    evalLoss: live.evalLoss ?? "",
    saved: live.savedStep ?? "",
    tokensPerSecond: live.tokensPerSecond ?? "",
  });
}

/** Both curves over all their steps; of very many points, means of neighbours. */
function curves(live: Live): uPlot.AlignedData {
  const every = Math.ceil(live.losses.length / POINTS);
  const trained = new Map<number, number>();
  for (let i = 0; i < live.losses.length; i += every) {
    const some = live.losses.slice(i, i + every);
    trained.set(some.at(-1)![0], some.reduce((sum, [, value]) => sum + value, 0) / some.length);
  }
  const heldOut = new Map(live.heldOut);
  const steps = [...new Set([...trained.keys(), ...heldOut.keys()])].sort((a, b) => a - b);
  return [steps, steps.map((step) => shown(trained.get(step))), steps.map((step) => shown(heldOut.get(step)))];
}

/** A loss of 0 has no logarithm. */
const shown = (value: number | undefined) => (value === undefined ? undefined : Math.max(value, 1e-6));

function options(chart: HTMLElement, logarithmic: boolean): uPlot.Options {
  const colour = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const axis = {
    stroke: colour("--quiet"),
    grid: { stroke: colour("--line"), width: 1 },
    ticks: { show: false },
    font: "13px system-ui, sans-serif",
  };
  return {
    width: chart.clientWidth || 320,
    height: HEIGHT,
    legend: { show: false },
    cursor: { drag: { x: true, y: false } },
    scales: {
      x: { time: false, range: (_, from, to) => [Math.min(0, from), Math.max(to, state.live?.total ?? 1, 1)] },
      y: logarithmic ? { distr: 3 } : {},
    },
    axes: [
      { ...axis, values: (_, ticks) => ticks.map((tick) => (Number.isInteger(tick) ? count(tick) : "")) },
      { ...axis, size: 52 },
    ],
    series: [
      {},
      { stroke: colour("--c0"), width: 1.5, spanGaps: true, points: { show: false } },
      {
        stroke: colour("--c1"),
        width: 2,
        dash: [6, 4],
        spanGaps: true,
        points: { show: true, size: 8, fill: colour("--c1") },
      },
    ],
  };
}

function tableOf(live: Live): HTMLElement {
  const every = Math.max(1, Math.ceil(live.losses.length / TABLE_ROWS));
  const heldOut = new Map(live.heldOut);
  const trained = new Map(live.losses);
  const steps = new Set([
    ...live.losses.filter((_, i) => i % every === 0 || i === live.losses.length - 1).map(([step]) => step),
    ...heldOut.keys(),
  ]);
  const rows = [...steps]
    .sort((a, b) => a - b)
    .map((step) => [count(step), loss(trained.get(step)), heldOut.has(step) ? loss(heldOut.get(step)) : ""]);
  return table("Loss by step", ["step", "loss", "held-out loss"], rows);
}

/** Each prompt with its answers, the first, and how they changed. */
function samples(live: Live): HTMLElement {
  const byPrompt = new Map<string, Live["samples"]>();
  for (const sample of live.samples) {
    const key = `${sample.suite}\n${sample.prompt}`;
    byPrompt.set(key, [...(byPrompt.get(key) ?? []), sample]);
  }
  const all = [...byPrompt.values()].map((list) => {
    const sorted = list.toSorted((a, b) => a.step - b.step);
    const first = sorted[0]!;
    return h(
      "article",
      { class: "sample", testid: "sample-row" },
      h("p", {}, h("b", { dir: "auto" }, first.prompt), " ", h("span", { class: "badge" }, first.suite)),
      h(
        "ol",
        {},
        ...sorted.map((one) =>
          h(
            "li",
            { "data-step": one.step },
            h("small", {}, one.step ? `step ${count(one.step)}` : "before"),
            h("span", { dir: "auto", class: "answer" }, one.answer.trim() || "(nothing)"),
          ),
        ),
      ),
      first.reference && h("p", { class: "quiet" }, "Right: ", h("span", { dir: "auto" }, first.reference)),
    );
  });
  const shown = all.slice(0, 4);
  const rest = all.slice(4);
  return h(
    "div",
    {},
    h("h3", {}, "Answers as it learns"),
    h("div", { class: "samples" }, ...shown),
    rest.length ? fold(`${rest.length} more`, "samples-more", h("div", { class: "samples" }, ...rest)) : null,
  );
}
