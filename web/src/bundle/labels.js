/** Checks labels, since they go into tables that people open. As Python's `mmsent.data.labels`. */

import { repr } from "./repr.js";

const MAX_LABEL = 64;
// A spreadsheet that opens the predictions would evaluate such a label, also with full-width signs.
const FORMULA = /^(?:[=\uff1d]|[-+@\uff0d\uff0b\uff20](?![\p{L}\p{N}_.-]*$))/u;
// A zero-width joiner or non-joiner between two characters, as in Persian and Hindi words.
const JOINER = /(?<=[^\u200c\u200d])[\u200c\u200d](?=[^\u200c\u200d])/gu;

/**
 * Why `label` is not a valid label; null if it is.
 * @param {string} label
 */
export function labelFault(label) {
  const head = [...label].slice(0, 20).join("");
  if (label === "" || label === "null") return "the label is missing";
  if (label.startsWith("[") && label.endsWith("]")) {
    return `${repr(head)} has several labels; mmsent supports one label per pair`;
  }
  if ([...label].length > MAX_LABEL) {
    return `the label is longer than ${MAX_LABEL} characters (${repr(head)}\u2026)`;
  }
  if (/[\p{C}\p{Z}]/u.test(label.replace(JOINER, "").replaceAll(" ", ""))) {
    return `a label can't contain control characters (${repr(label)})`;
  }
  if (FORMULA.test(label)) return `a spreadsheet would evaluate the label ${repr(label)} as a formula`;
  return null;
}
