// The GPU's name, and what can be wrong with it.

import { listen, openDevice, openModel, listModels } from "../actions";
import { bundledModel } from "../bundled";
import { button, byId, fill, h, notice } from "../dom";
import { listRuns, resume } from "../runs";
import { set, state, watch } from "../store";
import { T } from "../testids";
import { sentence } from "../words";

export function deviceSection(): void {
  const name = byId("device");
  name.dataset.testid = T.device;
  const trouble = byId("trouble");
  watch(
    ({ device }) => [device],
    () => {
      const { device } = state;
      name.dataset.state = device.state;
      fill(name, h("span", { class: "dot", "aria-hidden": "true" }), words());
    },
  );
  watch(
    ({ device, dead, forgets }) => [device.state, device.info?.isSoftware, device.runLost, dead, forgets],
    () => fill(trouble, dead(), without(), lost(), software(), forgetful()),
  );
}

function words(): string {
  const { state: how, info } = state.device;
  switch (how) {
    case "opening":
      return "Opening the GPU …";
    case "ready":
      return info?.isSoftware ? `${info.name || "Software"} · no GPU, the CPU computes` : info?.name || "GPU";
    case "none":
      return "No WebGPU";
    case "lost":
      return "The GPU was lost";
    case "failed":
      return "The GPU cannot be used";
  }
}

function software(): HTMLElement | null {
  if (!state.device.info?.isSoftware || state.device.state !== "ready") return null;
  const box = notice(
    "info",
    "This browser offers only a software adapter",
    h("p", {}, "The CPU does what a GPU would, many times slower. The bundled model tunes in minutes all the same; larger models will take very long. If this machine has a GPU, see that hardware acceleration is switched on in the browser’s settings."),
  );
  box.dataset.testid = T.software;
  return box;
}

function without(): HTMLElement | null {
  const { state: how, why } = state.device;
  if (state.dead || (how !== "none" && how !== "failed")) return null;
  const browsers: [string, string][] = [
    ["Chrome, Edge", "From version 113 on Windows, macOS and ChromeOS, 121 on Android, 144 on Linux with recent Intel graphics. On Linux with other GPUs, open chrome://flags and enable “Unsafe WebGPU Support” and “Vulkan”."],
    ["Firefox", "From version 141 on Windows, 145 on macOS 26 with Apple silicon. Elsewhere, set dom.webgpu.enabled in about:config to true."],
    ["Safari", "From version 26 on macOS 26, iOS and iPadOS."],
  ];
  const box = notice(
    "warning",
    how === "none" ? "This browser offers no WebGPU, so nothing can be trained here" : "The GPU could not be opened",
    h("p", {}, how === "failed" ? why : null, " Rows can still be checked and previewed below. What helps:"),
    h("dl", {}, ...browsers.flatMap(([browser, what]) => [h("dt", {}, browser), h("dd", {}, what)])),
    h("p", {}, "Also see that hardware acceleration is on, and that the address begins with https:// or is localhost: WebGPU exists nowhere else. The command line does all of this without a browser."),
    button("Try again", T.deviceReopen, () => void openDevice()),
  );
  box.dataset.testid = T.noWebGpu;
  return box;
}

function lost(): HTMLElement | null {
  const { state: how, why, runLost } = state.device;
  if (state.dead || how !== "lost") return null;
  const go = async () => {
    if (!(await openDevice())) return;
    if (runLost) await resume(runLost);
  };
  const box = notice(
    "error",
    "The GPU was lost",
    h("p", {}, `The browser said: ${why || "nothing"}. This happens when a driver is reset or updated, memory runs out, or the machine slept. ` +
      (runLost ? `The run ${runLost} is not lost: it goes on from its newest checkpoint.` : "Nothing was under way.")),
    button(runLost ? "Open the GPU and resume" : "Open the GPU again", T.deviceReopen, () => void go(), "primary"),
  );
  box.dataset.testid = T.deviceLost;
  return box;
}

function forgetful(): HTMLElement | null {
  if (!state.forgets) return null;
  const box = notice("warning", "This browser keeps nothing for this page", h("p", {}, "It gives no storage here; private windows often do not. Everything works, but runs and models are gone when this tab is closed: download what matters."));
  box.dataset.testid = T.noStorage;
  return box;
}

function dead(): HTMLElement | null {
  if (!state.dead) return null;
  const again = async () => {
    set({ dead: undefined });
    listen();
    await openDevice();
    await openModel(bundledModel);
    await Promise.all([listRuns(), listModels()]);
  };
  const box = notice(
    "error",
    "The worker that computes has ended",
    h("p", {}, `${sentence(state.dead)} Most often memory ran out. Runs go on from their newest checkpoint.`),
    button("Start it again", T.deviceReopen, () => void again(), "primary"),
  );
  box.dataset.testid = T.workerDead;
  return box;
}
