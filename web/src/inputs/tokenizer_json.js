/** Validates a tokenizer.json: what the Rust library refuses is refused here too. */

const MODELS = ["BPE", "WordPiece", "WordLevel", "Unigram"];
const DECODERS = [
  "BPEDecoder", "ByteFallback", "ByteLevel", "CTC", "Fuse", "Metaspace", "Replace", "Sequence", "Strip",
  "WordPiece",
]; // prettier-ignore
const KEYS = [
  "version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder",
  "model",
]; // prettier-ignore
const STRATEGIES = ["LongestFirst", "OnlyFirst", "OnlySecond"];
const MAX_ID = 2 ** 32 - 1;
const MAX_GROWTH = 256; // how many times longer the replacements may make a text

/**
 * Throws an Error that says what is wrong with a tokenizer.json, if anything is. The normalizer, the
 * pre-tokenizer and the post-processor are checked when they are created.
 * @param {any} spec
 */
export function checkTokenizer(spec) {
  check(isObject(spec) && isObject(spec.model), "it has no model");
  const other = Object.keys(spec).find((key) => !KEYS.includes(key));
  check(other === undefined, `it has an unknown ${other}`);
  check(!("version" in spec) || spec.version === "1.0", "it has an unknown version");
  for (const name of ["normalizer", "pre_tokenizer", "post_processor", "decoder", "truncation"]) {
    spec[name] ??= null;
    check(spec[name] === null || isObject(spec[name]), `its ${name} is not an object`);
  }
  const longer = spec.normalizer ? growth(spec.normalizer) : 1;
  check(longer <= MAX_GROWTH, `its replacements make texts over ${MAX_GROWTH} times longer`);
  check(!spec.decoder || DECODERS.includes(spec.decoder.type), "its decoder is unknown");
  if (spec.truncation) checkTruncation(spec.truncation);
  checkAddedTokens((spec.added_tokens ??= []));
  checkModel(spec.model);
}

/**
 * How many times longer in UTF-8 the replacements of a normalizer can make a text, at most.
 * @param {any} normalizer
 * @returns {number}
 */
function growth({ type, normalizers, content, prepend, pattern }) {
  if (type === "Sequence") {
    return normalizers.reduce((/** @type {number} */ product, /** @type {any} */ each) => product * growth(each), 1);
  }
  const added = bytes(content ?? prepend ?? "");
  const replaced = bytes(pattern?.String ?? "");
  return replaced ? Math.max(1, Math.ceil(added / replaced)) : 1 + added;
}

const bytes = (/** @type {string} */ text) => new TextEncoder().encode(text).length;

/** @param {any} truncation */
function checkTruncation({ max_length, direction = "Right", strategy = "LongestFirst" }) {
  check(isIndex(max_length), "its truncation has no maximum length");
  check(["Left", "Right"].includes(direction), "its truncation has an unknown direction");
  check(STRATEGIES.includes(strategy), "its truncation has an unknown strategy");
}

/** @param {any} tokens */
function checkAddedTokens(tokens) {
  check(
    Array.isArray(tokens) &&
      tokens.every((token) => isObject(token) && isIndex(token.id) && typeof token.content === "string"),
    "its added tokens are not a list of tokens",
  );
  const alone = tokens.find((/** @type {any} */ { single_word }) => single_word);
  check(!alone, "an added token that is matched as a whole word is not supported in JavaScript");
}

/** @param {any} model */
function checkModel(model) {
  check(MODELS.includes(model.type), "its model is unknown");
  if (model.type === "Unigram") {
    const pieces = model.vocab;
    const isPiece = (/** @type {any} */ [token, score]) => typeof token === "string" && typeof score === "number";
    check(Array.isArray(pieces) && pieces.every((piece) => Array.isArray(piece) && isPiece(piece)), "its vocabulary is not a list of pieces");
    return;
  }
  const { vocab, merges, unk_token: unknown } = model;
  check(isObject(vocab) && Object.values(vocab).every(isIndex), "its vocabulary is not a table of ids");
  if (model.type === "BPE") {
    checkMerges(vocab, merges);
  } else {
    check(typeof unknown === "string", "its model has no token for unknown words");
  }
}

/**
 * @param {Record<string, number>} vocab
 * @param {any} merges
 */
function checkMerges(vocab, merges) {
  check(Array.isArray(merges), "its merges are not a list");
  for (const merge of merges) {
    const pair = typeof merge === "string" ? merge.split(" ") : merge;
    const isPair = Array.isArray(pair) && pair.length === 2 && pair.every((part) => typeof part === "string");
    check(isPair, "one of its merges is not a pair of tokens");
    const missing = [...pair, pair.join("")].find((token) => !Object.hasOwn(vocab, token));
    check(missing === undefined, `the token ${missing} of a merge is not in the vocabulary`);
  }
}

const isObject = (/** @type {unknown} */ value) =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const isIndex = (/** @type {any} */ value) => Number.isInteger(value) && value >= 0 && value <= MAX_ID;

/**
 * @param {unknown} holds
 * @param {string} fault
 * @returns {asserts holds}
 */
function check(holds, fault) {
  if (!holds) throw new Error(fault);
}
