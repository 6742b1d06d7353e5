/** The inputs and outputs of a prediction. */

import type { BundleInfo } from "../bundle/info.js";
import type { Backend } from "../platform/types.js";

/** An image file: a File, its bytes or, in Node, its path. */
export type Image = Blob | Uint8Array | ArrayBuffer | string;

/** A text and an image, either of which may be missing if the model allows it. */
export interface Pair {
  text?: string | null;
  image?: Image | null;
}

/**
 * The most probable label, and the probability of each; they add up to 1. `logits` are in the order of
 * the model's labels; the probabilities are their softmax.
 */
export interface Prediction {
  label: string;
  probabilities: Record<string, number>;
  logits: Float32Array;
}

/** A pair as the input of the model's graph: token ids, and pixels [size, size, 3]. */
export interface Input {
  ids: readonly number[];
  pixels: Uint8Array;
}

export interface OpenOptions {
  /**
   * How many threads compute; the default is all cores in Node, and in a page that is cross-origin
   * isolated, else one. In WebAssembly the first model of a thread decides for all.
   */
  threads?: number;
  /** The loaded bytes of the bundle and the total, 0 if it is not known. */
  onProgress?: (loaded: number, total: number) => void;
  /** Whether to compute in a worker; the default is true in browsers, false in Node. */
  worker?: boolean;
  /** In Node: "native" for onnxruntime-node, "wasm" for onnxruntime-web; the default is what is installed. */
  backend?: Backend;
}

/** A bundle's metadata. */
export interface Description {
  info: BundleInfo;
  sha256: string;
  backend: Backend;
}

/** The part that computes: in this thread, or in a worker. */
export interface Engine {
  readonly description: Description;
  predict(pairs: Pair[], several: boolean): Promise<Prediction[]>;
  encode(text: string): Promise<number[]>;
  pixels(image: Image | null): Promise<Uint8Array>;
  run(inputs: Input[]): Promise<Float32Array[]>;
  close(): Promise<void>;
}
