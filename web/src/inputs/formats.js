/** The header of an image file: its format, size and orientation. */

import { InputError } from "../errors.js";

/** Images of more pixels than this (8192 x 8192) are refused before they are decoded. */
export const MAX_PIXELS = 1 << 26;
/** The formats that Python supports; some depend on the platform here. */
export const FORMATS = /** @type {const} */ (["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "AVIF"]);

/** @typedef {(typeof FORMATS)[number]} Format */

/**
 * `width` and `height` are 0 if they are not in the header. `orientation` is EXIF's, 1 to 8; for AVIF
 * it is in the container, and the decoder applies it.
 * `exif`: the part of the file that contains EXIF. `channels`: of a JPEG or a PNG.
 * @typedef {{
 *   format: Format,
 *   width: number,
 *   height: number,
 *   orientation: number,
 *   depth: number,
 *   channels: number,
 *   exif: [begin: number, end: number] | null,
 * }} Header
 */

/** @typedef {{begin: number, end: number, content: Uint8Array}} Exif */
/** @typedef {{width: number, height: number, depth?: number, channels?: number, exif?: Exif, xmp?: Uint8Array}} Found */

const XMP_IN_JPEG = "http://ns.adobe.com/xap/1.0/\0";
const XMP_IN_PNG = "XML:com.adobe.xmp\0";

/**
 * Read the header of an image file. Throws InputError if it is broken, too large or not in FORMATS.
 * @param {Uint8Array} data
 * @returns {Header}
 */
export function readHeader(data) {
  const format = identify(data);
  let found;
  try {
    found = READERS[format](new Bytes(data));
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new InputError("the image can't be decoded (it is truncated)");
  }
  const { width, height, exif, xmp, depth = 8, channels = 3 } = found;
  if (width * height > MAX_PIXELS) {
    throw new InputError(`the image is too large (${width} x ${height}, over ${MAX_PIXELS} pixels)`);
  }
  const said = fromExif(exif?.content) ?? fromXmp(xmp) ?? 1;
  const orientation = said > 8 ? 1 : said;
  return { format, width, height, depth, channels, orientation, exif: exif ? [exif.begin, exif.end] : null };
}

/**
 * @param {Uint8Array} data
 * @returns {Format}
 */
function identify(data) {
  if (!data.length) throw new InputError("the image can't be decoded (the file is empty)");
  const head = latin1(data.subarray(0, 16));
  if (head.startsWith("\xff\xd8\xff")) return "JPEG";
  if (head.startsWith("\x89PNG\r\n\x1a\n")) return "PNG";
  if (/^GIF8[79]a/.test(head)) return "GIF";
  if (head.startsWith("BM")) return "BMP";
  if (/^RIFF[^]{4}WEBP/.test(head)) return "WEBP";
  if (/^(?:II\*\0|MM\0\*|II\+\0|MM\0\+)/.test(head)) return "TIFF";
  if (/^[^]{4}ftyp(?:avif|avis|mif1|msf1)/.test(head)) return "AVIF";
  throw new InputError(`the image can't be decoded (it is not one of ${FORMATS.join(", ")})`);
}

/** @type {Record<Format, (bytes: Bytes) => Found>} */
const READERS = {
  JPEG: readJpeg,
  PNG: readPng,
  GIF: (bytes) => ({ width: bytes.number(6, 2, true), height: bytes.number(8, 2, true) }),
  BMP: (bytes) => ({
    width: bytes.number(18, 4, true),
    height: Math.abs(bytes.number(22, 4, true) | 0), // negative: from the top
  }),
  WEBP: readWebp,
  AVIF: readAvif,
  TIFF: () => ({ width: 0, height: 0 }),
};

/**
 * @param {Bytes} bytes
 * @returns {Found}
 */
function readJpeg(bytes) {
  /** @type {Found} */
  const found = { width: 0, height: 0 };
  for (let place = 2; ; ) {
    if (bytes.number(place, 1) !== 0xff) throw new RangeError();
    const marker = bytes.number(place + 1, 1);
    if (marker === 0xff) {
      place += 1; // fill
      continue;
    }
    const length = bytes.number(place + 2, 2);
    const content = bytes.slice(place + 4, place + 2 + length);
    if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) {
      found.height = bytes.number(place + 5, 2);
      found.width = bytes.number(place + 7, 2);
      found.channels = bytes.number(place + 9, 1);
    }
    if (marker === 0xe1) {
      if (startsWith(content, "Exif\0\0")) {
        found.exif ??= { begin: place, end: place + 2 + length, content: content.subarray(6) };
      }
      if (startsWith(content, XMP_IN_JPEG)) found.xmp ??= content.subarray(XMP_IN_JPEG.length);
    }
    place += 2 + length;
    if (marker === 0xda) {
      if (!hasEnd(bytes.data, place)) throw new RangeError();
      return found;
    }
  }
}

/**
 * Whether a JPEG's scan is followed by its end. Decoders would show part of a truncated one.
 * @param {Uint8Array} data
 * @param {number} place
 */
function hasEnd(data, place) {
  for (let i = data.indexOf(0xff, place); i >= 0; i = data.indexOf(0xff, i + 1)) {
    if (data[i + 1] === 0xd9) return true;
  }
  return false;
}

/**
 * @param {Bytes} bytes
 * @returns {Found}
 */
function readPng(bytes) {
  const [width, height, depth, colour] = [
    bytes.number(16, 4), bytes.number(20, 4), bytes.number(24, 1), bytes.number(25, 1),
  ]; // prettier-ignore
  /** @type {Found} */
  const found = { width, height, depth, channels: { 0: 1, 4: 2, 6: 4 }[colour] ?? 3 };
  for (let place = 8; ; ) {
    const length = bytes.number(place, 4);
    const kind = latin1(bytes.slice(place + 4, place + 8));
    if (kind === "IEND") return found;
    const content = bytes.slice(place + 8, place + 8 + length);
    if (crc32(bytes.data.subarray(place + 4, place + 8 + length)) !== bytes.number(place + 8 + length, 4)) {
      throw new InputError(`the image can't be decoded (the checksum of its part ${kind} is wrong)`);
    }
    if (kind === "eXIf") found.exif ??= { begin: place, end: place + 12 + length, content };
    if (kind === "iTXt" && startsWith(content, `${XMP_IN_PNG}\0`)) found.xmp ??= content;
    place += 12 + length;
  }
}

/**
 * The checksum of a PNG's chunk. Some decoders show a damaged image instead of checking it.
 * @param {Uint8Array} data
 */
function crc32(data) {
  let rest = -1;
  for (const byte of data) rest = (rest >>> 8) ^ /** @type {number} */ (CRCS[(rest ^ byte) & 255]);
  return ~rest >>> 0;
}

/** The remainder of each byte. */
const CRCS = Int32Array.from({ length: 256 }, (_, byte) => {
  for (let bit = 0; bit < 8; bit++) byte = (byte >>> 1) ^ (byte & 1 ? 0xedb88320 : 0);
  return byte;
});

/**
 * @param {Bytes} bytes
 * @returns {Found}
 */
function readWebp(bytes) {
  /** @type {Found} */
  const found = { width: 0, height: 0 };
  const end = 8 + bytes.number(4, 4, true);
  if (end > bytes.data.length) throw new RangeError();
  for (let place = 12; place + 8 <= end; ) {
    const kind = latin1(bytes.slice(place, place + 4));
    const length = bytes.number(place + 4, 4, true);
    const start = place + 8;
    if (kind === "VP8X") {
      found.width = bytes.number(start + 4, 3, true) + 1;
      found.height = bytes.number(start + 7, 3, true) + 1;
    } else if (kind === "VP8 " && !found.width) {
      found.width = bytes.number(start + 6, 2, true) & 0x3fff;
      found.height = bytes.number(start + 8, 2, true) & 0x3fff;
    } else if (kind === "VP8L" && !found.width) {
      const packed = bytes.number(start + 1, 4, true);
      found.width = (packed & 0x3fff) + 1;
      found.height = ((packed >>> 14) & 0x3fff) + 1;
    } else if (kind === "EXIF") {
      const whole = bytes.slice(start, start + length);
      const content = startsWith(whole, "Exif\0\0") ? whole.subarray(6) : whole;
      found.exif = { begin: place, end: start + length + (length % 2), content };
    } else if (kind === "XMP ") {
      found.xmp = bytes.slice(start, start + length);
    }
    place = start + length + (length % 2);
  }
  return found;
}

/**
 * The largest size in an AVIF: of the image, its alpha channel or its tiles.
 * @param {Bytes} bytes
 * @returns {Found}
 */
function readAvif(bytes) {
  /** @type {Found} */
  const found = { width: 0, height: 0 };
  const head = latin1(bytes.data.subarray(0, 1 << 16));
  for (const { index } of head.matchAll(/ispe\0\0\0\0/g)) {
    found.width = Math.max(found.width, bytes.number(index + 8, 4));
    found.height = Math.max(found.height, bytes.number(index + 12, 4));
  }
  return found;
}

/**
 * The orientation in EXIF's first directory; undefined if there is none.
 * @param {Uint8Array | undefined} exif
 */
function fromExif(exif) {
  if (!exif) return undefined;
  try {
    const bytes = new Bytes(exif);
    const little = latin1(exif.subarray(0, 2)) === "II";
    const place = bytes.number(4, 4, little);
    for (let entry = 0; entry < bytes.number(place, 2, little); entry++) {
      const start = place + 2 + 12 * entry;
      if (bytes.number(start, 2, little) === 0x0112) return bytes.number(start + 8, 2, little);
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // unreadable EXIF is ignored
  }
  return undefined;
}

/** @param {Uint8Array | undefined} xmp */
function fromXmp(xmp) {
  const match = xmp && /tiff:Orientation(?:="|>)([0-9])/.exec(latin1(xmp));
  return match ? Number(match[1]) : undefined;
}

/** Bytes that are read by position; throws RangeError past the end. */
class Bytes {
  /** @param {Uint8Array} data */
  constructor(data) {
    this.data = new Uint8Array(data.buffer, data.byteOffset, data.length); // slice() of a Buffer does not copy
  }

  /**
   * @param {number} place
   * @param {number} size in bytes
   * @param {boolean} [little]
   */
  number(place, size, little = false) {
    const bytes = this.slice(place, place + size);
    if (little) bytes.reverse();
    return bytes.reduce((value, byte) => value * 256 + byte, 0);
  }

  /**
   * A copy of some bytes.
   * @param {number} begin
   * @param {number} end
   */
  slice(begin, end) {
    if (end > this.data.length || begin > end) throw new RangeError();
    return this.data.slice(begin, end);
  }
}

/**
 * @param {Uint8Array} data
 * @param {string} head
 */
const startsWith = (data, head) => latin1(data.subarray(0, head.length)) === head;

/** @param {Uint8Array} data */
function latin1(data) {
  let text = "";
  for (const byte of data) text += String.fromCharCode(byte);
  return text;
}
