/** What browsers provide: image decoders, ONNX Runtime in WebAssembly, workers. */

import * as ort from "onnxruntime-web/wasm";

import { InputError } from "../errors.js";

/** @typedef {import("../inputs/formats.js").Header} Header */
/** @typedef {import("../inputs/resize.js").Raster} Raster */
/** @typedef {import("./types.js").Runtime} Runtime */
/** @typedef {import("./types.js").Port} Port */

/** Whether a string may be a path. */
export const PATHS = false;
/** Whether models are in a worker by default. */
export const WORKER = true;

/**
 * Decode an image file without turning it, over white.
 * @param {Uint8Array} data
 * @param {Header} header
 * @returns {Promise<Raster>}
 */
export async function decode(data, header) {
  const { format, orientation } = header;
  if (format === "TIFF") {
    throw new InputError("the image can't be decoded (browsers don't read TIFF; save it as PNG or JPEG)");
  }
  const file = orientation > 1 ? withoutExif(data, header) : data;
  const bitmap = await createImageBitmap(new Blob([/** @type {BlobPart} */ (file)]), {
    colorSpaceConversion: "none",
  });
  try {
    const { width, height } = bitmap;
    const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
    if (!context) throw new Error("this browser doesn't support a canvas of that size");
    context.fillStyle = "white";
    context.fillRect(0, 0, width, height);
    context.drawImage(bitmap, 0, 0);
    return { data: context.getImageData(0, 0, width, height).data, width, height, step: 4 };
  } finally {
    bitmap.close();
  }
}

/**
 * A copy of an image file that no browser turns: some ignore `imageOrientation`.
 * @param {Uint8Array} data
 * @param {Header} header
 */
function withoutExif(data, { format, exif }) {
  if (!exif) return data;
  const [begin, end] = exif;
  const cut = new Uint8Array(data.length - (end - begin));
  cut.set(data.subarray(0, begin));
  cut.set(data.subarray(end), begin);
  if (format === "WEBP") new DataView(cut.buffer).setUint32(4, cut.length - 8, true); // the size of what follows
  return cut;
}

/** Several threads need shared memory, which only cross-origin isolated pages get. */
export const defaultThreads = () => (globalThis.crossOriginIsolated ? navigator.hardwareConcurrency : 1);

/**
 * @param {import("./types.js").Backend} [_backend] there is only one
 * @returns {Promise<Runtime>}
 */
export async function loadRuntime(_backend) {
  return { ort, backend: "wasm" };
}

/**
 * The response to a request for a file.
 * @param {string | URL} place
 */
export const request = (place) => fetch(place);

/**
 * A string is a path only in Node.
 * @param {string | URL} _path
 * @param {string} what
 * @param {number} _limit
 * @returns {Promise<Uint8Array>}
 */
export async function readPath(_path, what, _limit) {
  throw new InputError(`${what} can't be read from a path in a browser; give a File or its bytes`);
}

/**
 * An absolute address: in a worker, a relative one would refer to another file.
 * @param {string | URL} place
 */
export const absolute = (place) => new URL(place, document.baseURI).href;

/** @returns {Port} */
export function startWorker() {
  const worker = new Worker(new URL("../worker.js", import.meta.url), { type: "module" });
  return {
    post: (message) => worker.postMessage(message),
    listen(onMessage, onFailure) {
      worker.onmessage = ({ data }) => onMessage(data);
      worker.onerror = ({ message }) => onFailure(new Error(message || "its module can't be loaded"));
    },
    wait() {},
    end: async () => worker.terminate(),
  };
}

/** The port to the thread that started this worker. */
export async function parentPort() {
  return {
    post: (/** @type {unknown} */ message) => self.postMessage(message),
    listen(/** @type {(message: any) => void} */ onMessage) {
      self.onmessage = ({ data }) => onMessage(data);
    },
  };
}
