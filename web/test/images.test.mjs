/** Pixels compared with Pillow's, for every kind of image file, in Node. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { loadPixels } from "mmsent/inputs";

import { bytes, makeFixtures } from "./fixtures.mjs";

// Not supported in Node.
const UNREAD = /\.(gif|bmp|avif|tiff)$|^(cmyk|cmyk-black|arithmetic)\.jpg$|^animated\.webp$/;

let made;
before(async () => {
  made = await makeFixtures("images");
});
after(() => made?.remove());

describe("an image in Node", () => {
  test("has Pillow's pixels, in every setting", async () => {
    const different = [];
    for (const [name, wanted] of Object.entries(made.images)) {
      if (UNREAD.test(name) || typeof wanted === "string") continue;
      const content = new Uint8Array(await readFile(join(made.folder, name)));
      for (const [i, settings] of made.settings.entries()) {
        const difference = largest(await loadPixels(content, settings), bytes(wanted[i]));
        if (difference) different.push(`${name} ${settings.resize} ${settings.filter}: ${difference}`);
      }
    }
    assert.deepEqual(different, []);
  });

  test("is refused if Python refuses it or its format is not supported", async () => {
    let refused = 0;
    for (const [name, wanted] of Object.entries(made.images)) {
      if (!UNREAD.test(name) && typeof wanted !== "string") continue;
      const content = new Uint8Array(await readFile(join(made.folder, name)));
      await assert.rejects(loadPixels(content, made.settings[2]), { name: "InputError", message: /^the image (?!.*\[object)/ }, name);
      refused += 1;
    }
    assert.ok(refused > 10);
  });
});

/** The largest difference between two images of the same size. */
function largest(found, wanted) {
  assert.equal(found.length, wanted.length);
  return found.reduce((most, value, i) => Math.max(most, Math.abs(value - wanted[i])), 0);
}
