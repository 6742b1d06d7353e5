/** A bundle and its session, in whichever thread they are: the engine of `SentimentModel`. */

import { readPath } from "#platform";

import { openBundle, OUTPUTS } from "../bundle/session.js";
import { asBytes, readSource } from "../bundle/source.js";
import { InputError, MmsentError, reason } from "../errors.js";
import { loadPixels, MAX_IMAGE_BYTES, missingPixels } from "../inputs/image.js";
import { checkText, typeName } from "../inputs/text.js";
import { missingFault } from "./missing.js";

/** @typedef {import("../bundle/session.js").Bundle} Bundle */
/** @typedef {import("../bundle/source.js").Source} Source */
/** @typedef {import("./types.js").Engine} EngineInterface */
/** @typedef {import("./types.js").Image} Image */
/** @typedef {import("./types.js").Input} Input */
/** @typedef {import("./types.js").OpenOptions} OpenOptions */
/** @typedef {import("./types.js").Pair} Pair */
/** @typedef {import("./types.js").Prediction} Prediction */

/** @typedef {{logits: Float32Array, probabilities: Float32Array}} Scores */

const BATCH_SIZE = 8;
// Every model masks padding, so any id works.
const PAD_ID = 0;

/** @implements {EngineInterface} */
export class Engine {
  /** @param {Bundle} bundle */
  constructor(bundle) {
    this.bundle = bundle;
    const { info, seal, runtime } = bundle;
    this.description = { info, sha256: seal, backend: runtime.backend };
    /** @type {Promise<unknown>} */
    this.running = Promise.resolve();
  }

  /**
   * @param {Source} source
   * @param {OpenOptions} options
   */
  static async open(source, { threads, backend, onProgress }) {
    const { content, name } = await readSource(source, onProgress);
    return new Engine(await openBundle(content, name, { threads, backend }));
  }

  /**
   * @param {Pair[]} pairs
   * @param {boolean} several whether messages name rows
   * @returns {Promise<Prediction[]>}
   */
  async predict(pairs, several) {
    this.check(pairs, several);
    const inputs = await this.load(pairs, several);
    const { labels } = this.bundle.info;
    return (await this.compute(inputs)).map(({ logits, probabilities }) => {
      const named = labels.map((label, i) => [label, probabilities[i]]);
      const best = labels[probabilities.indexOf(Math.max(...probabilities))] ?? "";
      return { label: best, probabilities: Object.fromEntries(named), logits };
    });
  }

  /** @param {string} text */
  async encode(text) {
    checkText(text);
    return this.bundle.tokenize(text);
  }

  /** @param {Image | null} image */
  async pixels(image) {
    const { image: settings } = this.bundle.info;
    return image == null ? missingPixels(settings) : loadPixels(await imageBytes(image), settings);
  }

  /**
   * The logits of inputs that are already tokenized and decoded.
   * @param {Input[]} inputs
   */
  async run(inputs) {
    return (await this.compute(inputs)).map(({ logits }) => logits);
  }

  async close() {
    await this.bundle.session.release();
  }

  /**
   * Throws InputError with every row whose text is invalid, or if a pair lacks a part that the
   * model requires.
   * @param {Pair[]} pairs
   * @param {boolean} several
   */
  check(pairs, several) {
    const faults = pairs.flatMap(({ text }, row) => {
      try {
        if (text != null) checkText(text);
        return [];
      } catch (error) {
        return [several ? `  row ${row}: ${reason(error)}` : `  ${reason(error)}`];
      }
    });
    if (faults.length) throw new InputError(`texts that can't be used:\n${faults.join("\n")}`);
    for (const [row, pair] of pairs.entries()) {
      const lacking = /** @type {const} */ (["text", "image"]).filter((part) => pair[part] == null);
      const fault = missingFault(lacking, this.bundle.info);
      if (fault) throw new InputError(several ? `row ${row}: ${fault}` : fault);
    }
  }

  /**
   * Tokens and pixels. Throws InputError with every image that can't be decoded.
   * @param {Pair[]} pairs
   * @param {boolean} several
   * @returns {Promise<Input[]>}
   */
  async load(pairs, several) {
    const inputs = [];
    const faults = [];
    for (const [row, { text, image }] of pairs.entries()) {
      try {
        const pixels = await this.pixels(image ?? null);
        inputs.push({ ids: this.bundle.tokenize(text ?? ""), pixels });
      } catch (error) {
        if (!(error instanceof InputError)) throw error;
        const path = typeof image === "string" ? image : "";
        const name = several ? `row ${row}${path && ": "}${path}` : path || "image";
        faults.push(`  ${name}: ${error.message}`);
      }
    }
    if (faults.length) throw new InputError(`images that can't be used:\n${faults.join("\n")}`);
    return inputs;
  }

  /**
   * The scores of each input, computed in batches of texts of similar length.
   * @param {Input[]} inputs
   * @returns {Promise<Scores[]>}
   */
  async compute(inputs) {
    const order = inputs.map((_, i) => i).sort((a, b) => length(inputs[a]) - length(inputs[b]));
    /** @type {Scores[]} */
    const found = new Array(inputs.length);
    for (let start = 0; start < order.length; start += BATCH_SIZE) {
      const places = order.slice(start, start + BATCH_SIZE);
      const batch = places.map((place) => /** @type {Input} */ (inputs[place]));
      // One at a time: a WebAssembly session computes one batch, and concurrency gains nothing in Node.
      const scores = this.running.then(() => this.runBatch(batch));
      this.running = scores.catch(() => {});
      for (const [i, score] of (await scores).entries()) found[/** @type {number} */ (places[i])] = score;
    }
    return found;
  }

  /**
   * @param {Input[]} batch
   * @returns {Promise<Scores[]>}
   */
  async runBatch(batch) {
    const { session, runtime, info } = this.bundle;
    const { labels } = info;
    let results;
    try {
      results = await session.run(feed(runtime.ort, batch, info.image.size), [...OUTPUTS]);
    } catch (error) {
      throw new MmsentError(`the bundle's graph fails (${reason(error)}); export the run again`);
    }
    for (const name of OUTPUTS) {
      const dims = results[name]?.dims ?? [];
      if (dims.length !== 2 || dims[0] !== batch.length || dims[1] !== labels.length) {
        throw new MmsentError(
          `the bundle returns ${name} of shape (${dims.join(", ")}) for ${batch.length} pairs and ` +
            `${labels.length} labels; export the run again`,
        );
      }
    }
    const [logits, probabilities] = OUTPUTS.map((name) => /** @type {Float32Array} */ (results[name]?.data));
    if (!logits || !probabilities?.every(Number.isFinite)) {
      throw new MmsentError("the bundle returns NaN; `mmsent doctor --model FILE` checks it");
    }
    return batch.map((_, row) => {
      const [begin, end] = [row * labels.length, (row + 1) * labels.length];
      return { logits: logits.slice(begin, end), probabilities: probabilities.slice(begin, end) };
    });
  }
}

/** @param {Input | undefined} input */
const length = (input) => input?.ids.length ?? 0;

/**
 * @param {typeof import("onnxruntime-web")} ort
 * @param {Input[]} batch
 * @param {number} size
 */
function feed({ Tensor }, batch, size) {
  const longest = Math.max(...batch.map(length));
  const ids = new BigInt64Array(batch.length * longest).fill(BigInt(PAD_ID));
  const mask = new BigInt64Array(batch.length * longest);
  const pixels = new Uint8Array(batch.length * size * size * 3);
  for (const [row, input] of batch.entries()) {
    ids.set(Array.from(input.ids, BigInt), row * longest);
    mask.fill(1n, row * longest, row * longest + input.ids.length);
    pixels.set(input.pixels, row * size * size * 3);
  }
  return {
    input_ids: new Tensor("int64", ids, [batch.length, longest]),
    attention_mask: new Tensor("int64", mask, [batch.length, longest]),
    pixels: new Tensor("uint8", pixels, [batch.length, size, size, 3]),
  };
}

/**
 * The bytes of an image file. Throws InputError if `image` is not one.
 * @param {Image} image
 * @returns {Promise<Uint8Array>}
 */
async function imageBytes(image) {
  if (typeof image === "string") return readPath(image, "the image", MAX_IMAGE_BYTES);
  if (image instanceof Blob) {
    if (image.size > MAX_IMAGE_BYTES) throw new InputError(`the image is larger than ${MAX_IMAGE_BYTES >> 10} KiB`);
    return new Uint8Array(await image.arrayBuffer());
  }
  const bytes = asBytes(image);
  if (bytes) return bytes;
  throw new InputError(
    `the image must be a file, its bytes, or null if it is missing, not ${typeName(image)}`,
  );
}
