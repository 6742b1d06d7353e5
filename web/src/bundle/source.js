/** The ways to give a bundle: its address, path, file or bytes. */

import { PATHS, readPath, request } from "#platform";

import { InputError, reason } from "../errors.js";
import { typeName } from "../inputs/text.js";
import { IS_ADDRESS } from "./address.js";
import { checkSize, MAX_BYTES } from "./structure.js";

/** @typedef {string | URL | Blob | ArrayBuffer | ArrayBufferView} Source */
/** @typedef {(loaded: number, total: number) => void} OnProgress bytes; a total of 0 is unknown */

/**
 * All bytes of a bundle, and its name in messages. Throws InputError if it can't be read.
 * @param {Source} source
 * @param {OnProgress} [onProgress]
 * @returns {Promise<{content: Uint8Array, name: string}>}
 */
export async function readSource(source, onProgress) {
  const name = typeof source === "string" ? source : source instanceof URL ? source.href : "the bundle";
  const content = await read(source, name, onProgress);
  return { content, name };
}

/**
 * @param {Source} source
 * @param {string} name
 * @param {OnProgress} [onProgress]
 * @returns {Promise<Uint8Array>}
 */
async function read(source, name, onProgress) {
  if (typeof source === "string" && PATHS && !IS_ADDRESS.test(source)) return readFile(source, name);
  if (PATHS && source instanceof URL && source.protocol === "file:") return readFile(source, name);
  if (typeof source === "string" || source instanceof URL) return download(source, name, onProgress);
  if (source instanceof Blob) {
    checkSize(source.size, name);
    return new Uint8Array(await source.arrayBuffer());
  }
  const bytes = asBytes(source);
  if (bytes) return bytes;
  throw new InputError(
    `the bundle must be an address, a path, a file or its bytes, not ${typeName(source)}`,
  );
}

/**
 * The bytes of a buffer or view; null for any other value.
 * @param {unknown} value
 * @returns {Uint8Array | null}
 */
export function asBytes(value) {
  if (value instanceof Uint8Array) return value;
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  return null;
}

/**
 * @param {string | URL} path
 * @param {string} name
 */
async function readFile(path, name) {
  try {
    return await readPath(path, name, MAX_BYTES);
  } catch (error) {
    const message = reason(error);
    if (message.endsWith("does not exist")) throw new InputError(`${message}; \`mmsent-export onnx\` writes a bundle`);
    if (message.includes("is larger than")) checkSize(MAX_BYTES + 1, name);
    throw error;
  }
}

/**
 * @param {string | URL} place
 * @param {string} name
 * @param {OnProgress} [onProgress]
 */
async function download(place, name, onProgress) {
  /** @type {Response} */
  let response;
  try {
    response = await request(place);
  } catch (error) {
    throw new InputError(`${name} can't be loaded (${reason(error)})`);
  }
  if (!response.ok) throw new InputError(`${name} can't be loaded (${response.status} ${response.statusText})`);
  const compressed = response.headers.has("content-encoding"); // then content-length differs
  const total = compressed ? 0 : Number(response.headers.get("content-length") ?? 0);
  if (total) checkSize(total, name);
  /** @type {Uint8Array[]} */
  const chunks = [];
  let loaded = 0;
  const reader = response.body?.getReader();
  for (;;) {
    const { done, value } = (await reader?.read()) ?? { done: true, value: undefined };
    if (done) break;
    chunks.push(value);
    loaded += value.length;
    checkSize(loaded, name);
    onProgress?.(loaded, total);
  }
  const content = new Uint8Array(loaded);
  let start = 0;
  for (const chunk of chunks) {
    content.set(chunk, start);
    start += chunk.length;
  }
  return content;
}
