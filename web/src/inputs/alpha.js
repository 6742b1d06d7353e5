/** Transparency over white. */

/**
 * Draw RGBA pixels over white, in place, with the rounding of Pillow's `alpha_composite`. Source: AlphaComposite.c.
 * @param {Uint8Array | Uint8ClampedArray} data
 */
export function overWhite(data) {
  for (let i = 0; i < data.length; i += 4) {
    const alpha = /** @type {number} */ (data[i + 3]);
    if (alpha === 255) continue;
    for (let place = i; place < i + 3; place++) {
      const mixed = (/** @type {number} */ (data[place]) * alpha + 255 * (255 - alpha) + 128) << 7;
      data[place] = ((mixed >> 8) + mixed) >> 15;
    }
  }
}
