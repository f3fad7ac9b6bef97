// node tests/browser/screenshots.mjs FOLDER: the page at 1280 and 390 pixels, light and dark, as it opens, with a run and after it.
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { fixture } from "./support/fixture.mjs";
import { launch, until } from "./support/harness.mjs";
import { choose, openPage } from "./support/page.mjs";

const [out] = process.argv.slice(2);
const SIZES = { 1280: { width: 1280, height: 900 }, 390: { width: 390, height: 844 } };

test("screenshots", async () => {
  await mkdir(out, { recursive: true });
  const model = await fixture();
  const context = await (await launch()).newContext({ acceptDownloads: true });
  const page = await openPage({ context });
  const take = async (name) => {
    for (const [width, size] of Object.entries(SIZES)) {
      for (const colorScheme of ["light", "dark"]) {
        await page.page.setViewportSize(size);
        await page.page.emulateMedia({ colorScheme });
        await page.page.waitForTimeout(300);
        await page.page.screenshot({ path: join(out, `${name}-${width}-${colorScheme}.png`), fullPage: true });
        const wider = await page.page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        if (wider > 0) console.log(`${name} at ${width}: ${wider} pixels too wide`);
      }
    }
  };
  await page.ready();
  await until(async () => page.id("quick-start").isEnabled(), "the page is not ready", 120);
  await take("opened");
  await choose(page, model, { settings: { "max-steps": 40 } });
  await page.id("train-start").click();
  await page.untilStep(12);
  await page.id("train-pause").click();
  await page.until("paused");
  await take("paused");
  await page.id("train-resume").click();
  await page.until("finished");
  await page.pick("eval-source-made");
  await page.id("eval-limit").fill("10");
  await page.id("eval-limit").blur();
  await page.id("eval-start").click();
  await until(async () => (await page.page.getByTestId("comparison-row").count()) > 0, "nothing was compared", 180);
  await take("compared");
  await page.id("check-filter").fill("rmsnorm");
  await page.id("check-start").click();
  await until(async () => (await page.id("check-summary").getAttribute("data-done").catch(() => "")) === "true", "no check", 120);
  await page.page.workers()[0].evaluate(() => self.devices.forEach((device) => device.destroy()));
  await page.id("device-lost").waitFor();
  await take("lost");
});
