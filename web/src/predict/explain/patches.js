/** The patches of an image that are hidden one at a time: `mmsent.predict.explain.patches` in Python. */

import { MISSING } from "../../inputs/image.js";

/**
 * A copy of `pixels`, [size, size, 3], with the patch of a cell hidden. The image is divided into
 * `grid` x `grid` cells; a patch has its cell's centre and twice its width and height.
 * @param {Uint8Array} pixels
 * @param {number} size
 * @param {number} row
 * @param {number} column
 * @param {number} grid
 */
export function hidePatch(pixels, size, row, column, grid) {
  const hidden = pixels.slice();
  const [top, bottom] = edges(row, grid, size);
  const [left, right] = edges(column, grid, size);
  for (let y = top; y < bottom; y++) hidden.fill(MISSING, 3 * (y * size + left), 3 * (y * size + right));
  return hidden;
}

/**
 * The first and last pixel of a patch: half a cell before and after its cell, rounded half up.
 * @param {number} cell
 * @param {number} grid
 * @param {number} size
 * @returns {[number, number]}
 */
function edges(cell, grid, size) {
  const start = Math.floor(((2 * cell - 1) * size + grid) / (2 * grid));
  const end = Math.floor(((2 * cell + 3) * size + grid) / (2 * grid));
  return [Math.max(0, start), Math.min(size, end)];
}
