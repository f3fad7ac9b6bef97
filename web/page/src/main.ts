// The page: six sections, one store, one tuner. The names that tests go by are in testids.ts.

import { listModels, listen, openDevice, openModel } from "./actions";
import { bundledModel } from "./bundled";
import { button, byId, h, write } from "./dom";
import { checkSection } from "./sections/check";
import { dataSection } from "./sections/data";
import { deviceSection } from "./sections/device";
import { evaluateSection } from "./sections/evaluate";
import { keepSection } from "./sections/keep";
import { modelSection } from "./sections/model";
import { trainSection, whatIsMissing } from "./sections/train";
import { start } from "./runs";
import { isBusy, set, state, watch } from "./store";
import { listRuns, showNewest } from "./stored";
import { T } from "./testids";
import { findStorage } from "./tuner";

const quick = button(
  "Start tuning",
  T.quickStart,
  () => {
    void start();
    byId("train-title").focus({ preventScroll: true });
    byId("train-live-anchor").scrollIntoView({ block: "center" });
  },
  "primary large",
);
const about = h("p", { class: "quiet" });
byId("hero").append(quick, about);

deviceSection();
modelSection();
dataSection();
trainSection();
evaluateSection();
keepSection();
checkSection();
document.querySelector(".controls")!.id = "train-live-anchor";

watch(
  ({ live, model, rows, dataBusy, device, runName, modelBusy, modelSource, dataSource }) => [
    live?.phase,
    model,
    rows,
    dataBusy,
    device.state,
    runName,
    modelBusy,
    modelSource,
    dataSource,
  ],
  () => {
    const { live, model, dataSource } = state;
    const busy = isBusy(live?.phase) || live?.phase === "paused";
    const missing = whatIsMissing();
    quick.disabled = busy || Boolean(missing);
    const what = `${model?.kind === "url" ? "the bundled model" : (model?.name ?? "the model")} on ${dataSource === "bundled" ? "the bundled questions" : "your rows"}`;
    write(quick, `Tune ${what}`);
    write(
      about,
      busy
        ? "A run is under way below."
        : missing ||
            "One press: it measures, trains, measures again, and shows what changed. Everything below can be changed first.",
    );
  },
);

// Which section is in view.
const links = new Map(
  [...document.querySelectorAll<HTMLAnchorElement>(".steps a")].map((link) => [link.hash.slice(1), link]),
);
const inView = new Set<string>();
const observer = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) isIntersecting ? inView.add(target.id) : inView.delete(target.id);
    const first = [...links.keys()].find((id) => inView.has(id));
    for (const [id, link] of links)
      id === first ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current");
  },
  { rootMargin: "-25% 0px -60% 0px" },
);
for (const id of links.keys()) observer.observe(byId(id));

async function begin(): Promise<void> {
  set({ forgets: !(await findStorage()) });
  listen();
  // The model's headers and the rows need no GPU.
  await Promise.all([openDevice(), openModel(bundledModel), listRuns().then(showNewest), listModels()]);
}

// What is there is painted first; the worker and its module come after.
requestAnimationFrame(() => setTimeout(() => void begin()));

if (import.meta.env.PROD && "serviceWorker" in navigator) {
  addEventListener("load", () => void navigator.serviceWorker.register("./sw.js").catch(() => undefined));
}
