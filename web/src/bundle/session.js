/** Opens a bundle: its session, its metadata, and whether they match. */

import { defaultThreads, loadRuntime } from "#platform";

import { InputError, reason } from "../errors.js";
import { readTokenizer, TOKENIZER_KEY } from "../inputs/tokenizer.js";
import { INFO_KEY, readInfo } from "./info.js";
import { repr } from "./repr.js";
import { isWhole, SEAL_KEY } from "./seal.js";
import { readStructure } from "./structure.js";

/** @typedef {import("./info.js").BundleInfo} BundleInfo */
/** @typedef {import("onnxruntime-web").InferenceSession} InferenceSession */
/** @typedef {import("onnxruntime-web").InferenceSession.ValueMetadata} ValueMetadata */
/** @typedef {import("../platform/types.js").Runtime} Runtime */
/** @typedef {import("../platform/types.js").Backend} Backend */

/**
 * `seal`: the SHA-256 stored in the bundle, "" if there is none.
 * @typedef {{
 *   info: BundleInfo,
 *   tokenize: import("../inputs/tokenizer.js").Tokenize,
 *   session: InferenceSession,
 *   runtime: Runtime,
 *   seal: string,
 * }} Bundle
 */

export const INPUTS = /** @type {const} */ (["input_ids", "attention_mask", "pixels"]);
export const OUTPUTS = /** @type {const} */ (["logits", "probabilities"]);
/** A third output that a bundle may have; it is not used here. */
const EMBEDDING = "embedding";
const MAX_FEATURES = 1 << 16;

/**
 * Open a bundle. Throws InputError if this version can't read it.
 * @param {Uint8Array} content
 * @param {string} name what messages call it
 * @param {{threads?: number, backend?: Backend}} options
 * @returns {Promise<Bundle>}
 */
export async function openBundle(content, name, { threads = defaultThreads(), backend }) {
  const metadata = readStructure(content, name);
  const { info, tokenize } = readMetadata(metadata, name);
  const seal = metadata.get(SEAL_KEY) ?? "";
  if (seal && globalThis.crypto?.subtle && !(await isWhole(content))) {
    throw new InputError(
      `${name} is damaged or incomplete: its checksum differs from the one stored at export`,
    );
  }
  const runtime = await loadRuntime(backend);
  const session = await createSession(runtime, content, name, threads);
  checkSignature(session, info, name);
  return { info, tokenize, session, runtime, seal };
}

/**
 * @param {Map<string, string>} metadata
 * @param {string} name
 */
function readMetadata(metadata, name) {
  const [description, tokenizer] = [metadata.get(INFO_KEY), metadata.get(TOKENIZER_KEY)];
  try {
    if (description === undefined || tokenizer === undefined) {
      throw new InputError(
        `an ONNX model, but not an mmsent bundle: it lacks the metadata ${INFO_KEY} and ${TOKENIZER_KEY}; ` +
          "`mmsent-export onnx` writes a bundle",
      );
    }
    const info = readInfo(description);
    return { info, tokenize: readTokenizer(tokenizer, info.maxLength) };
  } catch (error) {
    throw error instanceof InputError ? new InputError(`${name}: ${error.message}`) : error;
  }
}

/**
 * @param {Runtime} runtime
 * @param {Uint8Array} content
 * @param {string} name
 * @param {number} threads
 */
async function createSession({ ort, backend }, content, name, threads) {
  ort.env.logLevel = "fatal"; // errors are thrown
  if (backend === "wasm") ort.env.wasm.numThreads = threads; // only the first session uses it
  try {
    return await ort.InferenceSession.create(content, {
      executionProviders: [backend === "wasm" ? "wasm" : "cpu"],
      intraOpNumThreads: threads,
      interOpNumThreads: 1,
      logSeverityLevel: 4,
      extra: { session: { load_model_format: "ONNX" } }, // never ORT's own format, which is not checked
    });
  } catch (error) {
    throw new InputError(`${name} can't be opened as an ONNX model (${reason(error)})`);
  }
}

/**
 * Throws InputError if the graph's inputs or outputs are not those of a bundle.
 * @param {InferenceSession} session
 * @param {BundleInfo} info
 * @param {string} name
 */
function checkSignature(session, { image: { size }, labels }, name) {
  const inputs = byName(session.inputMetadata);
  const outputs = byName(session.outputMetadata);
  const { [EMBEDDING]: embedding, ...scores } = outputs;
  const pixels = inputs.pixels;
  const edges = pixels?.isTensor ? pixels.shape : [];
  const fits = (/** @type {string | number | undefined} */ edge, /** @type {number} */ wanted) =>
    typeof edge === "string" || edge === wanted; // a string: a dynamic size
  const whole =
    hasTypes(inputs, { input_ids: "int64", attention_mask: "int64", pixels: "uint8" }) &&
    hasTypes(scores, { logits: "float32", probabilities: "float32" }) &&
    (!embedding || hasTypes({ embedding }, { embedding: "float32" })) &&
    edges.length === 4 &&
    [size, size, 3].every((wanted, i) => fits(edges[i + 1], wanted)) &&
    Object.values(scores).every((value) => !value.isTensor || fits(value.shape.at(-1) ?? "", labels.length));
  if (!whole) {
    throw new InputError(
      `${name}: its inputs ${repr(described(inputs))} and outputs ${repr(described(outputs))} are not those of ` +
        `a bundle with images of ${size} x ${size} pixels and ${labels.length} labels`,
    );
  }
  const shape = embedding?.isTensor ? embedding.shape : null;
  const features = shape?.[1];
  if (shape && !(shape.length === 2 && typeof features === "number" && features >= 1 && features <= MAX_FEATURES)) {
    throw new InputError(`${name}: its output ${EMBEDDING} has the shape ${repr(shape)}, not [batch, features]`);
  }
}

/**
 * @param {readonly ValueMetadata[]} values
 * @returns {Record<string, ValueMetadata>}
 */
const byName = (values) => Object.fromEntries(values.map((value) => [value.name, value]));

/**
 * @param {Record<string, ValueMetadata>} values
 * @param {Record<string, string>} types
 */
function hasTypes(values, types) {
  const names = Object.keys(types);
  return (
    Object.keys(values).length === names.length &&
    names.every((name) => {
      const value = values[name];
      return value?.isTensor && value.type === types[name];
    })
  );
}

/** @param {Record<string, ValueMetadata>} values */
const described = (values) =>
  Object.fromEntries(
    Object.entries(values).map(([name, value]) => [
      name,
      value.isTensor ? `tensor(${value.type}) [${value.shape.join(", ")}]` : "not a tensor",
    ]),
  );
