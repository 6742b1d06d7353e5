/** The format of numbers, the same everywhere on the page. */

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
 * The value of the strongest colour and the longest bar: the largest absolute value.
 * @param {readonly number[]} values
 */
export function scale(values) {
  return Math.max(0, ...values.map(Math.abs)) || 1;
}

/**
 * The style of a value.
 * @param {number} value
 */
export function side(value) {
  return value < 0 ? "against" : "for";
}
