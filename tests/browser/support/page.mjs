// The page as a visitor has it: what is clicked, by the names in web/page/src/testids.ts.
import assert from "node:assert/strict";
import { launch, open, pageUrl, until } from "./harness.mjs";

// The page, with `id(testid)` for its parts. `url` and the rest are as for `open`.
export async function openPage({ url = pageUrl, ...options } = {}) {
  const opened = await open(url, options);
  const { page } = opened;
  const id = (name) => page.getByTestId(name);
  const phase = () => id("train-phase").getAttribute("data-phase");
  const live = async () => {
    const data = await id("train-live").evaluate((e) => ({ ...e.dataset }));
    return { step: Number(data.step), total: Number(data.total), loss: Number(data.loss), evalLoss: Number(data.evalLoss) };
  };
  return {
    ...opened,
    id,
    phase,
    live,
    ready: () => until(async () => (await id("device").getAttribute("data-state")) === "ready", "the GPU did not open", 120),
    pick: (name) => id(name).check({ force: true }),
    // A setting of train.toml; those that are folded away too.
    async set(key, value) {
      await id("settings-more").evaluate((fold) => (fold.open = true));
      const control = id(`setting-${key}`);
      if (await control.evaluate((e) => e.tagName === "SELECT")) return control.selectOption(value);
      await control.fill(String(value));
      await control.blur();
    },
    async until(...phases) {
      await until(
        async () => {
          const now = await phase();
          if (now === "failed" && !phases.includes("failed")) {
            assert.fail(`the run failed: ${await id("train-error").innerText()}`);
          }
          return phases.includes(now);
        },
        `the run is not ${phases.join(" or ")}`,
        300,
      );
    },
    untilStep: (step) => until(async () => (await live()).step >= step || (await phase()) === "failed", `no step ${step}`, 300),
    row: (run) => page.locator(`[data-testid="run-row"][data-run="${run}"]`),
    async download(name) {
      const [download] = await Promise.all([page.waitForEvent("download"), id(name).click()]);
      return download;
    },
  };
}

// The longest task of the page's main thread during `work`, in milliseconds of its own processor time: visitors feel what takes over 50. By the
// clock they take longer where the processors are taken, as by a software GPU.
export async function longestTask({ page }, work) {
  const browser = await launch();
  await browser.startTracing(page, { categories: ["-*", "toplevel"] });
  await work();
  const { traceEvents: events } = JSON.parse(await browser.stopTracing());
  const main = events.filter(({ name, args }) => name === "thread_name" && args.name === "CrRendererMain");
  const tasks = events.filter(({ name, tid, pid }) => /RunTask/.test(name) && main.some((of) => of.tid === tid && of.pid === pid));
  assert.ok(tasks.length > 100, "nothing was traced");
  return Math.max(...tasks.map(({ tdur }) => tdur ?? 0)) / 1000;
}

// Choose the fixture's model and rows, and settings under which a run takes seconds.
export async function choose(page, fixture, { keep = false, settings = {} } = {}) {
  await page.ready();
  await page.pick("model-source-files");
  await page.id("model-files").setInputFiles(fixture.paths);
  await until(async () => /model/.test(await page.id("model-name").innerText().catch(() => "")), "the model did not open");
  if (keep) {
    await page.id("model-keep").click();
    await until(async () => (await page.id("model-keep").count()) === 0, "the model was not kept");
  }
  await page.pick("data-source-files");
  await page.id("data-files").setInputFiles(fixture.rows);
  await page.pick("held-out-own");
  await page.id("held-out-files").setInputFiles(fixture.heldOut);
  await until(
    async () => Number(await page.id("data-summary").getAttribute("data-held-out").catch(() => 0)) > 0,
    "the rows were not read",
  );
  await page.pick("setting-method-lora");
  const all = { "learning-rate": 0.004, "max-steps": 30, "batch-size": 4, "save-steps": 10, "eval-steps": 15, ...settings };
  for (const [key, value] of Object.entries(all)) await page.set(key, value);
}
