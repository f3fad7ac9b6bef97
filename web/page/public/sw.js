// Keeps the page's own files, so that it works without a network. The build fills in the list and its version.
const CACHE = `wgpu-sft ${"VERSION"}`;
const FILES = [/* FILES */];

self.addEventListener("install", (event) => {
  // Not from the HTTP cache: files of two versions must not mix.
  const fresh = FILES.map((path) => new Request(path, { cache: "reload" }));
  // Without skipWaiting: while a tab of the version before is open, its files stay, as a worker that is started again needs them.
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(fresh)));
});

self.addEventListener("activate", (event) => {
  const ours = (name) => name.startsWith("wgpu-sft ") && name !== CACHE;
  const clean = async () => {
    for (const name of (await caches.keys()).filter(ours)) await caches.delete(name);
    await self.clients.claim();
  };
  event.waitUntil(clean());
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method !== "GET" || new URL(request.url).origin !== self.location.origin) return;
  event.respondWith(answer(request));
});

// Names of scripts and styles have a hash in them, so what is kept is right; the page itself is asked for anew where there is a network.
async function answer(request) {
  const cache = await caches.open(CACHE);
  const kept = await cache.match(request, { ignoreSearch: true });
  if (request.mode === "navigate") {
    return fetch(request).catch(() => kept ?? cache.match("./").then((page) => page ?? Response.error()));
  }
  if (!kept) return fetch(request);
  return request.headers.has("range") ? part(kept, request.headers.get("range")) : kept;
}

// A kept file is whole; who asks for a part gets that.
async function part(response, range) {
  const bytes = await response.arrayBuffer();
  const found = /^bytes=(\d*)-(\d*)$/.exec(range);
  if (!found || (!found[1] && !found[2])) return new Response(bytes, { headers: response.headers });
  const size = bytes.byteLength;
  const start = found[1] ? Number(found[1]) : Math.max(0, size - Number(found[2]));
  const end = found[1] && found[2] ? Math.min(size, Number(found[2]) + 1) : size;
  if (start >= end) return new Response(null, { status: 416, headers: { "content-range": `bytes */${size}` } });
  return new Response(bytes.slice(start, end), {
    status: 206,
    headers: {
      "content-type": "application/octet-stream",
      "content-length": String(end - start),
      "content-range": `bytes ${start}-${end - 1}/${size}`,
    },
  });
}
