/**
 * The site without a network. The cache contains every file of an export, by its path and SHA-256:
 * after a new export, only changed files are downloaded, and no page gets files of two exports.
 *
 * It adds headers that a plain file server does not send, so that from the second visit on the page
 * can compute on several threads, and the worker's requests are as restricted as the page's.
 */

/**
 * The SHA-256 of each file, base64, by its path; `mmsent-export web` writes them here.
 * @type {Record<string, string>}
 */
const FILES = {};
const POLICY = "";

const scope = /** @type {ServiceWorkerGlobalScope} */ (/** @type {unknown} */ (self));
const ROOT = scope.registration.scope;
const CACHE = `mmsent ${ROOT}`;
const HEADERS = {
  "content-security-policy": POLICY,
  "cross-origin-embedder-policy": "require-corp",
  "cross-origin-opener-policy": "same-origin",
};

/** The cache key of each file, by its address. */
const KEYS = new Map(
  Object.entries(FILES).map(([path, digest]) => [
    new URL(path, ROOT).href,
    new URL(`${path}?sha256=${encodeURIComponent(digest)}`, ROOT).href,
  ]),
);

scope.addEventListener("install", (event) => event.waitUntil(fill().then(() => scope.skipWaiting())));
scope.addEventListener("activate", (event) => event.waitUntil(sweep().then(() => scope.clients.claim())));
scope.addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  url.search = url.hash = "";
  const key = KEYS.get(url.href === ROOT ? new URL("index.html", ROOT).href : url.href);
  if (request.method === "GET" && key) event.respondWith(answer(key, request));
});

/** Download the files that are not cached. */
async function fill() {
  const cache = await caches.open(CACHE);
  for (const [path, digest] of Object.entries(FILES)) {
    const address = new URL(path, ROOT).href;
    const key = KEYS.get(address) ?? address;
    if (await cache.match(key)) continue;
    const found = await load(address, digest);
    const type = found.headers.get("content-type") ?? "application/octet-stream";
    await cache.put(key, new Response(found.body, { headers: { ...HEADERS, "content-type": type } }));
  }
}

/**
 * Download a file; the browser's own copy, which may be from an older export, is tried first.
 * @param {string} address
 * @param {string} digest
 */
async function load(address, digest) {
  const integrity = `sha256-${digest}`;
  const found = await fetch(address, { integrity }).catch(() => fetch(address, { integrity, cache: "reload" }));
  if (!found.ok) throw new Error(`${address}: ${found.status}`);
  return found;
}

/** Delete the files of earlier exports. */
async function sweep() {
  const cache = await caches.open(CACHE);
  const kept = new Set(KEYS.values());
  for (const { url } of await cache.keys()) if (!kept.has(url)) await cache.delete(url);
}

/**
 * @param {string} key
 * @param {Request} request
 */
async function answer(key, request) {
  const cache = await caches.open(CACHE);
  return (await cache.match(key)) ?? fetch(request);
}
