// The npm package's parts one by one, in a worker: what they do needs neither a page nor a GPU.
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { join } from "node:path";
import { before, test } from "node:test";
import { open, origin, root, scratch } from "./support/harness.mjs";
import { deflated, listen, quota } from "./support/package.mjs";

const parts = ["errors", "folder", "queue", "readers", "zip"];

// The parts as modules, and a page whose worker has them.
before(async () => {
  const { build } = await import(join(root, "web/node_modules/vite/dist/node/index.js"));
  const source = join(root, "web/package/src");
  await build({
    configFile: false,
    logLevel: "error",
    root: source,
    build: {
      outDir: join(scratch, "parts"),
      minify: false,
      lib: { entry: Object.fromEntries(parts.map((part) => [part, join(source, `${part}.ts`)])), formats: ["es"] },
    },
  });
  const imports = parts.map((part) => `import * as ${part} from "./parts/${part}.js";`).join("\n");
  await writeFile(join(scratch, "parts.js"), `${imports}\nself.parts = { ${parts.join(", ")} };\n`);
  await writeFile(join(scratch, "parts.html"), '<!doctype html><link rel="icon" href="data:,"><script>new Worker("parts.js", { type: "module" })</script>');
});

async function openParts(options) {
  const opened = await open(`${origin}/scratch/parts.html`, options);
  const worker = opened.page.workers()[0] ?? (await opened.page.waitForEvent("worker"));
  while (!(await worker.evaluate(() => self.parts !== undefined))) await new Promise((resolve) => setTimeout(resolve, 20));
  return { ...opened, worker };
}

test("one user of the device at a time", async () => {
  const { worker, clean, context } = await openParts();
  const told = await worker.evaluate(async () => {
    const { Queue } = self.parts.queue;
    const queue = new Queue();
    const log = [];
    let open;
    const first = queue.take(() => new Promise((resolve) => (open = resolve)));
    const failing = queue.take(async () => {
      log.push("failing");
      throw new Error("no");
    });
    const gone = new AbortController();
    const abandoned = queue.take(async () => log.push("abandoned"), gone.signal).catch((error) => log.push(error.name));
    const last = queue.take(async () => log.push("last"));
    await Promise.resolve();
    gone.abort();
    await abandoned;
    log.push("waiting");
    open();
    await first;
    await failing.catch((error) => log.push(error.message));
    await last;
    // A signal that lives long is let go of.
    const { signal } = new AbortController();
    let listening = 0;
    for (const [method, change] of [["addEventListener", 1], ["removeEventListener", -1]]) {
      const plain = signal[method].bind(signal);
      signal[method] = (...given) => {
        listening += change;
        plain(...given);
      };
    }
    await queue.take(async () => {}, signal);
    await new Promise((resolve) => setTimeout(resolve));
    log.push(`${listening} listen`);
    await queue.close();
    await queue.take(async () => log.push("late")).catch((error) => log.push(`late: ${error.name}`));
    return log;
  });
  assert.deepEqual(told, ["Stopped", "waiting", "failing", "no", "last", "0 listen", "late: Stopped"]);
  clean();
  await context.close();
});

for (const kind of ["OpfsFolder", "MemoryFolder"]) {
  test(`files are made, replaced, listed and removed: ${kind}`, async () => {
    const { worker, clean, context } = await openParts();
    const told = await worker.evaluate(async (kind) => {
      const { MemoryFolder, OpfsFolder, readJson, readText, sizeOf, writeBytes, writeJson } = self.parts.folder;
      const root = kind === "OpfsFolder" ? await OpfsFolder.root("test") : new MemoryFolder();
      const text = (text) => new TextEncoder().encode(text);
      const told = {};
      told.empty = [await root.list(), await root.folders(), await root.open("a"), await root.sub("b").list()];
      const writer = await root.create("runs/one/checkpoint-2/state.json");
      const bytes = text("first, and long");
      writer.write(bytes.subarray(0, 5), 0);
      writer.write(bytes.subarray(5), 5);
      bytes.fill(0); // what was written is a copy
      writer.close();
      writer.close();
      const one = root.sub("runs/one");
      told.first = await readText(one, "checkpoint-2/state.json");
      await writeBytes(one, "checkpoint-2/state.json", text("short"));
      told.replaced = await readText(one, "checkpoint-2/state.json");
      const given_up = await one.create("metrics.jsonl");
      given_up.write(text("half"), 0);
      await writeJson(one, "metrics.jsonl", { step: 1 });
      told.json = [await readJson(one, "metrics.jsonl"), await readJson(one, "checkpoint-2/state.json"), await readJson(one, "none")];
      const reader = await one.open("checkpoint-2/state.json");
      told.reader = [reader.name, reader.size, new TextDecoder().decode(await reader.read(1, 3))];
      await writeBytes(one, "empty", new Uint8Array(0));
      told.listed = [await root.list(), await one.list(), await root.folders(), await one.folders(), await sizeOf(one)];
      const unfinished = await one.create("checkpoint-3/model");
      unfinished.write(text("half"), 0);
      await one.remove("checkpoint-3");
      await one.remove("checkpoint-2/state.json");
      await one.remove("checkpoint-2/none");
      await one.remove("nowhere/none");
      told.removed = await one.list();
      await root.remove("runs");
      told.all = [await root.list(), await root.folders()];
      told.refused = [];
      for (const path of ["../up", "a/../../b", "./a", "a\\b"]) {
        await root.create(path).catch((error) => told.refused.push(error.name));
      }
      return told;
    }, kind);
    assert.deepEqual(told, {
      empty: [[], [], undefined, []],
      first: "first, and long",
      replaced: "short",
      json: [{ step: 1 }, undefined, undefined],
      reader: ["state.json", 5, "ho"],
      listed: [
        ["runs/one/checkpoint-2/state.json", "runs/one/empty", "runs/one/metrics.jsonl"],
        ["checkpoint-2/state.json", "empty", "metrics.jsonl"],
        ["runs"],
        ["checkpoint-2"],
        5 + JSON.stringify({ step: 1 }, undefined, 1).length,
      ],
      removed: ["empty", "metrics.jsonl"],
      all: [[], []],
      refused: ["Input", "Input", "Input", "Input"],
    });
    clean();
    await context.close();
  });
}

test("a file that is replaced is there until the new one is whole", async () => {
  const { page, worker, clean, context } = await openParts();
  const told = await worker.evaluate(async () => {
    const { OpfsFolder, readJson, writeJson } = self.parts.folder;
    const root = await OpfsFolder.root("whole");
    await writeJson(root, "run/job.json", { first: true });
    const writer = await root.create("run/job.json");
    writer.write(new TextEncoder().encode('{"second": tr'), 0);
    const during = [await readJson(root, "run/job.json"), await root.list()];
    writer.write(new TextEncoder().encode("ue}"), 13);
    writer.close();
    const after = [await readJson(root, "run/job.json"), await root.list()];
    const left = await root.create("run/job.json");
    left.write(new TextEncoder().encode("{"), 0);
    return { during, after };
  });
  assert.deepEqual(told, { during: [{ first: true }, ["run/job.json"]], after: [{ second: true }, ["run/job.json"]] });
  // The worker ends in the middle of a file; the next one finds what was there, and can replace it.
  await page.reload();
  const [again] = page.workers();
  const next = await (async () => {
    const worker = again ?? (await page.waitForEvent("worker"));
    while (!(await worker.evaluate(() => self.parts !== undefined))) await new Promise((resolve) => setTimeout(resolve, 20));
    return worker.evaluate(async () => {
      const { OpfsFolder, readJson, writeJson } = self.parts.folder;
      const root = await OpfsFolder.root("whole");
      const found = [await readJson(root, "run/job.json"), await root.list()];
      await writeJson(root, "run/job.json", { third: true });
      const replaced = [await readJson(root, "run/job.json"), await root.list()];
      await root.remove("run/job.json");
      return [found, replaced, await root.list()];
    });
  })();
  assert.deepEqual(next, [[{ second: true }, ["run/job.json"]], [{ third: true }, ["run/job.json"]], []]);
  clean();
  await context.close();
});

test("a full storage is an error that says so, and hurts nothing else", async () => {
  const { page, worker, clean, context } = await openParts();
  await quota(page, 3_000_000);
  const write = (size) =>
    worker.evaluate(async (size) => {
      const { OpfsFolder, readText, writeBytes } = self.parts.folder;
      const root = await OpfsFolder.root("full");
      await writeBytes(root, "small", new TextEncoder().encode("kept"));
      try {
        const writer = await root.create("large");
        for (let at = 0; at < size; at += 1_000_000) writer.write(new Uint8Array(1_000_000), at);
        writer.close();
        return [(await root.open("large")).size];
      } catch (error) {
        const { name, message } = await self.parts.errors.explain(error);
        return [name, message, await readText(root, "small")];
      }
    }, size);
  const [name, message, small] = await write(8_000_000);
  assert.equal(name, "Storage");
  assert.match(message, /storage for this site is full: [\d.]+ (MB|kB|bytes) are used, .* free.*Delete a run/);
  assert.equal(small, "kept");
  await quota(page);
  assert.deepEqual(await write(8_000_000), [8_000_000]);
  clean();
  await context.close();
});

test("a server's files are read by ranges, whole where it has none, again where it fails", async (test) => {
  const contents = Buffer.from(Array.from({ length: 2_000_000 }, (_, at) => (at * 7 + (at >> 8)) & 255));
  const asked = [];
  let failures = 0;
  const server = createServer((request, response) => {
    const path = new URL(request.url, "http://127.0.0.1").pathname;
    asked.push(`${path} ${request.headers.range}`);
    const allow = { "access-control-allow-origin": "*", "access-control-expose-headers": "content-range" };
    const [, first, last] = /bytes=(\d+)-(\d+)/.exec(request.headers.range) ?? [];
    if (path === "/none") return response.writeHead(404, allow).end();
    if (path === "/failing" && (failures += 1) < 3) return response.writeHead(503, allow).end();
    if (path === "/broken") return response.writeHead(503, allow).end();
    if (path === "/empty") return response.writeHead(416, { ...allow, "content-range": "bytes */0" }).end();
    if (path === "/page") return response.writeHead(200, { ...allow, "content-type": "text/html; charset=utf-8" }).end("<!doctype html>");
    if (path === "/whole") return response.writeHead(200, allow).end(contents);
    const end = Math.min(Number(last) + 1, contents.length);
    response.writeHead(206, { ...allow, "content-range": `bytes ${first}-${end - 1}/${contents.length}` });
    response.end(contents.subarray(Number(first), end));
  });
  const address = await listen(test, server);
  const { worker, context } = await openParts({ allow: [/404|503|416/] });
  const read = (path, sized, ...ranges) =>
    worker.evaluate(
      async ([url, sized, ranges]) => {
        const { HttpReader } = self.parts.readers;
        try {
          const reader = sized ? HttpReader.sized("file", url, sized) : await HttpReader.open("file", url);
          if (!reader) return "none";
          const all = [];
          for (const [start, end] of ranges) all.push(Array.from(await reader.read(start, end)));
          return { size: reader.size, all };
        } catch (error) {
          return `${error.name}: ${error.message}`;
        }
      },
      [address + path, sized, ranges],
    );
  const ranges = [[0, 8], [100, 108], [524_280, 524_296], [600_000, 600_010], [1_999_990, 2_000_000], [5, 5]];
  const all = ranges.map(([start, end]) => [...contents.subarray(start, end)]);
  for (const path of ["/ranged", "/whole", "/failing"]) {
    assert.deepEqual(await read(path, undefined, ...ranges), { size: contents.length, all }, path);
  }
  // The first half a megabyte came when the file was opened; two more pieces followed.
  assert.deepEqual(asked.filter((line) => line.startsWith("/ranged")), [
    "/ranged bytes=0-524287",
    "/ranged bytes=524280-1048567",
    "/ranged bytes=1999990-1999999",
  ]);
  assert.equal(asked.filter((line) => line.startsWith("/whole")).length, 1);
  asked.length = 0;
  assert.deepEqual(await read("/ranged", contents.length, [700_000, 1_400_000]), {
    size: contents.length,
    all: [[...contents.subarray(700_000, 1_400_000)]],
  });
  assert.deepEqual(asked, ["/ranged bytes=700000-1399999"]);
  assert.equal(await read("/none"), "none");
  assert.equal(await read("/page"), "none");
  assert.deepEqual(await read("/empty", undefined, [0, 0]), { size: 0, all: [[]] });
  assert.match(await read("/broken"), /^Network: .*503/);
  assert.match(await read("/whole", 17, [0, 8]), /^Network: .*2000000 bytes came, not 17/);
  await context.close();
});

test("zips: what was packed comes out, whoever packed it", async () => {
  const { worker, clean, context } = await openParts();
  const texts = { "run/metrics.jsonl": '{"step":1}\n', "run/checkpoint-1/größe.bin": "x".repeat(100_000), "run/empty": "" };
  const told = await worker.evaluate(
    async ([texts, foreign]) => {
      const { unzip, zip } = self.parts.zip;
      const read = async (blob) => {
        const found = {};
        for await (const { path, stream, size } of unzip(blob)) {
          const pieces = [];
          for await (const piece of stream) pieces.push(piece);
          const text = await new Blob(pieces).text();
          found[path] = new Blob([text]).size === size ? text : `${size} bytes, not ${text.length}`;
        }
        return found;
      };
      const packed = await zip(Object.entries(texts).map(([path, text]) => ({ path, file: new Blob([text]) })));
      const errors = [];
      for (const bad of [new Blob(["no zip"]), packed.slice(0, packed.size - 30), packed.slice(50)]) {
        await read(bad).catch((error) => errors.push(`${error.name}: ${error.message}`));
      }
      const byte = async (blob, at, change) => {
        const bytes = new Uint8Array(await blob.arrayBuffer());
        bytes[at] ^= change;
        return new Blob([bytes]);
      };
      // A bit of a file's contents, and some of a packed file's.
      const other = new Blob([new Uint8Array(foreign)]);
      for (const bad of [await byte(packed, 50, 1), await byte(other, 40, 255)]) {
        await read(bad).catch((error) => errors.push(`${error.name}: ${error.message}`));
      }
      const many = await zip(Array.from({ length: 3 }, (_, n) => ({ path: `${n}`, file: new Blob([new Uint8Array(9e6)]) })));
      const sizes = [];
      for await (const { stream } of unzip(many)) sizes.push((await new Response(stream).blob()).size);
      return { own: await read(packed), foreign: await read(new Blob([new Uint8Array(foreign)])), errors, sizes };
    },
    [texts, [...deflated({ "a\\b.txt": "hello ".repeat(1000), "a/c": "c", "a/folder/": "" })]],
  );
  assert.deepEqual(told.own, texts);
  assert.deepEqual(told.foreign, { "a/b.txt": "hello ".repeat(1000), "a/c": "c" });
  assert.equal(told.errors.length, 5);
  for (const error of told.errors) assert.match(error, /^Input: the \.zip cannot be read: /);
  assert.deepEqual(told.sizes, [9e6, 9e6, 9e6]);
  clean();
  await context.close();
});
