/** Bundles with a third output, the embedding: predictions are the same; one without a shape is refused. */

import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { SentimentModel } from "../src/index.js";
import { python } from "./service.mjs";

const WRITE = `
import sys
from pathlib import Path
import onnx
from mmsent.bundle.seal import seal
from tests.small_bundle import small_model, write_small_bundle
folder = Path(sys.argv[1])
write_small_bundle(folder / "plain.onnx", optional=("image",))
write_small_bundle(folder / "embedding.onnx", optional=("image",), embeddings=True)
model = small_model(embeddings=True)
model.graph.node[-1].input[0] = "float_ids"  # as long as the text
model.graph.output[2].type.tensor_type.shape.dim[1].dim_param = "tokens"
onnx.save(model, str(folder / "odd.onnx"))
seal(folder / "odd.onnx")`;

let folder;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "mmsent-embedding-"));
  await python("-c", WRITE, folder);
});
after(() => rm(folder, { recursive: true }));

for (const backend of ["native", "wasm"]) {
  test(`predictions are the same with an embedding, ${backend}`, async () => {
    const open = (name) => SentimentModel.open(join(folder, name), { backend });
    const [plain, other] = await Promise.all(["plain.onnx", "embedding.onnx"].map(open));
    assert.deepEqual(await other.predict({ text: "fun rain" }), await plain.predict({ text: "fun rain" }));
  });
}

test("an embedding without a fixed length is refused, as in Python", async () => {
  const program = `
import sys
from mmsent import SentimentModel
try:
    SentimentModel(sys.argv[1])
except ValueError as error:
    print(error)`;
  const path = join(folder, "odd.onnx");
  const message = (await python("-c", program, path)).trim();
  assert.match(message, /embedding/);
  await assert.rejects(SentimentModel.open(path), { name: "InputError", message });
});
