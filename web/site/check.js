/** Checks that this browser agrees with Python on the pairs of selftest.json. */

/**
 * A pair with Python's results: token ids, the SHA-256 of the pixels, probabilities.
 * @typedef {object} Known
 * @property {string} name
 * @property {string | null} text
 * @property {string | null} image the image's file, in base64
 * @property {number[]} ids
 * @property {string} pixels
 * @property {string} label
 * @property {Record<string, number>} probabilities
 *
 * @typedef {{ sha256: string, tolerance: number, pairs: Known[] }} SelfTest
 * @typedef {import("../src/index.js").SentimentModel} Model
 */

/**
 * Predict all pairs again. `differences` lists those with other results, and what differs;
 * `largest` is the largest difference of a probability.
 * @param {Model} model
 * @param {SelfTest} known
 * @param {{ signal?: AbortSignal, onProgress?: (done: number, total: number) => void }} options
 */
export async function checkModel(model, { tolerance, pairs }, { signal, onProgress }) {
  /** @type {string[]} */
  const differences = [];
  let largest = 0;
  for (const [place, pair] of pairs.entries()) {
    signal?.throwIfAborted();
    const { found, difference } = await compare(model, pair, tolerance);
    if (found.length) differences.push(`${pair.name}: ${found.join(", ")}`);
    largest = Math.max(largest, difference);
    onProgress?.(place + 1, pairs.length);
  }
  return { differences, largest };
}

/**
 * @param {Model} model
 * @param {Known} pair
 * @param {number} tolerance
 */
async function compare(model, pair, tolerance) {
  const found = [];
  const image = pair.image === null ? null : decode(pair.image);
  try {
    const { ids } = await model.encode(pair.text ?? "");
    if (`${ids}` !== `${pair.ids}`) found.push("different tokens");
    if (image && (await sha256(await model.pixels(image))) !== pair.pixels) found.push("different pixels");
    const { label, probabilities } = await model.predict({ text: pair.text, image });
    if (label !== pair.label) found.push(`${label} instead of ${pair.label}`);
    const difference = Math.max(
      ...Object.entries(pair.probabilities).map(([name, share]) => Math.abs((probabilities[name] ?? NaN) - share)),
    );
    if (!(difference <= tolerance)) found.push(`a probability differs by ${difference.toPrecision(2)}`);
    return { found, difference };
  } catch (error) {
    return { found: [...found, error instanceof Error ? error.message : `${error}`], difference: 0 };
  }
}

/** @param {string} base64 */
function decode(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

/** @param {Uint8Array} bytes */
async function sha256(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", /** @type {BufferSource} */ (bytes)));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
