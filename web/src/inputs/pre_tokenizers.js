/**
 * The pre-tokenizers of a tokenizer.json, as the Rust library `tokenizers` splits.
 *
 * Those of @huggingface/tokenizers keep runs of punctuation together, count only ASCII letters as
 * words, do not split at Metaspace's character, and count U+FEFF as white space.
 */

import { ByteLevelPreTokenizer, SplitPreTokenizer } from "@huggingface/tokenizers";

import { split } from "./split.js";
import { PUNCTUATION } from "./unicode.js";

/** @typedef {import("./split.js").Behavior} Behavior */
/** @typedef {(text: string, first: boolean) => string[]} PreTokenize `first`: at the start of the text */
/** @typedef {Record<string, any>} Config a part of a tokenizer.json */

const WORD = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\u200c\\u200d"; // Rust's \w
const wordsAndSigns = new RegExp(`[${WORD}]+|[^${WORD}\\p{White_Space}]+`, "gu");
const punctuation = new RegExp(`[${PUNCTUATION}]`, "gu");
const space = /\p{White_Space}+/gu;
const number = /\p{N}/gu;

// GPT-2's expression, with Rust's white space.
const GPT2 = new RegExp(
  "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\p{White_Space}\\p{L}\\p{N}]+" +
    "|\\p{White_Space}+(?!\\P{White_Space})|\\p{White_Space}+",
  "gu",
);

/** @type {Record<string, (config: Config) => PreTokenize>} */
const PRE_TOKENIZERS = {
  Sequence({ pretokenizers }) {
    /** @type {PreTokenize[]} */
    const steps = pretokenizers.map(createPreTokenizer);
    return (text, first) =>
      steps.reduce((pieces, step) => pieces.flatMap((piece, i) => step(piece, first && i === 0)), [text]);
  },
  BertPreTokenizer: () => (text) =>
    split(text, space, "Removed").flatMap((word) => split(word, punctuation, "Isolated")),
  Whitespace: () => (text) => split(text, wordsAndSigns, "Removed", true),
  WhitespaceSplit: () => (text) => split(text, space, "Removed"),
  Punctuation:
    ({ behavior = "Isolated" }) =>
    (text) =>
      split(text, punctuation, behavior),
  Digits:
    ({ individual_digits }) =>
    (text) =>
      split(text, number, individual_digits ? "Isolated" : "Contiguous"),
  Split(config) {
    const { pattern } = new SplitPreTokenizer(/** @type {any} */ ({ ...config, invert: true })); // it translates Oniguruma's expressions
    if (!pattern) throw new Error("a Split without a pattern");
    return (text) => split(text, pattern, config.behavior, config.invert);
  },
  Metaspace({ replacement, prepend_scheme = "always", split: cut = true }) {
    const sign = new RegExp(escape(replacement), "gu");
    return (text, first) => {
      const prepends = prepend_scheme === "always" || (prepend_scheme === "first" && first);
      let marked = text.replaceAll(" ", replacement);
      if (prepends && !marked.startsWith(replacement)) marked = replacement + marked;
      return cut ? split(marked, sign, "MergedWithNext") : [marked];
    };
  },
  ByteLevel({ add_prefix_space, use_regex = true }) {
    const toBytes = new ByteLevelPreTokenizer({ type: "ByteLevel", use_regex: false, add_prefix_space: false });
    return (text) => {
      if (add_prefix_space && !text.startsWith(" ")) text = ` ${text}`;
      const pieces = use_regex ? split(text, GPT2, "Isolated") : [text];
      return toBytes.pre_tokenize(pieces);
    };
  },
};

const escape = (/** @type {string} */ text) => text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");

/**
 * Throws an Error if the kind of `config` is not supported.
 * @param {Config} config
 * @returns {PreTokenize}
 */
export function createPreTokenizer(config) {
  const create = Object.hasOwn(PRE_TOKENIZERS, config.type) ? PRE_TOKENIZERS[config.type] : undefined;
  if (!create) throw new Error(`the pre-tokenizer ${config.type} is not supported in JavaScript`);
  return create(config);
}
