/** Hostile bundles, and files that are not bundles: refused like in Python, with the same messages. */

import assert from "node:assert/strict";
import { mkdtemp, open, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { InputError, MmsentError, SentimentModel } from "mmsent";

import { makeFixtures } from "./fixtures.mjs";

let made;
before(async () => {
  made = await makeFixtures("bundles");
});
after(() => made?.remove());

for (const backend of ["native", "wasm"]) {
  test(`hostile bundles are refused by the ${backend} backend, as in Python`, async () => {
    const accepted = [];
    const others = [];
    for (const [name, wanted] of Object.entries(made.bundles)) {
      const error = await use(new Uint8Array(await readFile(join(made.folder, name))), backend);
      if (!wanted) assert.equal(error, null, `${name}: ${error}`);
      else if (!error) accepted.push(`${name}: ${wanted}`);
      else {
        assert.ok(error instanceof MmsentError, `${name}: ${error.stack}`);
        if (words(error.message) !== words(wanted)) others.push(`${name}: ${error.message} | ${wanted}`);
      }
    }
    assert.deepEqual(accepted, []);
    assert.deepEqual(others, []);
  });
}

/** The error of opening a bundle and predicting two pairs, or null. */
async function use(content, backend) {
  let model;
  try {
    model = await SentimentModel.open(content, { backend, threads: 1 });
    const pixels = await model.pixels(null);
    const { ids } = await model.encode("a fun day");
    await model.run([{ ids, pixels }, { ids, pixels }]);
    return null;
  } catch (error) {
    return error;
  } finally {
    await model?.close();
  }
}

/** A message without shapes and without a library's words, which are in parentheses. */
const words = (message) => message.replace(/ \(.*$|\{.*\}/gs, "");

describe("a file", () => {
  const refused = (source, message) => assert.rejects(SentimentModel.open(source), { name: "InputError", message });

  test("that is damaged is distinguished from a complete one", async () => {
    await refused(join(made.folder, "damaged.onnx"), /damaged.onnx is damaged or incomplete: its checksum/);
    const model = await SentimentModel.open(join(made.folder, "whole.onnx"));
    assert.match(model.sha256, /^[0-9a-f]{64}$/);
    assert.notEqual(model.sha256, "0".repeat(64));
    await model.close();
  });

  test("that does not exist or is too large is named", async () => {
    const folder = await mkdtemp(join(tmpdir(), "mmsent-"));
    try {
      await refused(join(folder, "none.onnx"), /none.onnx does not exist; `mmsent-export onnx` writes/);
      await refused(folder, /is not a regular file/);
      const file = await open(join(folder, "large.onnx"), "w");
      await file.truncate(2 ** 31);
      await file.close();
      await refused(join(folder, "large.onnx"), /is larger than 2 GiB/);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  test("is named by its source, or the source is refused", async () => {
    await refused(new Uint8Array(), /^the bundle is empty/);
    await refused(7, /not number$/);
    await refused("http://127.0.0.1:9/model.onnx", /model.onnx can't be loaded \(/);
    await assert.rejects(SentimentModel.open(new Uint8Array(), { threads: 0 }), InputError);
  });
});
