// node run.mjs [--filter TEXT] [--timeout SECONDS] [--bench]
// Compares checks, tokens and masks of rows, then runs the kernel case table, in headless Chromium on its software GPU. Exits 1 if a case fails, if the browser reports
// any error, if no case ran, or after the timeout.
// With --bench it times training steps there instead, then the same steps by the wgpu-sft binary on the same Vulkan driver,
// whose manifest VK_DRIVER_FILES names.
import { execFileSync } from "node:child_process";
import { createReadStream, statSync } from "node:fs";
import { createServer } from "node:http";
import { delimiter, extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";

const { values: args } = parseArgs({
  options: { filter: { type: "string" }, timeout: { type: "string", default: "1200" }, bench: { type: "boolean" } },
});
// Small enough for a software GPU, large enough that its arithmetic counts.
const shape = { hidden: 192, layers: 2, heads: 3, ffn: 512, vocab: 2048 };
const job = {
  config: {
    model_type: "llama",
    hidden_size: shape.hidden,
    num_hidden_layers: shape.layers,
    num_attention_heads: shape.heads,
    num_key_value_heads: shape.heads,
    intermediate_size: shape.ffn,
    vocab_size: shape.vocab,
    rms_norm_eps: 1e-5,
  },
  full: true,
  tokens: 256,
  steps: 5,
  kernels: "register",
};
const here = fileURLToPath(new URL(".", import.meta.url));
const roots = {
  "/module/": join(here, "../../target/web"),
  "/tests/": join(here, ".."),
  "/demo/": join(here, "../../demo"),
  "/": here,
};
const types = { ".html": "text/html", ".js": "text/javascript", ".wasm": "application/wasm" };

const isFile = (path) => statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;

function browserPath() {
  const names = ["chromium", "chromium-browser", "google-chrome"];
  const found = names.flatMap((name) => process.env.PATH.split(delimiter).map((dir) => join(dir, name))).find(isFile);
  if (!found) throw new Error(`no browser: install one of ${names.join(", ")}`);
  return found;
}

// WebGPU exists in secure contexts only; 127.0.0.1 is one, a file:// page is not.
function serve() {
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url, "http://127.0.0.1");
    const root = Object.keys(roots).find((prefix) => pathname.startsWith(prefix));
    const path = join(roots[root], pathname.slice(root.length) || "index.html");
    if (!isFile(path)) return response.writeHead(404).end();
    response.writeHead(200, { "content-type": types[extname(path)] ?? "application/octet-stream" });
    createReadStream(path).pipe(response);
  });
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server)));
}

const server = await serve();
const browser = await chromium.launch({
  executablePath: browserPath(),
  args: [
    "--headless=new",
    "--no-sandbox",
    "--enable-unsafe-webgpu",
    "--use-webgpu-adapter=swiftshader",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
  ],
});
console.log(`Chromium ${browser.version()}`);

let cases = 0;
let failures = 0;
let inBrowser;
let closing = false;
const fail = (why) => {
  failures += 1;
  console.error(`FAIL  ${why}`);
};
const number = (x) => x.toExponential(1);

const started = performance.now();
let last = started;
// Seconds since the last case.
const lap = () => {
  const before = last;
  last = performance.now();
  return ((last - before) / 1000).toFixed(1);
};
const page = await browser.newPage();
const finished = new Promise((resolve) => {
  const timer = setTimeout(() => {
    fail(`not finished after ${args.timeout} s`);
    resolve();
  }, 1000 * Number(args.timeout));
  const report = (message) => {
    switch (message.type) {
      case "adapter":
        return console.log(`adapter: ${message.name}`);
      case "compared":
        cases += 1;
        return message.why ? fail(`${message.name}: ${message.why}`) : console.log(`ok    ${message.name}, ${lap()} s`);
      case "case": {
        cases += 1;
        const { name, family, max_error, tolerance, passed } = message;
        const seconds = lap();
        const line = `${name} [${family}]: error ${number(max_error)}, allowed ${number(tolerance)}, ${seconds} s`;
        return passed ? console.log(`ok    ${line}`) : fail(line);
      }
      case "report":
        inBrowser = JSON.parse(message.report);
        return;
      case "failure":
        return fail(message.why);
      case "done":
        console.log(`${message.shaders} shaders compiled`);
        clearTimeout(timer);
        return resolve();
    }
  };
  page.exposeFunction("report", report).then(() => {
    const given = args.bench ? { job: JSON.stringify(job) } : args.filter ? { filter: args.filter } : {};
    const query = `?${new URLSearchParams(given)}`;
    return page.goto(`http://127.0.0.1:${server.address().port}/${query}`);
  }).catch((error) => {
    fail(String(error));
    resolve();
  });
  page.on("crash", () => {
    fail("the page crashed");
    resolve();
  });
  browser.on("disconnected", () => {
    if (!closing) fail("the browser ended");
    resolve();
  });
});
// A browser cannot hide an error from here: the page's console, exceptions and failed requests all count.
page.on("console", (message) => message.type() === "error" && fail(`console: ${message.text()}`));
page.on("pageerror", (error) => fail(`page: ${error}`));
page.on("requestfailed", (request) => fail(`request: ${request.url()} ${request.failure()?.errorText}`));

await finished;
closing = true;
await browser.close();
server.close();

if (args.bench && inBrowser) {
  const flags = Object.entries(shape).flatMap(([name, size]) => [`--${name}`, String(size)]);
  const binary = join(here, "../../target/release/wgpu-sft");
  const command = ["bench", "--json", "--method", "full", "--kernels", job.kernels, ...flags];
  command.push("--tokens", String(job.tokens), "--steps", String(job.steps));
  const natively = JSON.parse(execFileSync(binary, command, { encoding: "utf8" }));
  const line = (where, report) =>
    `${where}: ${report.device || "Chromium"}, ${report.step_seconds.toFixed(3)} s a step, ` +
    `${report.tokens_per_second.toFixed(0)} tokens/s, ratio ${report.ratio.toFixed(2)}`;
  console.log(line("natively", natively));
  console.log(line("in the browser", inBrowser));
  console.log(`the browser takes ${(inBrowser.step_seconds / natively.step_seconds).toFixed(2)} times as long`);
} else if (cases === 0) fail("no case ran");
const seconds = ((performance.now() - started) / 1000).toFixed(1);
console.log(`${cases} cases in ${seconds} s, ${failures} failures`);
process.exitCode = failures === 0 ? 0 : 1;
