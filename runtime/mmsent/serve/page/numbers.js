/** How numbers read: the same everywhere on the page. */

/**
 * A share of one, as 83.2%.
 * @param {number} share
 */
export function percent(share) {
  return `${(100 * share).toFixed(1)}%`;
}

/**
 * Two decimals with a sign; no sign for zero.
 * @param {number} value
 */
export function signed(value) {
  const text = Math.abs(value).toFixed(2);
  if (text === "0.00") return text;
  return (value < 0 ? "\u2212" : "+") + text;
}

/**
 * What the strongest colour and the longest bar stand for: the largest value without its sign.
 * @param {readonly number[]} values
 */
export function scale(values) {
  return Math.max(0, ...values.map(Math.abs)) || 1;
}

/**
 * Which of the two styles shows a value.
 * @param {number} value
 */
export function side(value) {
  return value < 0 ? "against" : "for";
}
