/** A bundle as a JavaScript object: text and image in, label and probabilities out. */

import { WORKER } from "#platform";

import { InputError } from "./errors.js";
import { Engine } from "./predict/engine.js";
import { explain } from "./predict/explain/occlusion.js";
import { RemoteEngine } from "./predict/remote.js";

/** @typedef {import("./bundle/source.js").Source} Source */
/** @typedef {import("./predict/types.js").Engine} EngineInterface */
/** @typedef {import("./predict/explain/occlusion.js").ExplainOptions} ExplainOptions */
/** @typedef {import("./predict/explain/occlusion.js").Explanation} Explanation */
/** @typedef {import("./predict/types.js").Image} Image */
/** @typedef {import("./predict/types.js").Input} Input */
/** @typedef {import("./predict/types.js").OpenOptions} OpenOptions */
/** @typedef {import("./predict/types.js").Pair} Pair */
/** @typedef {import("./predict/types.js").Prediction} Prediction */

const MAX_THREADS = 1024;

/** Predicts from a bundle. */
export class SentimentModel {
  #engine;

  /** @param {EngineInterface} engine use `SentimentModel.open` */
  constructor(engine) {
    this.#engine = engine;
    const { info, sha256, backend } = engine.description;
    /** The bundle's metadata. */
    this.info = info;
    /** The labels, in the order of the logits. */
    this.labels = info.labels;
    /** The parts ("text", "image") that a pair may lack. */
    this.optional = info.optional;
    /** How an image becomes the pixels that the model sees. */
    this.image = info.image;
    /** The SHA-256 stored in the bundle, "" if there is none; it identifies the bundle. */
    this.sha256 = sha256;
    /** "native" for onnxruntime-node, "wasm" for onnxruntime-web. */
    this.backend = backend;
  }

  /**
   * Open the bundle at an address or, in Node, at a path, or in a file or in memory.
   * Throws InputError if it can't be read or is not a bundle.
   * @param {Source} source
   * @param {OpenOptions} [options]
   * @returns {Promise<SentimentModel>}
   */
  static async open(source, options = {}) {
    const { threads, worker = WORKER } = options;
    if (threads !== undefined && !(Number.isInteger(threads) && threads >= 1 && threads <= MAX_THREADS)) {
      throw new InputError(`threads must be a whole number from 1 to ${MAX_THREADS}, not ${threads}`);
    }
    return new SentimentModel(await (worker ? RemoteEngine : Engine).open(source, options));
  }

  /**
   * Predict one pair. Throws InputError if its text is invalid, its image can't be decoded, or it
   * lacks a part that the model requires: see `optional`.
   * @param {Pair} pair
   * @returns {Promise<Prediction>}
   */
  async predict(pair) {
    const [prediction] = await this.#engine.predict([pair], false);
    return /** @type {Prediction} */ (prediction);
  }

  /**
   * Predict many pairs, in order. Throws InputError like `predict`, with a list of all bad rows.
   * @param {Iterable<Pair>} pairs
   * @returns {Promise<Prediction[]>}
   */
  predictAll(pairs) {
    return this.#engine.predict([...pairs], true);
  }

  /**
   * What moved the prediction of one pair: text and image, words, regions. The pair is predicted
   * again, at most `budget` times, with parts left out. Throws InputError like `predict`.
   * @param {Pair} pair
   * @param {ExplainOptions} [options]
   * @returns {Promise<Explanation>}
   */
  explain(pair, options) {
    return explain(this, pair, options);
  }

  /**
   * The token ids of a text, truncated to the model's maximum length, and their attention mask.
   * @param {string} text
   * @returns {Promise<{ids: number[], mask: number[]}>}
   */
  async encode(text) {
    const ids = await this.#engine.encode(text);
    return { ids, mask: ids.map(() => 1) };
  }

  /**
   * The pixels of an image as the model sees them, RGB, [size, size, 3]; grey if it is missing.
   * @param {Image | null} image
   * @returns {Promise<Uint8Array>}
   */
  pixels(image) {
    return this.#engine.pixels(image);
  }

  /**
   * The logits of pairs that are already tokenized and decoded, in the order of `labels`.
   * @param {Input[]} inputs
   * @returns {Promise<Float32Array[]>}
   */
  run(inputs) {
    return this.#engine.run(inputs);
  }

  /** Free the bundle's memory and stop its worker. */
  close() {
    return this.#engine.close();
  }
}
