/**
 * The normalizers of a tokenizer.json, as the Rust library `tokenizers` computes them.
 *
 * Those of @huggingface/tokenizers differ in a final sigma, in the order of BERT's steps, in
 * ideographs outside the Basic Multilingual Plane, and in the classes of characters.
 */

import { ReplaceNormalizer } from "@huggingface/tokenizers";

import { COMBINING, CONTROL, IDEOGRAPH, NONSPACING } from "./unicode.js";

/** @typedef {(text: string) => string} Normalize */
/** @typedef {Record<string, any>} Config a part of a tokenizer.json */

const control = new RegExp(`[${CONTROL}]`, "gu");
const ideograph = new RegExp(`[${IDEOGRAPH}]`, "gu");
const nonspacing = new RegExp(`[${NONSPACING}]`, "gu");
const combining = new RegExp(`[${COMBINING}]`, "gu");
const space = /\p{White_Space}/gu;

// One character at a time: toLowerCase turns a sigma at the end of a word into another letter.
const lowercase = (/** @type {string} */ text) => text.replaceAll("\u03a3", "\u03c3").toLowerCase();

/** @type {Record<string, (config: Config) => Normalize>} */
const NORMALIZERS = {
  Sequence({ normalizers }) {
    const steps = normalizers.map(createNormalizer);
    return (text) => steps.reduce((/** @type {string} */ done, /** @type {Normalize} */ step) => step(done), text);
  },
  BertNormalizer({ clean_text, handle_chinese_chars, strip_accents, lowercase: lower }) {
    const strip = strip_accents ?? lower;
    return (text) => {
      if (clean_text) text = text.replace(control, "").replace(space, " ");
      if (handle_chinese_chars) text = text.replace(ideograph, " $& ");
      if (strip) text = text.normalize("NFD").replace(nonspacing, "");
      return lower ? lowercase(text) : text;
    };
  },
  Lowercase: () => lowercase,
  NFC: () => (text) => text.normalize("NFC"),
  NFD: () => (text) => text.normalize("NFD"),
  NFKC: () => (text) => text.normalize("NFKC"),
  NFKD: () => (text) => text.normalize("NFKD"),
  StripAccents: () => (text) => text.replace(combining, ""),
  Strip({ strip_left, strip_right }) {
    const left = strip_left ? /^\p{White_Space}+/u : /^(?!)/u;
    const right = strip_right ? /\p{White_Space}+$/u : /(?!)$/u;
    return (text) => text.replace(left, "").replace(right, "");
  },
  Replace(config) {
    const { pattern } = new ReplaceNormalizer(/** @type {any} */ (config)); // it translates Oniguruma's expressions
    return (text) => (pattern ? text.replaceAll(pattern, () => config.content) : text);
  },
  Prepend:
    ({ prepend }) =>
    (text) =>
      text && prepend + text,
};

/**
 * Throws an Error if the kind of `config` is not supported.
 * @param {Config} config
 * @returns {Normalize}
 */
export function createNormalizer(config) {
  const create = Object.hasOwn(NORMALIZERS, config.type) ? NORMALIZERS[config.type] : undefined;
  if (!create) throw new Error(`the normalizer ${config.type} is not supported in JavaScript`);
  return create(config);
}
