/**
 * How exactly explanations in JavaScript agree with Python's on real pairs:
 *
 *     node bench/explanations.mjs DATA MODEL... [--pairs 50] [--backend native|wasm]
 *
 * DATA is a folder in the task's layout; its first unlabelled pairs are explained in Node. For each
 * bundle: the largest difference of a value, and how many pairs have other words, labels or runs.
 */

import { resolve } from "node:path";
import { parseArgs } from "node:util";

import { SentimentModel } from "../src/index.js";
import { python } from "../test/service.mjs";

const EXPLAIN = `
import json, sys
from pathlib import Path
from mmsent import SentimentModel
from mmsent.data.dataset import open_dataset
from mmsent.data.folder import TEST_LIST, image_file
data, path, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
model = SentimentModel(path, threads=1, device="cpu")
for row, _ in zip(open_dataset(data / TEST_LIST).rows(), range(count)):
    image = str(image_file(data, row.guid))
    explanation = model.explain(row.read_text(), image)
    print(json.dumps({"image": image, "explanation": explanation.to_dict()}))`;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { pairs: { type: "string", default: "50" }, backend: { type: "string" } },
});
const EXACT = ["start", "end", "read", "runs", "budget"];
const [data, ...models] = positionals.map((path) => resolve(path));
if (!models.length) throw new Error("usage: node bench/explanations.mjs DATA MODEL...");

for (const path of models) {
  const lines = (await python("-c", EXPLAIN, data, path, values.pairs)).trim().split("\n");
  const model = await SentimentModel.open(path, { backend: values.backend, threads: 1 });
  let largest = 0;
  let others = 0;
  const begin = performance.now();
  for (const { image, explanation } of lines.map((line) => JSON.parse(line))) {
    const found = await model.explain({ text: explanation.text, image: image });
    const [one, other] = [split(found), split(explanation)];
    if (JSON.stringify(one.texts) !== JSON.stringify(other.texts)) others += 1;
    largest = Math.max(largest, ...other.numbers.map((value, i) => Math.abs(value - one.numbers[i])));
  }
  const seconds = (performance.now() - begin) / 1000 / lines.length;
  console.log(
    `${path}, ${model.backend}: ${lines.length} pairs, ${others} with different words or labels; ` +
      `the largest difference of a value is ${largest.toPrecision(2)}; ${seconds.toFixed(2)} s per pair`,
  );
  await model.close();
}

/** The values in an explanation, and everything else. */
function split(explanation) {
  const numbers = [];
  const texts = JSON.parse(
    JSON.stringify(explanation, (key, value) => {
      if (typeof value !== "number" || EXACT.includes(key)) return value;
      numbers.push(value);
      return null;
    }),
  );
  return { numbers, texts };
}
