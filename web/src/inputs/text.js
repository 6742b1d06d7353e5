/** Text: from a file's bytes, or a string, to the input of a tokenizer. */

import { InputError } from "../errors.js";
import { repr } from "../bundle/repr.js";

/** Only this many bytes of UTF-8 are tokenized; the tokens of the rest would be truncated anyway. */
export const MAX_TOKENIZED_BYTES = 1 << 16;

// The white space of Python's str.strip.
const SPACE = "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const OUTER_SPACE = new RegExp(`^[${SPACE}]+|[${SPACE}]+$`, "gu");
const LONE_SURROGATE = /[\ud800-\udfff]/u;

/**
 * Decode a text file as UTF-8 or, if that fails, as GB18030; strip a byte-order mark and white space.
 * Throws InputError if it is neither.
 * @param {Uint8Array} bytes
 */
export function decodeText(bytes) {
  const text = decode("utf-8", bytes) ?? (isGb18030(bytes) ? decode("gb18030", bytes) : null);
  if (text === null) throw new InputError("the text is neither UTF-8 nor GB18030; save it as UTF-8");
  return strip(text.replace(/^\ufeff/, ""));
}

/**
 * A text without white space at its ends, as Python's str.strip.
 * @param {string} text
 */
export const strip = (text) => text.replace(OUTER_SPACE, "");

/**
 * @param {string} encoding
 * @param {Uint8Array} bytes
 */
function decode(encoding, bytes) {
  try {
    return new TextDecoder(encoding, { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    if (error instanceof TypeError) return null;
    throw error;
  }
}

/**
 * Whether no character begins with 80 or FF, which TextDecoder reads as the euro sign of Windows.
 * @param {Uint8Array} bytes
 */
function isGb18030(bytes) {
  for (let i = 0; i < bytes.length; ) {
    const [lead = 0, next = 0] = bytes.subarray(i, i + 2);
    if (lead === 0x80 || lead === 0xff) return false;
    if (lead < 0x80) i += 1;
    else i += next >= 0x30 && next <= 0x39 ? 4 : 2;
  }
  return true;
}

/**
 * Throws InputError with the reason if `value` is not a valid text.
 * @param {unknown} value
 */
export function checkText(value) {
  if (typeof value !== "string") {
    throw new InputError(
      `the text must be a string, or null if it is missing, not ${typeName(value)}`,
    );
  }
  const [lone] = LONE_SURROGATE.exec(value) ?? [];
  if (lone) throw new InputError(`the text contains ${repr(lone)}, which is not a character`);
}

/**
 * The name of a value's type in messages.
 * @param {unknown} value
 */
export function typeName(value) {
  return (typeof value === "object" && value?.constructor?.name) || typeof value;
}

/**
 * The leading characters of `text` that fit into MAX_TOKENIZED_BYTES.
 * @param {string} text
 */
export function shorten(text) {
  if (text.length * 3 <= MAX_TOKENIZED_BYTES) return text; // no UTF-16 unit takes more
  const room = new Uint8Array(MAX_TOKENIZED_BYTES);
  return text.slice(0, new TextEncoder().encodeInto(text, room).read);
}
