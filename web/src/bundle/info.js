/** A bundle's metadata: the entry `mmsent.bundle`. */

import { InputError, reason } from "../errors.js";
import { strip } from "../inputs/text.js";
import { labelFault } from "./labels.js";
import { repr } from "./repr.js";

/** @typedef {"text" | "image"} Part */

/**
 * How an image becomes `size` x `size` pixels. "stretch" ignores the aspect ratio; "crop" scales the
 * shorter edge to `size` and takes the centre.
 * @typedef {{size: number, resize: "stretch" | "crop", filter: "bilinear" | "bicubic"}} ImageSettings
 */

/**
 * `labels`: in the order of the outputs. `maxLength`: texts are truncated to this number of tokens.
 * `optional`: the parts that a pair may lack; an empty text or a grey image replaces them.
 * @typedef {{
 *   model: string,
 *   labels: string[],
 *   image: ImageSettings,
 *   maxLength: number,
 *   precision: "fp32" | "fp16" | "int8",
 *   optional: Part[],
 *   provenance: unknown,
 *   metrics: unknown,
 *   verification: unknown,
 * }} BundleInfo
 */

export const INFO_KEY = "mmsent.bundle";
const FORMAT = 2;
const MAX_DIGESTS = 1_000_000;
const MAX_TOKENS = 1024;
const MAX_SIZE = 1024;
/** @type {readonly Part[]} */
export const PARTS = ["text", "image"];

/**
 * Read the metadata. Throws InputError if it is malformed or has another format.
 * @param {string} text
 * @returns {BundleInfo}
 */
export function readInfo(text) {
  try {
    const content = object(JSON.parse(text), "the metadata");
    if (required(content, "format") !== FORMAT) throw new InputError(otherFormat(content.format));
    if ("digests" in content) checkDigests(content.digests);
    return {
      model: String(required(content, "model")),
      labels: readLabels(required(content, "labels")),
      image: readImage(required(content, "image")),
      maxLength: readLength(required(object(required(content, "text"), "text"), "max_length")),
      precision: oneOf(["fp32", "fp16", "int8"], required(content, "precision")),
      optional: array("optional" in content ? content.optional : [], "optional").map((name) => oneOf(PARTS, name)),
      provenance: required(content, "provenance"),
      metrics: required(content, "metrics"),
      verification: required(content, "verification"),
    };
  } catch (error) {
    if (error instanceof InputError) throw error;
    throw new InputError(`the metadata ${INFO_KEY} is malformed (${reason(error)})`);
  }
}

/** @param {unknown} value */
function checkDigests(value) {
  if (typeof value !== "string" || [...value].length > MAX_DIGESTS) {
    throw new Error(`the digests must be at most ${MAX_DIGESTS} characters`);
  }
}

/** @param {unknown} value */
function otherFormat(value) {
  const older = (typeof value === "number" && Number.isInteger(value) && value < FORMAT) || typeof value === "boolean";
  const advice = older ? "train and export the model again with this version" : "upgrade mmsent";
  return `the bundle has format ${repr(value)}, but this mmsent reads format ${FORMAT}; ${advice}`;
}

/**
 * @param {unknown} values
 * @returns {string[]}
 */
function readLabels(values) {
  if (!Array.isArray(values) || !values.every((value) => typeof value === "string")) {
    throw new Error("the labels must be a list of strings");
  }
  if (new Set(values).size !== values.length || values.length < 2) {
    throw new Error("there must be at least two labels, all different");
  }
  for (const value of values) {
    const fault = labelFault(strip(value));
    if (fault) throw new Error(fault);
  }
  return values;
}

/**
 * @param {unknown} value
 * @returns {ImageSettings}
 */
function readImage(value) {
  const { size = 224, resize = "stretch", filter = "bilinear", ...others } = object(value, "image");
  const [other] = Object.keys(others);
  if (other !== undefined) throw new Error(`the image settings have an unexpected ${repr(other)}`);
  if (typeof filter === "object" && filter !== null) throw new Error("the filter must be a string");
  if ((resize !== "stretch" && resize !== "crop") || (filter !== "bilinear" && filter !== "bicubic")) {
    const shown = `ImageSettings(size=${repr(size)}, resize=${repr(resize)}, filter=${repr(filter)})`;
    throw new InputError(`unknown image settings ${shown}; a newer mmsent may support them`);
  }
  if (!isWholeNumber(size) || size < 1 || size > MAX_SIZE) {
    throw new InputError(`the image size must be 1 to ${MAX_SIZE}, not ${repr(size)}`);
  }
  return { size, resize, filter };
}

/** @param {unknown} value */
function readLength(value) {
  if (!isWholeNumber(value) || value < 1 || value > MAX_TOKENS) {
    throw new Error(`the maximum length must be 1 to ${MAX_TOKENS} tokens, not ${repr(value)}`);
  }
  return value;
}

/**
 * @param {unknown} value
 * @returns {value is number}
 */
const isWholeNumber = (value) => Number.isInteger(value);

/**
 * @template {string} T
 * @param {readonly T[]} known
 * @param {unknown} value
 * @returns {T}
 */
function oneOf(known, value) {
  const found = known.find((item) => item === value);
  if (found === undefined) throw new Error(`${repr(value)} is not one of ${known.join(", ")}`);
  return found;
}

/**
 * @param {Record<string, unknown>} content
 * @param {string} key
 */
function required(content, key) {
  if (!(key in content)) throw new Error(`it lacks ${repr(key)}`);
  return content[key];
}

/**
 * @param {unknown} value
 * @param {string} name
 * @returns {Record<string, unknown>}
 */
function object(value, name) {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new Error(`${name} must be an object`);
  }
  return /** @type {Record<string, unknown>} */ (value);
}

/**
 * @param {unknown} value
 * @param {string} name
 * @returns {unknown[]}
 */
function array(value, name) {
  if (!Array.isArray(value)) throw new Error(`${name} must be a list`);
  return value;
}
