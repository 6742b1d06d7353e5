/**
 * The seal: a bundle's SHA-256, stored in the bundle itself, which reveals damage.
 *
 * The digest is computed over the file with zeros in place of the digest.
 */

export const SEAL_KEY = "mmsent.sha256";
const LENGTH = 64;

// A metadata entry in protobuf: the key, then field 2 with 64 bytes.
const MARK = new TextEncoder().encode(`${SEAL_KEY}\x12\x40`);

/**
 * Whether every byte of a bundle is as the exporter wrote it.
 * @param {Uint8Array} content
 */
export async function isWhole(content) {
  const place = findLast(content, MARK) + MARK.length;
  if (place < MARK.length) return false;
  const written = String.fromCharCode(...content.subarray(place, place + LENGTH));
  const unsealed = new Uint8Array(content); // a copy, unlike slice() of a Buffer
  unsealed.fill(0x30, place, place + LENGTH);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", unsealed));
  return written === Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * @param {Uint8Array} bytes
 * @param {Uint8Array} word
 */
function findLast(bytes, word) {
  const [head = 0] = word;
  for (let at = bytes.lastIndexOf(head); at >= 0; at = at && bytes.lastIndexOf(head, at - 1)) {
    if (word.every((byte, i) => bytes[at + i] === byte)) return at;
    if (at === 0) break;
  }
  return -1;
}
