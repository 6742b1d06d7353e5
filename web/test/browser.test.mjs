/** The package in headless Chromium: Pillow's pixels by the browser's own decoders, and Python's labels. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { bytes, makeFixtures } from "./fixtures.mjs";
import { openPage } from "./modules.mjs";

// How much pixels may differ from Pillow's. A browser scales 16 bits differently, rounds black ink
// differently and stores WebP's colours multiplied by alpha. It reads other colours from an AVIF with
// alpha or animation, shows the first image of an animated PNG instead of the one before it, and shows
// white where a GIF's first image does not reach.
const EXCEPTIONS = {
  "16-bit.png": 2,
  "alpha.avif": 18,
  "animated-later.png": 255,
  "animated.avif": 20,
  "cmyk-black.jpg": 2,
  "lossless-alpha.webp": 2,
  "lossy-alpha.webp": 2,
  "part.gif": 33,
};

let images, opened;
before(async () => {
  images = await makeFixtures("images");
  opened = await openPage({ files: images.folder });
});
after(async () => {
  await opened?.close();
  await images?.remove();
});

/** The browser's pixels of an image file in base64, for each setting, or the error. */
const load = (name) =>
  opened.page.evaluate(
    async ([name, settings]) => {
      const { loadPixels } = await import("mmsent/inputs");
      const content = new Uint8Array(await (await fetch(`/files/${name}`)).arrayBuffer());
      try {
        const found = [];
        for (const one of settings) found.push(await loadPixels(content, one));
        return found.map((pixels) => btoa(String.fromCharCode(...pixels)));
      } catch (error) {
        return `${error.name}: ${error.message}`;
      }
    },
    [name, images.settings],
  );

describe("an image in Chromium", () => {
  test("has Pillow's pixels, with the listed exceptions", async () => {
    const different = {};
    for (const [name, wanted] of Object.entries(images.images)) {
      if (typeof wanted === "string" || name.endsWith(".tiff")) continue;
      const found = await load(name);
      const difference =
        typeof found === "string" ? found : Math.max(...found.map((pixels, i) => largest(bytes(pixels), bytes(wanted[i]))));
      if (difference) different[name] = difference;
    }
    assert.deepEqual(different, EXCEPTIONS);
  });

  test("is refused if Python refuses it or browsers don't support it", async () => {
    for (const [name, wanted] of Object.entries(images.images)) {
      if (typeof wanted !== "string" && !name.endsWith(".tiff")) continue;
      assert.match(String(await load(name)).slice(0, 200), /^InputError: the image /, name);
    }
  });
});

/** The largest difference between two images of the same size. */
function largest(found, wanted) {
  assert.equal(found.length, wanted.length);
  return found.reduce((most, value, i) => Math.max(most, Math.abs(value - wanted[i])), 0);
}

describe("predictions in Chromium", () => {
  let made;
  before(async () => {
    made = await makeFixtures("predictions");
  });
  after(() => made?.remove());

  for (const isolated of [false, true]) {
    test(`are Python's, on ${isolated ? "several threads" : "one thread"}`, async () => {
      const { page, close } = await openPage({ files: made.folder }, { isolated });
      try {
        assert.equal(await page.evaluate(() => crossOriginIsolated), isolated);
        const found = await page.evaluate(
          async ({ texts, images }) => {
            const { SentimentModel } = await import("mmsent");
            const model = await SentimentModel.open("/files/light.onnx", { worker: false });
            const blobs = await Promise.all(images.map(async (image) => (await fetch(`/files/${image}`)).blob()));
            const predictions = await model.predictAll(texts.map((text, i) => ({ text, image: blobs[i] })));
            await model.close();
            return predictions.map(({ label, probabilities }) => ({ label, probabilities }));
          },
          { texts: made.texts, images: made.images },
        );
        for (const [i, wanted] of made.models.light.predictions.whole.entries()) {
          assert.equal(found[i].label, wanted.label);
          for (const [label, share] of Object.entries(wanted.probabilities)) {
            assert.ok(Math.abs(found[i].probabilities[label] - share) <= 1e-5, `${label} of pair ${i}`);
          }
        }
      } finally {
        await close();
      }
    });
  }
});
