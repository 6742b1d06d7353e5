/** Images: from a file's bytes to a model's input pixels. */

import { decode } from "#platform";

import { InputError, MmsentError, reason } from "../errors.js";
import { readHeader } from "./formats.js";
import { square } from "./resize.js";

/** @typedef {import("../bundle/info.js").ImageSettings} ImageSettings */
/** @typedef {import("./resize.js").Raster} Raster */

/** Larger image files are refused. */
export const MAX_IMAGE_BYTES = 1 << 26;

/** The value of every pixel of a missing image: grey. */
export const MISSING = 127;

/**
 * A model's input pixels from an image file, RGB, [size, size, 3].
 * Throws InputError with the reason if it can't be decoded completely.
 * @param {Uint8Array} data
 * @param {ImageSettings} settings
 * @returns {Promise<Uint8Array>}
 */
export async function loadPixels(data, settings) {
  if (data.length > MAX_IMAGE_BYTES) {
    throw new InputError(`the image is larger than ${MAX_IMAGE_BYTES >> 10} KiB`);
  }
  const header = readHeader(data);
  try {
    return square(turn(await decode(data, header), header.orientation), settings);
  } catch (error) {
    if (error instanceof MmsentError) throw error;
    throw new InputError(`the image can't be decoded (${reason(error)})`);
  }
}

/**
 * The pixels of a missing image: grey.
 * @param {ImageSettings} settings
 */
export const missingPixels = ({ size }) => new Uint8Array(size * size * 3).fill(MISSING);

/**
 * An image turned upright, as its EXIF orientation says.
 * @param {Raster} image
 * @param {number} orientation
 * @returns {Raster}
 */
function turn(image, orientation) {
  if (orientation < 2) return image;
  const { data, width, height, step } = image;
  const transposed = orientation > 4;
  const fromRight = [2, 3, 7, 8].includes(orientation);
  const fromBottom = [3, 4, 6, 7].includes(orientation);
  const turned = transposed ? { width: height, height: width } : { width, height };
  const out = new Uint8Array(width * height * step);
  let place = 0;
  for (let y = 0; y < turned.height; y++) {
    for (let x = 0; x < turned.width; x++) {
      const [across, down] = transposed ? [y, x] : [x, y];
      const column = fromRight ? width - 1 - across : across;
      const row = fromBottom ? height - 1 - down : down;
      const source = (row * width + column) * step;
      for (let i = 0; i < step; i++) out[place++] = /** @type {number} */ (data[source + i]);
    }
  }
  return { data: out, ...turned, step };
}
