/** A bundle's tokenizer: from a text to token ids, as in Python's `mmsent.inputs.text`. */

import { Tokenizer } from "@huggingface/tokenizers";

import { InputError, reason } from "../errors.js";
import { createNormalizer } from "./normalizers.js";
import { createPreTokenizer } from "./pre_tokenizers.js";
import { shorten } from "./text.js";
import { checkTokenizer } from "./tokenizer_json.js";

export const TOKENIZER_KEY = "mmsent.tokenizer";

// A placeholder for the text between the special tokens; no vocabulary has it.
const TEXT = "\ufffe\uffff";

/** @typedef {(text: string) => number[]} Tokenize */

/**
 * The tokenizer of a tokenizer.json: it adds special tokens, truncates to `maxLength` tokens and does
 * not pad. Throws InputError if it is malformed; the tokenizer throws it if it fails on a text.
 * @param {string} json
 * @param {number} maxLength
 * @returns {Tokenize}
 */
export function readTokenizer(json, maxLength) {
  try {
    const spec = JSON.parse(json);
    checkTokenizer(spec);
    return createTokenize(spec, maxLength);
  } catch (error) {
    throw new InputError(`the metadata ${TOKENIZER_KEY} is malformed (${reason(error)})`);
  }
}

/**
 * @param {Record<string, any>} spec
 * @param {number} maxLength
 * @returns {Tokenize}
 */
function createTokenize(spec, maxLength) {
  const { normalizer, pre_tokenizer, truncation, model } = spec;
  const tokenizer = new Tokenizer({ ...spec, pre_tokenizer: null, decoder: null }, { unk_token: model.unk_token });
  if (normalizer) tokenizer.normalizer = /** @type {any} */ (createNormalizer(normalizer));
  if (pre_tokenizer) {
    const split = createPreTokenizer(pre_tokenizer);
    tokenizer.pre_tokenizer = /** @type {any} */ (
      (/** @type {string} */ text, /** @type {{section_index: number}} */ { section_index }) =>
        split(text, section_index === 0)
    );
  }
  const { head, tail } = specialTokens(tokenizer);
  const most = Math.min(maxLength, truncation?.max_length ?? maxLength);
  const room = Math.max(0, most - head.length - tail.length);
  const fromLeft = truncation?.direction === "Left";

  return (text) => {
    const { ids } = tokenizer.encode(shorten(text), { add_special_tokens: false });
    if (ids.some((id) => id === undefined)) {
      throw new InputError("the bundle's tokenizer fails on a text (it has no id for unknown words)");
    }
    const over = Math.max(0, ids.length - room);
    const kept = fromLeft ? ids.slice(over) : ids.slice(0, ids.length - over);
    return [...head, ...kept, ...tail];
  };
}

/**
 * The ids that are added before and after a text.
 * @param {Tokenizer} tokenizer
 * @returns {{head: number[], tail: number[]}}
 */
function specialTokens(tokenizer) {
  const { tokens } = tokenizer.post_processor?.post_process([TEXT], null, true) ?? { tokens: [TEXT] };
  const ids = tokens.map((token) => {
    const id = token === TEXT ? -1 : tokenizer.token_to_id(token);
    if (id === undefined) throw new Error(`the special token ${token} is not in the vocabulary`);
    return id;
  });
  const place = ids.indexOf(-1);
  return { head: ids.slice(0, place), tail: ids.slice(place + 1) };
}
