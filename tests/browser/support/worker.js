// The wasm module in a worker, for tests that call it from Node: `worker.evaluate(({ wasm, … }) => …, …)` through `self.kit`.
import "./listen.js";
import * as wasm from "/module/wgpu_sft_web.js";
import { compareData } from "./rows.js";

const bytes = async (url) => {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
};

const reader = (name, all) => ({ name, size: all.length, read: async (start, end) => all.slice(start, end) });
const last = (path) => path.slice(path.lastIndexOf("/") + 1);

// Files by their addresses, as the library reads them.
const readers = (urls) => Promise.all(urls.map(async (url) => reader(last(url), await bytes(url))));
const rowFiles = (urls) => Promise.all(urls.map(async (url) => ({ name: last(url), bytes: await bytes(url) })));

// A folder in memory.
class MemoryFolder {
  files = new Map();
  async list() {
    return [...this.files.keys()];
  }
  async open(path) {
    const all = this.files.get(path);
    return all && reader(last(path), all);
  }
  async create(path) {
    let all = new Uint8Array(0);
    this.files.set(path, all);
    return {
      write: (piece, at) => {
        if (at + piece.length > all.length) {
          const longer = new Uint8Array(at + piece.length);
          longer.set(all);
          all = longer;
        }
        all.set(piece, at);
        this.files.set(path, all);
      },
      close: () => {},
    };
  }
  async remove(path) {
    for (const name of this.files.keys()) if (name === path || name.startsWith(`${path}/`)) this.files.delete(name);
  }
  // Copy all of it to the server, and from there.
  async push(url) {
    for (const [path, body] of this.files) {
      const { ok, status } = await fetch(`${url}/${path}`, { method: "PUT", body });
      if (!ok) throw new Error(`${path}: ${status}`);
    }
  }
  static async pull(url, paths) {
    const folder = new MemoryFolder();
    for (const path of paths) folder.files.set(path, await bytes(`${url}/${path}`));
    return folder;
  }
}

// Begin a run and go on to its end, or to step `until`, where a checkpoint is made. Gives all its events.
async function train({ device, source, job, data, evalData = [], suiteFiles = [], folder, until }) {
  const run = await wasm.Run.begin(
    device, source, JSON.stringify({ resume: false, ...job }), data, evalData, suiteFiles, folder, () => {},
  );
  const events = [{ type: "begun", about: JSON.parse(run.about) }];
  try {
    for (;;) {
      const event = JSON.parse(await run.advance());
      events.push(event);
      if (event.type === "finished") return events;
      if (event.type === "step" && event.step === until) {
        await run.save();
        return events;
      }
    }
  } finally {
    run.destroy();
  }
}

self.kit = { wasm, compareData, bytes, readers, rowFiles, MemoryFolder, train };
// Playwright tells of a worker before its modules are there.
self.ready = wasm.default().then(({ memory }) => {
  self.kit.memory = memory;
  return true;
});
