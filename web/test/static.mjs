/** A plain file server, like that of any host, and sites on it. */

import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { promisify } from "node:util";
import { gzip } from "node:zlib";

import { python } from "./service.mjs";

const TYPES = {
  ".css": "text/css",
  ".html": "text/html",
  ".js": "text/javascript",
  ".json": "application/json",
  ".svg": "image/svg+xml",
  ".wasm": "application/wasm",
};

/** Headers that let a page compute on several threads. */
export const ISOLATED = {
  "cross-origin-embedder-policy": "require-corp",
  "cross-origin-opener-policy": "same-origin",
};

/** Write a site with a bundle, as a user would. */
export async function writeSite(site, bundle, ...options) {
  await python("-m", "mmsent", "export", "web", site, "--model", bundle, ...options);
  return site;
}

/**
 * Serve a folder: its URL, the number of bytes sent so far, and a function that stops it. `compress`:
 * with gzip, as hosts do.
 */
export async function serveFolder(folder, { headers = {}, compress = false } = {}) {
  const pack = promisify(gzip);
  const packed = new Map();
  const read = async (file) => {
    if (!compress) return readFile(file);
    if (!packed.has(file)) packed.set(file, await pack(await readFile(file)));
    return packed.get(file);
  };
  const server = createServer(async (request, response) => {
    const path = decodeURIComponent(new URL(request.url, "http://host").pathname);
    const file = join(folder, normalize(path.endsWith("/") ? `${path}index.html` : path));
    try {
      const content = await read(file);
      const type = TYPES[extname(file)] ?? "application/octet-stream";
      const coding = compress ? { "content-encoding": "gzip" } : {};
      response.writeHead(200, { "content-type": type, "cache-control": "max-age=600", ...coding, ...headers });
      response.end(content);
    } catch {
      response.writeHead(404).end();
    }
  });
  const sockets = new Set();
  server.on("connection", (socket) => sockets.add(socket));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const sent = () => [...sockets].reduce((sum, { bytesWritten }) => sum + bytesWritten, 0);
  const stop = async () => {
    server.closeAllConnections();
    await promisify(server.close.bind(server))();
  };
  return { url: `http://127.0.0.1:${server.address().port}`, sent, stop };
}
