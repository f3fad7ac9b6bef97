// node scripts/serve.mjs FOLDER [PORT]: serve a folder of static files on 127.0.0.1, and print where.
// WebGPU and storage exist in secure contexts only; 127.0.0.1 is one, a file:// page is not.
import { createReadStream, statSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { dirname, extname, join } from "node:path";
import { pathToFileURL } from "node:url";

const TYPES = {
  ".css": "text/css; charset=utf-8",
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".json": "application/json",
  ".jsonl": "text/plain; charset=utf-8",
  ".md": "text/plain; charset=utf-8",
  ".mjs": "text/javascript; charset=utf-8",
  ".png": "image/png",
  ".svg": "image/svg+xml",
  ".toml": "text/plain; charset=utf-8",
  ".wasm": "application/wasm",
  ".webmanifest": "application/manifest+json",
};

const stat = (path) => statSync(path, { throwIfNoEntry: false });

// The part of a file that a Range header asks for, or all of it; undefined where there is no such part.
function part(header, size) {
  const [, first, last] = /^bytes=(\d*)-(\d*)$/.exec(header ?? "") ?? [];
  if (!first && !last) return { start: 0, end: size - 1, whole: true };
  const start = first ? Number(first) : Math.max(0, size - Number(last));
  const end = first && last ? Math.min(Number(last), size - 1) : size - 1;
  return start <= end ? { start, end } : undefined;
}

// Serve `mounts`, { "/prefix/": folder }, the first that fits. `edit(pathname, text)` may give a script another text; `uploads`,
// { "/prefix/": folder }, take PUT requests. Gives { origin, close() }.
export async function serve(mounts, { port = 0, edit, uploads = {} } = {}) {
  const find = (all, pathname) => {
    const prefix = Object.keys(all).find((prefix) => pathname.startsWith(prefix));
    return prefix && join(all[prefix], pathname.slice(prefix.length));
  };
  async function answer(request, response) {
    const pathname = decodeURIComponent(new URL(request.url, "http://127.0.0.1").pathname);
    if (pathname.split("/").includes("..")) return response.writeHead(400).end();
    if (request.method === "PUT") {
      const path = find(uploads, pathname);
      if (!path) return response.writeHead(403).end();
      await mkdir(dirname(path), { recursive: true });
      await writeFile(path, request);
      return response.writeHead(200, { "content-type": TYPES[".md"] }).end("kept");
    }
    let path = find(mounts, pathname);
    if (path && stat(path)?.isDirectory() && pathname.endsWith("/")) path = join(path, "index.html");
    if (!path || !stat(path)?.isFile()) return response.writeHead(404).end();
    const headers = { "content-type": TYPES[extname(path)] ?? "application/octet-stream", "cache-control": "no-cache" };
    if (edit && extname(path) === ".js") {
      return response.writeHead(200, headers).end(edit(pathname, await readFile(path, "utf8")));
    }
    const { size } = stat(path);
    const range = part(request.headers.range, size);
    if (!range) return response.writeHead(416, { "content-range": `bytes */${size}` }).end();
    Object.assign(headers, { "accept-ranges": "bytes", "content-length": range.end - range.start + 1 });
    if (!range.whole) headers["content-range"] = `bytes ${range.start}-${range.end}/${size}`;
    response.writeHead(range.whole ? 200 : 206, headers);
    if (request.method === "HEAD" || size === 0) return response.end();
    createReadStream(path, range).pipe(response);
  }
  const server = createServer((request, response) =>
    answer(request, response).catch((error) => response.writeHead(500).end(String(error))),
  );
  await new Promise((resolve, reject) => server.once("error", reject).listen(port, "127.0.0.1", resolve));
  return {
    origin: `http://127.0.0.1:${server.address().port}`,
    close: () => {
      server.closeAllConnections();
      return new Promise((resolve) => server.close(resolve));
    },
  };
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [folder, port = "8080"] = process.argv.slice(2);
  if (!stat(join(folder ?? "", "index.html"))) {
    console.error(`${folder}: no index.html`);
    process.exit(2);
  }
  const { origin } = await serve({ "/": folder }, { port: Number(port) });
  console.log(`${origin}/  (Ctrl-C ends it)`);
}
