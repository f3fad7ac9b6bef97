// What the browser's tests share: a server of the repository's folders, headless Chromium on its software GPU, and pages that
// cannot hide an error.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync, statSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { after } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { chromium } from "playwright-core";
import { serve } from "../../../scripts/serve.mjs";

export const root = fileURLToPath(new URL("../../..", import.meta.url));
const target = join(root, "target/web");
const isFile = (path) => statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
const listen = readFileSync(new URL("listen.js", import.meta.url), "utf8");

function browserPath() {
  const names = ["chromium", "chromium-browser", "google-chrome"];
  const found = names.flatMap((name) => process.env.PATH.split(delimiter).map((dir) => join(dir, name))).find(isFile);
  if (!found) throw new Error(`no browser: install one of ${names.join(", ")}`);
  return found;
}

// A folder for what a test file leaves, removed at its end.
export const scratch = await mkdtemp(join(target, "test-"));

// Where things are: the module, this folder, the repository's folders, what tests upload, and the built page in a folder of a host.
// The worker of the page and of the package begins with listen.js.
const server = await serve(
  {
    "/module/": target,
    "/package/": join(target, "package"),
    "/tests/": join(root, "tests"),
    "/demo/": join(root, "demo"),
    "/base/": join(root, "base"),
    "/scratch/": scratch,
    "/some/folder/": join(target, "page"),
  },
  {
    edit: (path, text) => (/^\/(package|some)\/.*worker[^/]*\.js$/.test(path) ? `${listen}\n${text}` : text),
    uploads: { "/scratch/": scratch },
  },
);
export const origin = server.origin;
export const pageUrl = `${origin}/some/folder/`;

// Headless Chromium: one for all of a file's tests; without WebGPU, one for the caller, who closes it.
let browser;
export async function launch({ webgpu = true } = {}) {
  const start = () =>
    chromium.launch({
      executablePath: browserPath(),
      args: [
        "--headless=new",
        "--no-sandbox",
        ...(webgpu ? ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"] : ["--disable-features=WebGPU", "--disable-gpu"]),
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
      ],
    });
  if (!webgpu) return start();
  return (browser ??= await start());
}

after(async () => {
  await browser?.close();
  await server.close();
  await rm(scratch, { recursive: true, force: true });
});

// Open an address in a new page of `context`, which is a new one unless given. `errors` are what the page's or its workers' console,
// exceptions and requests said that no pattern of `allow` covers; `requests` all addresses asked for. `close` fails if there were errors.
// `init` runs in the page before its own scripts.
export async function open(url, { context, allow = [], log, options, init } = {}) {
  context ??= await (await launch()).newContext(options);
  context.setDefaultTimeout(120_000);
  const page = await context.newPage();
  if (init) await page.addInitScript(init);
  const errors = [];
  const requests = [];
  const note = (text) => allow.some((pattern) => pattern.test(text)) || errors.push(text);
  page.on("console", (message) => {
    if (message.type() === "error") note(`console: ${message.text()}`);
    else log?.(message.text());
  });
  page.on("pageerror", (error) => note(`page: ${error}`));
  page.on("requestfailed", (request) => note(`request: ${request.url()} ${request.failure()?.errorText}`));
  page.on("crash", () => note("the page crashed"));
  context.on("request", (request) => requests.push(request.url()));
  const clean = () => assert.deepEqual(errors, [], "the page reported errors");
  await page.goto(url);
  return { page, context, errors, requests, clean };
}

// A worker with the wasm module; `worker.evaluate` runs in it.
export async function openWorker(options) {
  const opened = await open(`${origin}/tests/browser/support/worker.html`, options);
  const worker = opened.page.workers()[0] ?? (await opened.page.waitForEvent("worker"));
  // The worker is told of before its modules are there; one that could not be loaded never answers.
  await until(async () => {
    opened.clean();
    return Promise.race([worker.evaluate(() => self.ready ?? false), pause(1000)]);
  }, "the worker's module did not start");
  return { ...opened, worker };
}

export const pause = (milliseconds) => new Promise((resolve) => setTimeout(() => resolve(false), milliseconds));

// Wait until `ask` gives something true, and give that.
export async function until(ask, what, seconds = 60) {
  const deadline = performance.now() + 1000 * seconds;
  for (;;) {
    const answer = await ask();
    if (answer) return answer;
    assert.ok(performance.now() < deadline, `${what} (${seconds} s)`);
    await pause(50);
  }
}

// A test that hangs ends its file; Playwright ends the browser with the process.
const seconds = Number(process.env.TEST_SECONDS ?? 1500);
setTimeout(() => {
  console.error(`not finished after ${seconds} s`);
  process.exit(1);
}, 1000 * seconds).unref();

// Run the native binary, on the Vulkan driver that VK_DRIVER_FILES names, and give what it printed.
export async function native(...args) {
  const binary = join(root, "target/release/wgpu-sft");
  try {
    const { stdout } = await promisify(execFile)(binary, args.map(String), { cwd: root, maxBuffer: 2 ** 26 });
    return stdout;
  } catch (error) {
    throw new Error(`wgpu-sft ${args.join(" ")}: ${error.stderr || error.message}`);
  }
}

// Lines of JSON.
export const lines = (text) => text.trim().split("\n").filter(Boolean).map((line) => JSON.parse(line));

// Within `share` of each other.
export function near(got, want, share, what) {
  assert.ok(Math.abs(got - want) <= share * Math.abs(want), `${what}: ${got}, not ${want} within ${share}`);
}
