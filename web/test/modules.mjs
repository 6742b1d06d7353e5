/** The package in headless Chromium, without a bundler: an import map locates its modules. */

import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize, resolve } from "node:path";

import { openBrowser } from "./service.mjs";

const PACKAGE = resolve(import.meta.dirname, "..");
const TYPES = { ".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm" };
const IMPORTS = {
  "#platform": "/package/src/platform/browser.js",
  mmsent: "/package/src/index.js",
  "mmsent/inputs": "/package/src/inputs/index.js",
  "onnxruntime-web/wasm": "/package/node_modules/onnxruntime-web/dist/ort.wasm.bundle.min.mjs",
  "@huggingface/tokenizers": "/package/node_modules/@huggingface/tokenizers/dist/tokenizers.min.mjs",
};
const PAGE = `<!doctype html><meta charset="utf-8"><script type="importmap">${JSON.stringify({ imports: IMPORTS })}</script>`;
const ISOLATED = { "cross-origin-embedder-policy": "require-corp", "cross-origin-opener-policy": "same-origin" };

/**
 * A page that can import the package, and fetch the files of each folder from /NAME/.
 * @param {Record<string, string>} folders
 * @param {{isolated?: boolean}} [options] whether the page may use several threads
 */
export async function openPage(folders, { isolated = false } = {}) {
  const roots = { ...folders, package: PACKAGE };
  const server = createServer(async ({ url }, response) => {
    const [, root, ...rest] = decodeURIComponent(new URL(url, "http://host").pathname).split("/");
    const path = join(roots[root] ?? "", normalize(rest.join("/")));
    try {
      const content = root ? await readFile(path) : PAGE;
      const type = root ? (TYPES[extname(path)] ?? "application/octet-stream") : "text/html";
      response.writeHead(200, { "content-type": type, ...(isolated ? ISOLATED : {}) }).end(content);
    } catch {
      response.writeHead(404).end();
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const browser = await openBrowser();
  const close = async () => {
    await browser.close();
    server.closeAllConnections();
    server.close();
  };
  try {
    const page = await browser.newPage();
    await page.goto(`http://127.0.0.1:${server.address().port}/`);
    return { page, browser, close };
  } catch (error) {
    await close();
    throw error;
  }
}
