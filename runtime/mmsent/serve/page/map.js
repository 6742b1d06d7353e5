/** The map of an image: the values of its regions, drawn over it. */

import { element } from "./element.js";
import { scale, side, signed } from "./numbers.js";

/** @typedef {readonly (readonly number[])[]} Regions values of the cells, row by row */

const EDGE = 640; // pixels of the map's longer edge
const STRIPE = 7; // pixels
const MARKED = 3; // cells that are outlined, with their values
const OPACITY = 0.75; // of the strongest value
const COLOURS = { for: [0, 98, 168], against: [224, 96, 0] };

/**
 * Values of `height` x `width` points, row by row, from those of an image's cells: bilinear between
 * the centres of the cells, constant beyond the outermost centres.
 * @param {Regions} regions
 * @param {number} height
 * @param {number} width
 * @returns {Float64Array}
 */
export function smoothMap(regions, height, width) {
  const points = new Float64Array(height * width);
  const columns = Array.from({ length: width }, (_, x) => between(x, width, regions[0]?.length ?? 0));
  for (let y = 0; y < height; y++) {
    const [upper, lower, down] = between(y, height, regions.length);
    const above = regions[upper] ?? [];
    const below = regions[lower] ?? [];
    columns.forEach(([left, right, across], x) => {
      const top = mix(above[left] ?? 0, above[right] ?? 0, across);
      const bottom = mix(below[left] ?? 0, below[right] ?? 0, across);
      points[y * width + x] = mix(top, bottom, down);
    });
  }
  return points;
}

/**
 * The cells with the largest absolute values, the largest first, without those shown as 0.00.
 * @param {Regions} regions
 */
export function strongestCells(regions) {
  return regions
    .flatMap((values, row) => values.map((value, column) => ({ row, column, value })))
    .sort((a, b) => Math.abs(b.value) - Math.abs(a.value))
    .slice(0, MARKED)
    .filter(({ value }) => Math.abs(value) >= 0.005);
}

/**
 * The image in grey under its map.
 * @param {Regions} regions
 * @param {string} source the image's URL
 * @param {import("./types.d.ts").Model["resize"]} resize
 * @returns {HTMLElement}
 */
export function drawMap(regions, source, resize) {
  const said = strongestCells(regions)
    .map(({ row, column, value }) => `row ${row + 1}, column ${column + 1}: ${signed(value)}`)
    .join("; ");
  const photo = element("img", { alt: "" });
  const frame = element(
    "div",
    { class: "frame", role: "img", "aria-label": `The map. Strongest: ${said || "none"}` },
    photo,
  );
  const show = (/** @type {number} */ width, /** @type {number} */ height) => {
    frame.style.aspectRatio = `${width} / ${height}`;
    frame.style.maxWidth = `calc(26rem * ${width / height})`;
    const factor = EDGE / Math.max(width, height);
    const size = [width, height].map((length) => Math.max(1, Math.round(length * factor)));
    frame.append(heat(regions, size[0] ?? 1, size[1] ?? 1), ...marks(regions));
  };
  photo.addEventListener("load", () => {
    if (resize === "crop") show(1, 1);
    else show(photo.naturalWidth, photo.naturalHeight);
  });
  photo.addEventListener("error", () => {
    photo.remove(); // the service supports formats that browsers don't
    show(1, 1);
  });
  photo.src = source;
  return frame;
}

/**
 * @param {Regions} regions
 * @param {number} width
 * @param {number} height
 */
function heat(regions, width, height) {
  const canvas = element("canvas", { width, height });
  const pixels = new ImageData(width, height);
  const values = smoothMap(regions, height, width);
  const largest = scale(regions.flat());
  values.forEach((value, place) => {
    const stripe = Math.floor((Math.floor(place / width) + (place % width)) / STRIPE) % 2 === 0;
    const strength = value < 0 && !stripe ? 0.4 : 1;
    const opacity = (OPACITY * strength * Math.abs(value)) / largest;
    pixels.data.set([...COLOURS[side(value)], 255 * opacity], 4 * place);
  });
  canvas.getContext("2d")?.putImageData(pixels, 0, 0);
  return canvas;
}

/** @param {Regions} regions */
function marks(regions) {
  const side = 100 / regions.length;
  return strongestCells(regions).map(({ row, column, value }) => {
    const mark = element("span", { class: value < 0 ? "mark minus" : "mark" }, signed(value));
    mark.style.inset = `${row * side}% ${100 - (column + 1) * side}% ${100 - (row + 1) * side}% ${column * side}%`;
    return mark;
  });
}

/**
 * The two cells around a point, and its distance from the first one's centre.
 * @param {number} point
 * @param {number} points
 * @param {number} cells
 * @returns {[number, number, number]}
 */
function between(point, points, cells) {
  const place = Math.min(Math.max(((point + 0.5) * cells) / points - 0.5, 0), cells - 1);
  const first = Math.min(Math.floor(place), Math.max(0, cells - 2));
  return [first, Math.min(first + 1, cells - 1), place - first];
}

/**
 * @param {number} first
 * @param {number} second
 * @param {number} share of the second
 */
function mix(first, second, share) {
  return first + share * (second - first);
}
