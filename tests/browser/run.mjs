// node run.mjs [--filter TEXT] [--timeout SECONDS]
// Runs the kernel case table in headless Chromium on its software GPU. Exits 1 if a case fails, if the browser reports
// any error, if no case ran, or after the timeout.
import { createReadStream, statSync } from "node:fs";
import { createServer } from "node:http";
import { delimiter, extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";

const { values: args } = parseArgs({
  options: { filter: { type: "string" }, timeout: { type: "string", default: "1200" } },
});
const here = fileURLToPath(new URL(".", import.meta.url));
const roots = { "/module/": join(here, "../../target/web"), "/": here };
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
let closing = false;
const fail = (why) => {
  failures += 1;
  console.error(`FAIL  ${why}`);
};
const number = (x) => x.toExponential(1);

const started = performance.now();
let last = started;
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
      case "case": {
        cases += 1;
        const { name, family, max_error, tolerance, passed } = message;
        const now = performance.now();
        const seconds = ((now - last) / 1000).toFixed(1);
        last = now;
        const line = `${name} [${family}]: error ${number(max_error)}, allowed ${number(tolerance)}, ${seconds} s`;
        return passed ? console.log(`ok    ${line}`) : fail(line);
      }
      case "failure":
        return fail(message.why);
      case "done":
        console.log(`${message.shaders} shaders compiled`);
        clearTimeout(timer);
        return resolve();
    }
  };
  page.exposeFunction("report", report).then(() => {
    const query = args.filter ? `?filter=${encodeURIComponent(args.filter)}` : "";
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

if (cases === 0) fail("no case ran");
const seconds = ((performance.now() - started) / 1000).toFixed(1);
console.log(`${cases} cases in ${seconds} s, ${failures} failures`);
process.exitCode = failures === 0 ? 0 : 1;
