/**
 * Resizing, bit for bit as in Pillow 13: `Image.resize` of 8-bit pixels, antialiased, in two passes
 * that each round to bytes, with coefficients of 22 bits. Source: Pillow's Resample.c.
 */

import { InputError } from "../errors.js";
import { MAX_PIXELS } from "./formats.js";

/** @typedef {import("../bundle/info.js").ImageSettings} ImageSettings */

/**
 * A decoded image: `step` bytes per pixel, of which the first three are red, green and blue.
 * @typedef {{data: Uint8Array | Uint8ClampedArray, width: number, height: number, step: number}} Raster
 */

/** @typedef {{reach: number, weigh: (distance: number) => number}} Filter */
/** @typedef {{first: Int32Array, count: Int32Array, weights: Int32Array, stride: number}} Coefficients */

const BITS = 22;
const HALF = 1 << (BITS - 1);

/** @type {Record<ImageSettings["filter"], Filter>} */
const FILTERS = {
  bilinear: { reach: 1, weigh: (x) => Math.max(0, 1 - Math.abs(x)) },
  bicubic: { reach: 2, weigh: bicubic },
};

/** @param {number} distance */
function bicubic(distance) {
  const x = Math.abs(distance);
  const a = -0.5;
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

/**
 * Resize or crop an image to a model's input square: RGB, [size, size, 3]. "crop" rounds down both
 * times, as transformers' CLIPImageProcessor does.
 * @param {Raster} image
 * @param {ImageSettings} settings
 * @returns {Uint8Array}
 */
export function square(image, { size, resize, filter }) {
  if (resize === "stretch") return resample(image, size, size, filter, [0, 0], size);
  const shorter = Math.min(image.width, image.height);
  const scaled = (/** @type {number} */ edge) => (edge === shorter ? size : Math.trunc((size * edge) / shorter));
  const [width, height] = [scaled(image.width), scaled(image.height)];
  if (width * height > MAX_PIXELS) {
    throw new InputError(`the image is too narrow (${image.width} x ${image.height}) to crop`);
  }
  const corner = /** @type {[number, number]} */ ([(width - size) >> 1, (height - size) >> 1]);
  return resample(image, width, height, filter, corner, size);
}

/**
 * The square of `size` pixels at `corner` of the image resized to `width` x `height`.
 * @param {Raster} image
 * @param {number} width
 * @param {number} height
 * @param {ImageSettings["filter"]} filter
 * @param {[left: number, top: number]} corner
 * @param {number} size
 */
function resample(image, width, height, filter, [left, top], size) {
  const across = coefficients(image.width, width, FILTERS[filter]);
  const down = coefficients(image.height, height, FILTERS[filter]);
  const lost = image.height - height;
  if (lost > 0 && lost > 2 * (image.width - width)) {
    return horizontal(vertical(image, down, top, size), across, left, size).data;
  }
  const last = top + size - 1;
  const begin = at(down.first, top);
  const end = at(down.first, last) + at(down.count, last);
  const rows = image.data.subarray(begin * image.width * image.step, end * image.width * image.step);
  const band = { ...image, data: rows, height: end - begin };
  const shifted = { ...down, first: down.first.map((row) => row - begin) };
  return vertical(horizontal(band, across, left, size), shifted, top, size).data;
}

/**
 * For each of `outSize` pixels: its source pixels of `inSize`, and their weights.
 * @param {number} inSize
 * @param {number} outSize
 * @param {Filter} filter
 * @returns {Coefficients}
 */
function coefficients(inSize, outSize, { reach, weigh }) {
  const scale = inSize / outSize;
  const stretch = Math.max(scale, 1);
  const support = reach * stretch;
  const stride = Math.ceil(support) * 2 + 1;
  const first = new Int32Array(outSize);
  const count = new Int32Array(outSize);
  const weights = new Int32Array(outSize * stride);
  const exact = new Float64Array(stride);
  for (let pixel = 0; pixel < outSize; pixel++) {
    const center = (pixel + 0.5) * scale;
    const begin = Math.max(Math.trunc(center - support + 0.5), 0);
    const n = Math.min(Math.trunc(center + support + 0.5), inSize) - begin;
    let sum = 0;
    for (let i = 0; i < n; i++) sum += exact[i] = weigh((i + begin - center + 0.5) * (1 / stretch));
    for (let i = 0; i < n; i++) {
      const weight = (sum ? at(exact, i) / sum : at(exact, i)) * (1 << BITS);
      weights[pixel * stride + i] = Math.trunc(weight < 0 ? weight - 0.5 : weight + 0.5);
    }
    first[pixel] = begin;
    count[pixel] = n;
  }
  return { first, count, weights, stride };
}

/**
 * The columns `left` to `left + size` of the horizontally resized image.
 * @param {Raster} image
 * @param {Coefficients} across
 * @param {number} left
 * @param {number} size
 */
function horizontal({ data, width, height, step }, { first, count, weights, stride }, left, size) {
  const out = new Uint8Array(height * size * 3);
  let place = 0;
  for (let y = 0; y < height; y++) {
    for (let x = left; x < left + size; x++) {
      let red = HALF;
      let green = HALF;
      let blue = HALF;
      let source = (y * width + at(first, x)) * step;
      for (let i = x * stride, end = i + at(count, x); i < end; i++, source += step) {
        const weight = at(weights, i);
        red += at(data, source) * weight;
        green += at(data, source + 1) * weight;
        blue += at(data, source + 2) * weight;
      }
      out[place++] = clip(red);
      out[place++] = clip(green);
      out[place++] = clip(blue);
    }
  }
  return { data: out, width: size, height, step: 3 };
}

/**
 * The rows `top` to `top + size` of the vertically resized image.
 * @param {Raster} image
 * @param {Coefficients} down
 * @param {number} top
 * @param {number} size
 */
function vertical({ data, width, step }, { first, count, weights, stride }, top, size) {
  const out = new Uint8Array(size * width * 3);
  const sums = new Int32Array(width * 3);
  let place = 0;
  for (let y = top; y < top + size; y++) {
    sums.fill(HALF);
    for (let i = 0; i < at(count, y); i++) {
      const weight = at(weights, y * stride + i);
      let source = (at(first, y) + i) * width * step;
      for (let x = 0; x < sums.length; x += 3, source += step) {
        sums[x] = at(sums, x) + at(data, source) * weight;
        sums[x + 1] = at(sums, x + 1) + at(data, source + 1) * weight;
        sums[x + 2] = at(sums, x + 2) + at(data, source + 2) * weight;
      }
    }
    for (const sum of sums) out[place++] = clip(sum);
  }
  return { data: out, width, height: size, step: 3 };
}

/** @param {number} sum */
function clip(sum) {
  const value = sum >> BITS;
  return value < 0 ? 0 : value > 255 ? 255 : value;
}

/**
 * An element within bounds, as the loops above ensure.
 * @param {ArrayLike<number>} array
 * @param {number} i
 */
const at = (array, i) => /** @type {number} */ (array[i]);
