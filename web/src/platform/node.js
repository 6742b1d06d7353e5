/** What Node provides: files, WebAssembly image decoders, ONNX Runtime native or in WebAssembly, workers. */

import { open, readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parentPort as nodeParentPort, Worker } from "node:worker_threads";

import { IS_ADDRESS } from "../bundle/address.js";
import { InputError } from "../errors.js";
import { overWhite } from "../inputs/alpha.js";

/** @typedef {import("../inputs/formats.js").Header} Header */
/** @typedef {import("../inputs/resize.js").Raster} Raster */
/** @typedef {import("./types.js").Backend} Backend */
/** @typedef {import("./types.js").Runtime} Runtime */
/** @typedef {import("./types.js").Port} Port */

/** Whether a string may be a path. */
export const PATHS = true;
/** Whether models are in a worker by default. */
export const WORKER = false;

const require = createRequire(import.meta.url);

// In a WebP: the last letter of VP8X, and a flag of that chunk.
const EXTENDED = "X".charCodeAt(0);
const ANIMATED = 2;

/**
 * Decode an image file without turning it, over white.
 * @param {Uint8Array} data
 * @param {Header} header
 * @returns {Promise<Raster>}
 */
export async function decode(data, header) {
  const { format, channels } = header;
  if (format === "JPEG" && channels === 4) throw unread("CMYK in JPEG");
  if (format === "JPEG") return fromJpeg(data);
  if (format === "PNG") return fromPng(data, header);
  if (format === "WEBP") return fromWebp(data);
  throw unread(format);
}

/** @param {string} format */
const unread = (format) =>
  new InputError(`the image can't be decoded (in Node, mmsent reads JPEG, PNG and WEBP, but not ${format})`);

/** @param {Uint8Array} data */
async function fromJpeg(data) {
  const { default: decodeJpeg } = await jpeg();
  said = "";
  try {
    return opaque(await decodeJpeg(/** @type {any} */ (data)));
  } catch (error) {
    throw said ? new Error(said) : error; // the decoder throws something that is not an Error
  }
}

/** @param {Uint8Array} data */
async function fromWebp(data) {
  if (data[15] === EXTENDED && /** @type {number} */ (data[20]) & ANIMATED) throw unread("an animated WEBP");
  const { default: decodeWebp } = await webp();
  return opaque(await decodeWebp(/** @type {any} */ (data)));
}

/**
 * 16-bit grey is scaled to 8 bits as in Python; for colours, Pillow takes the high bytes.
 * @param {Uint8Array} data
 * @param {Header} header
 */
async function fromPng(data, { depth, channels }) {
  const { decode: decodePng } = await png();
  const buffer = /** @type {any} */ (data);
  if (depth !== 16) return opaque(await decodePng(buffer));
  const { data: words, width, height } = await decodePng(buffer, { bitDepth: 16 });
  const toByte = (/** @type {number} */ word) => (channels === 1 ? Math.trunc((word + 128) / 257) : word >> 8);
  return opaque({ data: Uint8Array.from(words, toByte), width, height });
}

/** @param {{data: Uint8Array | Uint8ClampedArray, width: number, height: number}} image */
function opaque({ data, width, height }) {
  overWhite(data);
  return { data, width, height, step: 4 };
}

/** The JPEG decoder's last warning or error, which it would print. */
let said = "";
const jpeg = once(async () => {
  const decoder = await import("@jsquash/jpeg/decode.js");
  const init = /** @type {(wasm: WebAssembly.Module, options: object) => Promise<void>} */ (decoder.init);
  const printErr = (/** @type {string} */ line) => void (said = line);
  await init(await compiled("@jsquash/jpeg/codec/dec/mozjpeg_dec.wasm"), { printErr });
  return decoder;
});
const webp = once(async () => {
  const decoder = await import("@jsquash/webp/decode.js");
  await decoder.init(await compiled("@jsquash/webp/codec/dec/webp_dec.wasm"));
  return decoder;
});
const png = once(async () => {
  const decoder = await import("@jsquash/png/decode.js");
  await decoder.init(await compiled("@jsquash/png/codec/pkg/squoosh_png_bg.wasm"));
  return decoder;
});

/**
 * @param {string} file
 * @returns {Promise<any>}
 */
const compiled = async (file) => WebAssembly.compile(await readFile(require.resolve(file)));

/**
 * @template T
 * @param {() => Promise<T>} make
 * @returns {() => Promise<T>}
 */
function once(make) {
  /** @type {Promise<T> | undefined} */
  let made;
  return () => (made ??= make());
}

export const defaultThreads = availableParallelism;

/**
 * The requested ONNX Runtime; by default onnxruntime-node if it is installed, otherwise onnxruntime-web.
 * @param {Backend} [backend]
 * @returns {Promise<Runtime>}
 */
export async function loadRuntime(backend) {
  if (backend !== "wasm") {
    try {
      const { default: ort } = await import("onnxruntime-node");
      return { ort: /** @type {any} */ (ort), backend: "native" };
    } catch (error) {
      const absent = /** @type {NodeJS.ErrnoException} */ (error).code === "ERR_MODULE_NOT_FOUND";
      if (!absent) throw error;
      if (backend === "native") throw new InputError("the native backend needs the package onnxruntime-node");
    }
  }
  return { ort: await import("onnxruntime-web"), backend: "wasm" };
}

/**
 * The response to a request for a file.
 * @param {string | URL} place
 */
export const request = (place) => fetch(place);

/**
 * All bytes of a regular file. Throws InputError if it does not exist or has more than `limit` bytes.
 * @param {string | URL} path
 * @param {string} what its name in messages
 * @param {number} limit
 * @returns {Promise<Uint8Array>}
 */
export async function readPath(path, what, limit) {
  let file;
  try {
    file = await open(path, "r");
    const status = await file.stat();
    if (!status.isFile()) throw new InputError(`${what} is not a regular file`);
    if (status.size > limit) throw new InputError(`${what} is larger than ${limit >> 10} KiB`);
    return await file.readFile();
  } catch (error) {
    if (error instanceof InputError) throw error;
    const { code, message } = /** @type {NodeJS.ErrnoException} */ (error);
    throw new InputError(code === "ENOENT" ? `${what} does not exist` : `${what} can't be read (${message})`);
  } finally {
    await file?.close();
  }
}

/**
 * An address, or a path that a worker can resolve.
 * @param {string | URL} place
 */
export function absolute(place) {
  if (place instanceof URL) return place.protocol === "file:" ? fileURLToPath(place) : place.href;
  return IS_ADDRESS.test(place) ? place : resolve(place);
}

/** @returns {Port} */
export function startWorker() {
  const worker = new Worker(new URL("../worker.js", import.meta.url));
  return {
    post: (message) => worker.postMessage(message),
    listen(onMessage, onFailure) {
      worker.on("message", onMessage).on("error", onFailure);
    },
    wait: (waiting) => (waiting ? worker.ref() : worker.unref()),
    end: () => worker.terminate(),
  };
}

/** The port to the thread that started this worker. */
export async function parentPort() {
  const port = nodeParentPort;
  if (!port) throw new Error("this module runs in a worker");
  return {
    post: (/** @type {unknown} */ message) => port.postMessage(message),
    listen: (/** @type {(message: any) => void} */ onMessage) => void port.on("message", onMessage),
  };
}
