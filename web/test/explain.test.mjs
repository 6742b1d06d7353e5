/** Explanations compared with Python's: the same words, and values to 1e-4. */

import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { SentimentModel } from "../src/index.js";
import { explainPair } from "../src/predict/explain/occlusion.js";
import { findWords, group, without } from "../src/predict/explain/words.js";
import { close } from "./close.mjs";
import { python, writeSmallBundle } from "./service.mjs";

const TEXTS = [
  "a fun day\nno rain",
  "",
  "   ",
  "fun \u{1f600}\u{1f600}\u200d\u{1f327}\ufe0f rain\u3000\u96e8\u306e\u65e5 fun!",
  " leading and trailing \ufeff white\x1cspace \x85 ",
  "rain ".repeat(300),
  "\u6f22\u5b57".repeat(90),
  "fun ".repeat(60) + "e\u0301\u200d x\u{20000}y",
];
const OPTIONS = [{}, { grid: 3 }, { budget: 8 }, { grid: 8, budget: 40 }, { grid: 1, budget: 20 }];

/** Python's explanations of generated pairs: see `cases`. */
const EXPLAIN = `
import json, sys
import numpy as np
from mmsent import SentimentModel
from mmsent.predict.explain.occlusion import explain_pair
path, cases, output = sys.argv[1:]
model = SentimentModel(path, threads=1)
size = model.info.image.size
found = []
for case in json.load(open(cases)):
    pixels = None
    if case["seed"] is not None:
        numbers = np.arange(size * size * 3, dtype=np.int64)
        pixels = ((numbers * (case["seed"] + 7) // 5 + numbers // (3 * size)) % 256).astype(np.uint8)
        pixels = pixels.reshape(size, size, 3)
    how = {"image": model.info.image, "optional": model.info.optional}
    found.append(explain_pair(model, case["text"], pixels, **how, **case["options"]).to_dict())
json.dump(found, open(output, "w"))`;

let folder;
before(async () => (folder = await mkdtemp(join(tmpdir(), "mmsent-explain-"))));
after(() => rm(folder, { recursive: true }));

/** The pixels that the program above generates from a seed. */
function draw(seed, size) {
  const at = (place) => (Math.floor((place * (seed + 7)) / 5) + Math.floor(place / (3 * size))) % 256;
  return Uint8Array.from({ length: 3 * size * size }, (_, place) => at(place));
}

async function compare(bundle, cases) {
  const [given, output] = [join(folder, "cases.json"), join(folder, "found.json")];
  await writeFile(given, JSON.stringify(cases));
  await python("-c", EXPLAIN, bundle, given, output);
  const wanted = JSON.parse(await readFile(output, "utf8"));
  const model = await SentimentModel.open(bundle);
  for (const [place, { text, seed, options }] of cases.entries()) {
    const pixels = seed === null ? null : draw(seed, model.image.size);
    const found = await explainPair(model, text, pixels, options);
    assert.deepEqual(Object.keys(found), Object.keys(wanted[place]));
    close(found, wanted[place], `pair ${place}`);
  }
}

test("an explanation is Python's, whatever the options", async () => {
  const bundle = await writeSmallBundle(folder, "small", ["text", "image"]);
  const cases = TEXTS.flatMap((text, place) =>
    OPTIONS.flatMap((options) => [place, null].map((seed) => ({ text, seed, options }))),
  );
  await compare(bundle, cases);
});

test("words, and texts without some of them, are Python's", async () => {
  const program = `
import json, sys
from mmsent.predict.explain.words import find_words, group, without
found = []
for text in json.loads(sys.argv[1]):
    words = find_words(text)
    groups = group(words, min(5, len(words)))
    texts = [text[word.start:word.end] for word in words]
    found.append([texts, groups, [without(text, words, *places) for places in groups]])
print(json.dumps(found))`;
  const wanted = JSON.parse(await python("-c", program, JSON.stringify(TEXTS)));
  TEXTS.forEach((text, place) => {
    const words = findWords(text);
    const groups = group(words.length, Math.min(5, words.length));
    const texts = words.map(({ start, end }) => text.slice(start, end));
    assert.deepEqual([texts, groups, groups.map(([first, last]) => without(text, words, first, last))], wanted[place]);
  });
});

test("an explanation is stopped by its signal, and reports its progress", async () => {
  const model = await SentimentModel.open(await writeSmallBundle(folder, "small", ["text", "image"]));
  const told = [];
  const ends = new AbortController();
  const onProgress = (done, total) => {
    told.push([done, total]);
    if (told.length === 2) ends.abort();
  };
  const pixels = draw(1, model.image.size);
  await assert.rejects(explainPair(model, "fun rain", pixels, { signal: ends.signal, onProgress }), { name: "AbortError" });
  assert.deepEqual(told, [[8, 55], [16, 55]]);
});

test("options out of range are refused", async () => {
  const model = await SentimentModel.open(await writeSmallBundle(folder, "small", []));
  for (const options of [{ grid: 0 }, { grid: 9 }, { grid: 1.5 }, { budget: 7 }]) {
    await assert.rejects(explainPair(model, "fun", null, options), /must be/);
  }
});
