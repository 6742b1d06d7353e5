/** Splitting as in the Rust library `tokenizers`, with the five behaviours of a tokenizer.json. */

/** @typedef {"Removed" | "Isolated" | "MergedWithPrevious" | "MergedWithNext" | "Contiguous"} Behavior */

/**
 * The non-empty pieces of `text`: the matches of `pattern`, which is global, and what is between them.
 * `invert`: the text between matches counts as matches.
 * @param {string} text
 * @param {RegExp} pattern
 * @param {Behavior} behavior of matches
 * @param {boolean} [invert]
 * @returns {string[]}
 */
export function split(text, pattern, behavior, invert = false) {
  /** @type {[piece: string, matched: boolean][]} */
  const pieces = [];
  let end = 0;
  for (const match of text.matchAll(pattern)) {
    if (match.index > end) pieces.push([text.slice(end, match.index), invert]);
    if (match[0]) pieces.push([match[0], !invert]);
    end = match.index + match[0].length;
  }
  if (end < text.length) pieces.push([text.slice(end), invert]);
  if (behavior === "Removed") return pieces.filter(([, matched]) => !matched).map(([piece]) => piece);
  if (behavior === "Isolated") return pieces.map(([piece]) => piece);
  return merge(pieces, behavior);
}

/**
 * @param {[string, boolean][]} pieces
 * @param {Exclude<Behavior, "Removed" | "Isolated">} behavior
 */
function merge(pieces, behavior) {
  const backwards = behavior === "MergedWithNext";
  /** @type {string[]} */
  const merged = [];
  let before = false;
  for (const [piece, matched] of backwards ? [...pieces].reverse() : pieces) {
    const joins = behavior === "Contiguous" ? matched === before : matched && !before;
    const last = merged.pop();
    if (last === undefined) merged.push(piece);
    else if (joins) merged.push(backwards ? piece + last : last + piece);
    else merged.push(last, piece);
    before = matched;
  }
  return backwards ? merged.reverse() : merged;
}
