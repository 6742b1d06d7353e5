/**
 * How exactly JavaScript agrees with Python on real pairs, and how fast both are:
 *
 *     node bench/exactness.mjs DATA MODEL... [--pairs N] [--ways native,wasm,chromium] [--threads 1]
 *
 * DATA is a folder in the task's layout. For each bundle and way to run it: how many labels, texts'
 * token ids and images' pixels differ, the largest differences of a probability and a logit, and the
 * pairs a second, from files to labels.
 */

import { createHash } from "node:crypto";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";

import { SentimentModel } from "mmsent";

import { openPage } from "../test/modules.mjs";
import { python } from "../test/service.mjs";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    pairs: { type: "string", default: "1000000" },
    ways: { type: "string", default: "native,wasm,chromium" },
    threads: { type: "string", default: "1" },
  },
});
const [data, ...models] = positionals.map((path) => resolve(path));
if (!models.length) throw new Error("usage: node bench/exactness.mjs DATA MODEL...");

const CHUNK = 64;
const threads = Number(values.threads);

const WAYS = {
  native: (path, reference) => inNode(path, reference, "native"),
  wasm: (path, reference) => inNode(path, reference, "wasm"),
  chromium: inChromium,
};

console.log("| bundle | way | pairs | labels | probability | logit | texts of | pixels | pairs/s |");
console.log("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
for (const path of models) {
  const reference = JSON.parse(await python(join(import.meta.dirname, "reference.py"), data, path, values.pairs, values.threads));
  report(path, "python", reference, reference);
  for (const way of values.ways.split(",")) report(path, way, reference, await WAYS[way](path, reference));
}

async function inNode(path, { texts, images }, backend) {
  const model = await SentimentModel.open(path, { backend, threads });
  const ids = [];
  for (const text of texts) ids.push((await model.encode(text)).ids);
  const pixels = [];
  for (const image of images) pixels.push(sha256(await model.pixels(join(data, image))));
  const begin = performance.now();
  const predictions = await model.predictAll(images.map((image, i) => ({ text: texts[i], image: join(data, image) })));
  const seconds = (performance.now() - begin) / 1000;
  await model.close();
  return { ids, pixels, predictions, seconds };
}

async function inChromium(path, { texts, images }) {
  const { page, close } = await openPage({ files: data, models: resolve(path, "..") }, { isolated: threads > 1 });
  try {
    await page.evaluate(async ([address, threads]) => {
      const { SentimentModel } = await import("mmsent");
      globalThis.model = await SentimentModel.open(address, { worker: false, threads });
      globalThis.load = (path) => fetch(`/files/${path}`).then((response) => response.blob());
    }, [`/models/${path.slice(resolve(path, "..").length + 1)}`, threads]);
    const ids = await page.evaluate(async (texts) => {
      const found = [];
      for (const text of texts) found.push((await globalThis.model.encode(text)).ids);
      return found;
    }, texts);
    const pixels = [];
    const predictions = [];
    let seconds = 0;
    for (let start = 0; start < images.length; start += CHUNK) {
      const chunk = images.slice(start, start + CHUNK).map((image, i) => ({ text: texts[start + i], image }));
      const found = await page.evaluate(predictChunk, chunk);
      pixels.push(...found.pixels);
      predictions.push(...found.predictions);
      seconds += found.seconds;
    }
    return { ids, pixels, predictions, seconds };
  } finally {
    await close();
  }
}

/** Runs in the page. */
async function predictChunk(chunk) {
  const { model, load } = globalThis;
  const pairs = [];
  for (const { text, image } of chunk) pairs.push({ text, image: await load(image) });
  const pixels = [];
  for (const { image } of pairs) {
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", await model.pixels(image)));
    pixels.push(Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join(""));
  }
  const begin = performance.now();
  const predictions = await model.predictAll(pairs);
  const seconds = (performance.now() - begin) / 1000;
  return {
    pixels,
    seconds,
    predictions: predictions.map(({ label, probabilities, logits }) => ({ label, probabilities, logits: [...logits] })),
  };
}

function report(path, way, reference, { ids, pixels, predictions, seconds }) {
  const { labels } = reference;
  let [changed, probability, logit] = [0, 0, 0];
  for (const [i, wanted] of reference.predictions.entries()) {
    const found = predictions[i];
    changed += Number(found.label !== wanted.label);
    for (const [j, label] of labels.entries()) {
      probability = Math.max(probability, Math.abs(found.probabilities[label] - wanted.probabilities[label]));
      logit = Math.max(logit, Math.abs((found.logits[j] ?? found.logits[label]) - wanted.logits[label]));
    }
  }
  const texts = reference.ids.filter((wanted, i) => `${wanted}` !== `${ids[i]}`).length;
  const images = reference.pixels.filter((wanted, i) => wanted !== pixels[i]).length;
  const cells = [
    path.split("/").at(-1), way, predictions.length, changed, probability.toExponential(1), logit.toExponential(1),
    `${texts} of ${ids.length}`, `${images} of ${pixels.length}`, (predictions.length / seconds).toFixed(1),
  ]; // prettier-ignore
  console.log(`| ${cells.join(" | ")} |`);
}

function sha256(bytes) {
  return createHash("sha256").update(bytes).digest("hex");
}
