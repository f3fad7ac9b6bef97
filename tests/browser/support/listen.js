// Comes first in a worker: remembers its devices, and makes an error of everything that WebGPU says, so that none can be swallowed.
// The library gets its device through the browser's own functions; this listens there.
self.devices = [];
self.shaders = 0;
self.compiling = [];
self.allowLoss = false;

const requestDevice = GPUAdapter.prototype.requestDevice;
GPUAdapter.prototype.requestDevice = async function (...args) {
  const device = await requestDevice.apply(this, args);
  self.devices.push(device);
  device.addEventListener("uncapturederror", (event) => console.error(`uncaptured WebGPU error: ${event.error.message}`));
  device.lost.then((lost) => {
    if (lost.reason !== "destroyed" && !self.allowLoss) console.error(`device lost: ${lost.message}`);
  });
  return device;
};

const createShaderModule = GPUDevice.prototype.createShaderModule;
GPUDevice.prototype.createShaderModule = function (descriptor) {
  const module = createShaderModule.call(this, descriptor);
  self.shaders += 1;
  self.compiling.push(
    module.getCompilationInfo().then(
      (info) => {
        for (const { type, lineNum, linePos, message } of info.messages) {
          if (type === "info") continue;
          const line = descriptor.code.split("\n")[lineNum - 1] ?? "";
          console.error(`shader ${descriptor.label ?? ""}:${lineNum}:${linePos}: ${type}: ${message}\n    ${line.trim()}`);
        }
      },
      () => {}, // its device is gone
    ),
  );
  return module;
};
