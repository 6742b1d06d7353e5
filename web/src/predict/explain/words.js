/** The words of a text, and the text without some of them: `mmsent.predict.explain.words` in Python. */

const SPACE = "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000\\ufeff";
const IDEOGRAPH = "\\u3040-\\u30ff\\u3400-\\u4dbf\\u4e00-\\u9fff\\uf900-\\ufaff\\u{20000}-\\u{3ffff}";
const EMOJI = "\\u2600-\\u27bf\\u{1f000}-\\u{1faff}";
const JOINER = "\\u200d\\ufe0f";
const WORD = `[${IDEOGRAPH}]|[${EMOJI}][${EMOJI}${JOINER}]*|[^${SPACE}${IDEOGRAPH}${EMOJI}]+`;

/**
 * A part of a text, `start` to `end`, in UTF-16 code units.
 * @typedef {{ start: number, end: number }} Span
 */

/**
 * The words of `text`, in order: a single ideograph or kana, a run of emoji, or a run of
 * anything else that is not white space.
 * @param {string} text
 * @returns {Span[]}
 */
export function findWords(text) {
  const found = text.matchAll(new RegExp(WORD, "gu"));
  return Array.from(found, ({ index, 0: word }) => ({ start: index, end: index + word.length }));
}

/**
 * `text` without the words from `first` up to `last`, one or more, and the white space after them.
 * White space before the first word goes with that word.
 * @param {string} text
 * @param {readonly Span[]} words
 * @param {number} first
 * @param {number} last
 */
export function without(text, words, first, last) {
  const start = first ? endOf(text, words, first) : 0;
  return text.slice(0, start) + text.slice(endOf(text, words, last));
}

/**
 * The part of `text` before its tokenizer truncates it, and the words of that part: the shortest
 * beginning, in whole words, with the same token ids as the whole text.
 * @param {string} text
 * @param {(text: string) => Promise<ArrayLike<number | bigint>>} tokenize
 * @returns {Promise<{ read: string, words: Span[] }>}
 */
export async function readWords(text, tokenize) {
  const words = findWords(text);
  const whole = `${await tokenize(text)}`;
  let low = 0;
  let high = words.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (`${await tokenize(text.slice(0, endOf(text, words, middle)))}` === whole) high = middle;
    else low = middle + 1;
  }
  return { read: text.slice(0, endOf(text, words, low)), words: words.slice(0, low) };
}

/**
 * `count` groups of adjacent words among `n`: each one's first word, and the next one's.
 * @param {number} n
 * @param {number} count
 * @returns {[number, number][]}
 */
export function group(n, count) {
  const border = (/** @type {number} */ place) => Math.floor((place * n) / count);
  return Array.from({ length: count }, (_, place) => [border(place), border(place + 1)]);
}

/**
 * The number of code points in a text, which is its length in Python.
 * @param {string} text
 */
export function codePoints(text) {
  let count = 0;
  for (const _ of text) count++;
  return count;
}

/**
 * The end of the first `count` words, with the white space after them.
 * @param {string} text
 * @param {readonly Span[]} words
 * @param {number} count
 */
function endOf(text, words, count) {
  return count === 0 ? 0 : (words[count]?.start ?? text.length);
}
