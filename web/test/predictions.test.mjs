/** Labels and probabilities compared with Python's, in Node: native, in WebAssembly, and in a worker. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { after, before, describe, test } from "node:test";

import { SentimentModel } from "mmsent";

import { makeFixtures } from "./fixtures.mjs";

const WAYS = [{ backend: "native" }, { backend: "wasm" }, { backend: "wasm", worker: true }];
const MODELS = ["light", "clip", "small"];

let made;
before(async () => {
  made = await makeFixtures("predictions");
});
after(() => made?.remove());

/** Open a model for a test, and always close it afterwards. */
async function openFor(context, name, options) {
  const model = await SentimentModel.open(path(name), options);
  context.after(() => model.close());
  return model;
}

const path = (name) => join(made.folder, name);

/** The pairs of a kind: complete, or without a part. */
const pairsOf = (kind) =>
  made.texts.map((text, i) => ({
    text: kind === "image" ? null : text,
    image: kind === "text" ? null : path(made.images[i]),
  }));

for (const options of WAYS) {
  describe(`predictions, ${options.backend}${options.worker ? ", in a worker" : ""}`, () => {
    for (const name of MODELS) {
      test(`of ${name} are Python's`, async (context) => {
        const wanted = made.models[name];
        const model = await openFor(context, `${name}.onnx`, { ...options, threads: 1 });
        const { sha256, labels, optional, image, backend } = model;
        const { predictions, ...description } = wanted;
        assert.deepEqual({ sha256, labels, optional, image }, description);
        assert.equal(backend, options.backend);
        for (const [kind, expected] of Object.entries(predictions)) {
          const found = await model.predictAll(pairsOf(kind));
          for (const [i, { label, probabilities, logits }] of found.entries()) {
            assert.equal(label, expected[i].label);
            for (const [j, name] of labels.entries()) {
              near(probabilities[name], expected[i].probabilities[name], 1e-5);
              near(logits[j], expected[i].logits[name], 1e-4);
            }
          }
        }
      });
    }

    test("do not depend on their batch", async (context) => {
      const model = await openFor(context, "light-int8.onnx", { ...options, threads: 1 });
      const pairs = pairsOf("whole");
      const together = await model.predictAll(pairs);
      const alone = [];
      for (const pair of pairs) alone.push(await model.predict(pair));
      for (const [i, { probabilities }] of alone.entries()) {
        for (const label of model.labels) near(probabilities[label], together[i].probabilities[label], 1e-6);
      }
    });
  });
}

test("int8 has Python's labels except for near ties", async (context) => {
  const model = await openFor(context, "light-int8.onnx", { backend: "wasm" });
  const found = await model.predictAll(pairsOf("whole"));
  for (const [i, wanted] of made.models["light-int8"].predictions.whole.entries()) {
    for (const label of model.labels) near(found[i].probabilities[label], wanted.probabilities[label], 0.02);
  }
});

test("a model is opened from every kind of source, with progress", async (context) => {
  const content = await readFile(path("small.onnx"));
  const server = createServer((_, response) => response.setHeader("content-length", content.length).end(content));
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  context.after(() => server.close());
  const address = `http://127.0.0.1:${server.address().port}/small.onnx`;
  const buffer = new Uint8Array(content).buffer;
  const sources = [path("small.onnx"), pathToFileURL(path("small.onnx")), content, buffer, new Blob([content]), address, new URL(address)];
  for (const worker of [false, true]) {
    for (const source of sources) {
      const seen = [];
      const onProgress = (...progress) => seen.push(progress);
      const model = await SentimentModel.open(source, { worker, backend: "wasm", onProgress });
      const image = await readFile(path(made.images[0]));
      const { label } = await model.predict({ text: "fun", image });
      assert.ok(model.labels.includes(label));
      assert.ok(image.equals(await readFile(path(made.images[0]))), "the caller's bytes do not change");
      assert.ok(content.equals(await readFile(path("small.onnx"))), "the caller's bytes do not change");
      if (`${source}`.startsWith("http")) assert.deepEqual(seen.at(-1), [content.length, content.length]);
      await model.close();
    }
  }
});

test("tokenized and decoded inputs give the same logits", async (context) => {
  const model = await openFor(context, "light.onnx");
  const [pair] = pairsOf("whole");
  const { ids, mask } = await model.encode(pair.text);
  assert.equal(ids.length, mask.length);
  const [logits] = await model.run([{ ids, pixels: await model.pixels(pair.image) }]);
  assert.deepEqual(logits, (await model.predict(pair)).logits);
  const grey = await model.pixels(null);
  assert.ok(grey.every((value) => value === 127));
});

for (const worker of [false, true]) {
  describe(`a pair that can't be predicted${worker ? ", in a worker," : ""} is reported`, () => {
    let strict;
    before(async () => {
      strict = await SentimentModel.open(path("strict.onnx"), { worker });
    });
    after(() => strict?.close());

    const image = () => path(made.images[0]);
    const CASES = [
      [() => ({ text: "fun" }), /^the pair has no image, and this light model was not trained for that; use one trained with --modality text/],
      [() => ({ image: image() }), /^the pair has no text, and/],
      [() => ({}), /^the pair has neither text nor image$/],
      [() => ({ text: 7, image: image() }), /^texts that can't be used:\n {2}the text must be a string, or null if it is missing, not number/],
      [() => ({ text: "a\ud800b", image: image() }), /the text contains '\\ud800', which is not a character/],
      [() => ({ text: "fun", image: 7 }), /^images that can't be used:\n {2}image: the image must be a file, its bytes, or null if it is missing, not number/],
      [() => ({ text: "fun", image: "none.jpg" }), /\n {2}none.jpg: the image does not exist/],
      [() => ({ text: "fun", image: new Uint8Array() }), /image: the image can't be decoded \(the file is empty\)/],
      [() => ({ text: "fun", image: new TextEncoder().encode("<html>") }), /image: the image can't be decoded \(it is not one of JPEG, PNG/],
    ];
    for (const [pair, message] of CASES) {
      test(`${message}`, () => assert.rejects(strict.predict(pair()), { name: "InputError", message }));
    }

    test("every bad row", async () => {
      const pairs = [{ text: "fun", image: new Uint8Array(9) }, { text: "fun", image: image() }, { text: "fun", image: "x.jpg" }];
      const message = /row 0: the image can't be decoded[^]*row 2: x\.jpg: the image does not exist/;
      await assert.rejects(strict.predictAll(pairs), { name: "InputError", message });
      const incomplete = [{ text: "fun", image: image() }, { text: "fun" }];
      await assert.rejects(strict.predictAll(incomplete), { name: "InputError", message: /^row 1: the pair has no image/ });
    });
  });
}

test("a closed model says so", async () => {
  const model = await SentimentModel.open(path("small.onnx"), { worker: true });
  await model.close();
  await assert.rejects(model.predict({ text: "fun" }), /the model is closed/);
});

function near(found, wanted, tolerance) {
  assert.ok(Math.abs(found - wanted) <= tolerance, `${found} is not ${wanted}`);
}
