/** Token ids compared with the Rust library's, for each kind of tokenizer. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { decodeText, readTokenizer } from "mmsent/inputs";

import { bytes, makeFixtures } from "./fixtures.mjs";

const KINDS = ["light", "light by characters", "reference", "clip", "uncased", "cased"];

const SWEPT = ["light by characters", "clip", "uncased"];
// A vowel sign of Dives Akuru, a script of the Maldives until 1800: Rust's tables are older than it.
const DECOMPOSED = "\u{11938}";

let made;
before(async () => {
  made = await makeFixtures("tokens");
});
after(() => made?.remove());

for (const name of KINDS) {
  describe(`the tokenizer "${name}"`, () => {
    const open = async (length) => readTokenizer(await readFile(join(made.folder, `${name}.json`), "utf-8"), length);

    test("tokenizes texts as in Python", async () => {
      const tokenize = await open(1024);
      for (const [i, text] of made.texts.entries()) {
        assert.deepEqual(tokenize(text), made.tokenizers[name].texts[i], JSON.stringify(text.slice(0, 80)));
      }
    });

    test("truncates them as in Python", async () => {
      const tokenize = await open(7);
      for (const [i, text] of made.texts.entries()) {
        assert.deepEqual(tokenize(text), made.tokenizers[name].short[i], JSON.stringify(text.slice(0, 80)));
      }
    });

    if (SWEPT.includes(name)) {
      test("tokenizes every assigned code point as in Python", async () => {
        const tokenize = await open(1024);
        const { sweep } = made.tokenizers[name];
        const different = made.sweep.filter((text, i) => !text.includes(DECOMPOSED) && `${tokenize(text)}` !== `${sweep[i]}`);
        assert.deepEqual(different, []);
      });
    }
  });
}

test("files are decoded as in Python", () => {
  for (const [content, text] of made.files.decoded) {
    if (text === null) assert.throws(() => decodeText(bytes(content)), /neither UTF-8 nor GB18030/, content);
    else assert.equal(decodeText(bytes(content)), text, content);
  }
});
