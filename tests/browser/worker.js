// Compares rows (data.js), then runs the kernel case table of the wasm module and watches everything WebGPU says meanwhile.
// Messages out: {type: "case", ...} per case, {type: "compared", name, why} per comparison, why being empty if it is right, {type: "failure", why} for anything that must not happen, {type: "done", ...}.
// With a job (see bench.mjs) it times that instead: {type: "report", report}.
import init, { bench, check } from "/module/wgpu_sft_web.js";
import { compareData } from "./data.js";

const failure = (why) => postMessage({ type: "failure", why });
self.onunhandledrejection = (event) => failure(`unhandled rejection: ${event.reason}`);

let shaders = 0;
const compiling = [];

// The module gets its device through the browser's own functions; listen there, so that no error can be swallowed.
const requestDevice = GPUAdapter.prototype.requestDevice;
GPUAdapter.prototype.requestDevice = async function (...args) {
  const device = await requestDevice.apply(this, args);
  device.addEventListener("uncapturederror", (event) => failure(`uncaptured WebGPU error: ${event.error.message}`));
  device.lost.then((lost) => lost.reason !== "destroyed" && failure(`device lost: ${lost.message}`));
  return device;
};

const createShaderModule = GPUDevice.prototype.createShaderModule;
GPUDevice.prototype.createShaderModule = function (descriptor) {
  const module = createShaderModule.call(this, descriptor);
  shaders += 1;
  compiling.push(
    module.getCompilationInfo().then((info) => {
      for (const { type, lineNum, linePos, message } of info.messages) {
        if (type === "info") continue;
        const line = descriptor.code.split("\n")[lineNum - 1] ?? "";
        failure(`shader ${descriptor.label ?? ""}:${lineNum}:${linePos}: ${type}: ${message}\n    ${line.trim()}`);
      }
    }),
  );
  return module;
};

onmessage = async ({ data: { filter, job } }) => {
  try {
    await init();
    const adapter = await navigator.gpu?.requestAdapter();
    const { vendor, architecture } = adapter?.info ?? {};
    postMessage({ type: "adapter", name: adapter ? `${vendor} ${architecture}` : "none" });
    if (job) {
      const { config, full, tokens, steps, kernels } = job;
      const report = await bench(JSON.stringify(config), full, tokens, steps, kernels);
      postMessage({ type: "report", report });
      return postMessage({ type: "done", shaders });
    }
    if (!filter || "data".includes(filter)) await compareData((name, why) => postMessage({ type: "compared", name, why }));
    // A browser runs the first on a GPU and the second on a software one; both must compile and be right.
    for (const family of ["tiled", "register"]) {
      await check(family, filter, (c) => {
        const { name, family, max_error, tolerance, passed } = c;
        c.free();
        postMessage({ type: "case", name, family, max_error, tolerance, passed });
      });
    }
    await Promise.all(compiling);
  } catch (error) {
    failure(String(error));
  }
  postMessage({ type: "done", shaders });
};
