/**
 * The first visit to a site, from a file server on this machine that compresses with gzip:
 *
 *     node bench/first-visit.mjs SITE [IMAGE]
 *
 * Bytes over the network, and seconds from the address to the label, in headless Chromium with an
 * empty cache: the median of VISITS visits, after one that fills the server's cache.
 */

import { openBrowser } from "../test/service.mjs";
import { ISOLATED, serveFolder } from "../test/static.mjs";

const VISITS = 5;
const [site, image] = process.argv.slice(2);
if (!site) throw new Error("usage: node bench/first-visit.mjs SITE [IMAGE]");

const browser = await openBrowser();
for (const [name, headers] of [["one thread", {}], ["several threads", ISOLATED]]) {
  const server = await serveFolder(site, { headers, compress: true });
  const visits = [];
  for (let i = 0; i <= VISITS; i++) visits.push(await visit(server));
  const of = (key) => visits.slice(1).map((found) => found[key]).sort((a, b) => a - b);
  const middle = (key) => of(key)[VISITS >> 1];
  console.log(
    `${name}: ${megabytes(middle("label"))} MB to the first label, ${megabytes(middle("all"))} MB with the files for offline use; ` +
      `label after ${middle("seconds").toFixed(2)} s (${of("seconds").map((one) => one.toFixed(2)).join(", ")})`,
  );
  await server.stop();
}
await browser.close();

async function visit(server) {
  const context = await browser.newContext();
  const page = await context.newPage();
  const sent = server.sent();
  const begin = performance.now();
  await page.goto(server.url);
  await page.getByLabel("Text").fill("what a day");
  if (image) await page.getByLabel("Image", { exact: true }).setInputFiles(image);
  await page.getByRole("button", { name: "Predict" }).click();
  await page.locator("#prediction .label").waitFor();
  const seconds = (performance.now() - begin) / 1000;
  const label = server.sent() - sent;
  await page.evaluate(async () => {
    await navigator.serviceWorker.ready;
  });
  const all = server.sent() - sent;
  await context.close();
  return { seconds, label, all };
}

function megabytes(bytes) {
  return (bytes / 1e6).toFixed(2);
}
