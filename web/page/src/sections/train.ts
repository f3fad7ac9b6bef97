// Section 3: the run.

import { Progress, button, byId, fill, h, notice, slot, write } from "../dom";
import { pause, resume, start, stop } from "../runs";
import { type Phase, isBusy, state, watch } from "../store";
import { T } from "../testids";
import { capital, count, duration } from "../words";
import { liveView } from "./live";
import { runList } from "./runlist";
import { settingsForm } from "./settings";

const WORDS: Record<Phase, string> = {
  idle: "Nothing is trained yet",
  starting: "Getting ready",
  running: "Training",
  pausing: "Pausing",
  paused: "Paused",
  stopping: "Stopping",
  stopped: "Stopped",
  finished: "Finished",
  failed: "Ended with an error",
};

/** Errors of a run that other rows may mend. */
const OF_ROWS = new Set(["Input", "Data", "Template", "Checkpoint"]);

/** What an error means here, and what to do about it. */
function advice(name: string, resumable: boolean, held: boolean): string {
  const goesOn = " Then press Resume: until this tab is closed it goes on from this very step.";
  const again = held ? goesOn : resumable ? " The run is not lost: Resume goes on from its newest checkpoint." : "";
  switch (name) {
    case "Storage":
      return again.trim();
    case "Diverged":
      return "The loss or a gradient is no longer a number. Start again with a lower learning rate, or with warm-up.";
    case "TooLarge":
      return "Take a smaller model, LoRA instead of all weights, a shorter max length, or recompute; the memory plan above shows what each changes.";
    case "Gpu":
      return "The GPU was lost or refused: a driver’s reset, sleep, or no memory." + again;
    case "Data":
    case "Template":
      return `Mend the rows in Data; their preview shows how they are read.${resumable ? " Then resume with them." : ""}`;
    case "Config":
      return "Change the setting that is named.";
    case "Checkpoint":
      return `The checkpoint is not of this run, or is damaged.${resumable ? " If it is the rows that differ: choose those it was started with in Data, and its suites, then resume with them." : ""}`;
    case "NoWebGpu":
      return "Training needs WebGPU; see the top of the page.";
    case "Input":
      return resumable ? "Choose the rows and suites it was started with in Data, then resume with them." : "";
    case "InUse":
      return "Give the run another name, or close the other tab that has it.";
    default:
      return again.trim();
  }
}

export function trainSection(): void {
  const section = byId("train");
  const startButton = button("Start", T.start, () => void start(), "primary");
  const pauseButton = button("Pause", T.pause, () => void pause());
  const resumeButton = button("Resume", T.resume, () => state.live && void resume(state.live.name), "primary");
  const stopButton = button("Stop", T.stop, () => void stop());
  const phase = h("p", { class: "phase", testid: T.phase, tabindex: -1 });
  const why = h("p", { class: "quiet" });
  const progress = new Progress(T.trainProgress, "Steps done");
  const error = slot(T.trainError);
  const note = slot(T.trainNote);
  section.append(
    h(
      "p",
      { class: "lead" },
      "A few settings matter; what is here is good for what is chosen above. A run can be held at any step, survives a reload, and goes on exactly where it stood.",
    ),
    settingsForm(),
    h(
      "div",
      { class: "controls card" },
      h("div", { class: "row" }, startButton, pauseButton, resumeButton, stopButton, phase),
      why,
      progress.root,
      note,
      error,
    ),
    liveView(),
    runList(),
  );

  watch(
    ({ live, rows, dataBusy, model, modelBusy, device, runName }) => [
      live?.phase,
      live?.resumable,
      rows,
      dataBusy,
      model,
      modelBusy,
      device.state,
      runName,
    ],
    () => {
      const now = state.live?.phase ?? "idle";
      const missing = whatIsMissing();
      const busy = isBusy(now);
      const buttons = [startButton, pauseButton, resumeButton, stopButton];
      const focused = buttons.find((one) => one === document.activeElement);
      startButton.hidden = busy || now === "paused";
      startButton.disabled = Boolean(missing);
      write(startButton, now === "idle" ? "Start" : "Start a new run");
      startButton.className = now === "stopped" || now === "failed" ? "" : "primary";
      pauseButton.hidden = now !== "running" && now !== "starting";
      resumeButton.hidden = !(now === "paused" || now === "stopped" || (now === "failed" && state.live?.resumable));
      stopButton.hidden = !(busy || now === "paused");
      stopButton.disabled = now === "pausing" || now === "stopping";
      fill(why, !busy && now !== "paused" && missing);
      phase.dataset.phase = now;
      fill(
        phase,
        h("span", { class: "dot", "aria-hidden": "true" }),
        now === "idle" ? WORDS.idle : `${WORDS[now]}: ${state.live!.name}`,
      );
      // A button that goes takes the focus along: keep it near, on nothing that a second key press would set off.
      if (focused && (focused.hidden || focused.disabled)) phase.focus();
    },
  );

  const nav = byId("nav-progress");
  const navBar = h("i", {});
  nav.append(navBar);
  watch(
    ({ live }) => [live],
    () => {
      const { live } = state;
      if (!live) {
        nav.hidden = true;
        return progress.hide();
      }
      const going = isBusy(live.phase);
      const left = live.secondsLeft && live.phase === "running" ? `, about ${duration(live.secondsLeft)} left` : "";
      const steps = live.total ? `Step ${count(live.step)} of ${count(live.total)}${left}` : "";
      const busy = live.busy
        ? `${capital(live.busy.what)}${live.busy.total > 1 ? `: ${count(live.busy.done)} of ${count(live.busy.total)}` : ""}`
        : "";
      const words = [busy, steps].filter(Boolean).join(" · ") || WORDS[live.phase];
      if (live.total) progress.show(words, live.step, live.total);
      else progress.show(words, live.busy?.done, live.busy?.total);
      if (!going && !live.total) progress.hide();
      nav.hidden = !going;
      navBar.style.transform = `scaleX(${live.total ? live.step / live.total : 0.02})`;
      document.title =
        going && live.total
          ? `${Math.floor((100 * live.step) / live.total)} % · wgpu-sft`
          : "wgpu-sft: tune a language model in this tab";
    },
  );
  watch(
    ({ live }) => [live?.error, live?.resumable, live?.phase],
    () => {
      const { live } = state;
      const wrong = live?.error;
      if (wrong) error.dataset.error = wrong.name;
      else delete error.dataset.error;
      const held = live?.phase === "paused";
      const title =
        live?.phase === "failed"
          ? live.step
            ? "The run ended with an error"
            : "The run could not begin"
          : "A checkpoint could not be saved";
      const withRows =
        wrong && live?.resumable && OF_ROWS.has(wrong.name)
          ? button("Resume with the rows of Data", T.resumeWithRows, () => void resume(live.name, true))
          : null;
      fill(
        error,
        wrong &&
          notice(
            "error",
            title,
            h("p", {}, wrong.message),
            h("p", {}, advice(wrong.name, live.resumable ?? false, held)),
            withRows,
          ),
      );
    },
  );
  watch(
    ({ live }) => [live?.note],
    () => fill(note, state.live?.note && notice("info", state.live.note)),
  );
}

/** Why Start cannot be pressed; the first thing to mend. */
export function whatIsMissing(): string {
  const { device, model, rows, dataBusy, runName, modelBusy } = state;
  if (device.state === "none" || device.state === "failed") return "Training needs WebGPU: see the top of the page.";
  if (device.state === "opening") return "The GPU is being opened.";
  if (device.state === "lost") return "The GPU was lost: open it again at the top of the page.";
  if (modelBusy) return "The model is being opened.";
  if (!model) return "Open a model first.";
  if (!model.tokenizer) return "This model has no tokenizer.";
  if (dataBusy) return "The rows are being read.";
  if (!rows) return "Choose rows first.";
  if (!runName) return "Give the run a name.";
  return "";
}
