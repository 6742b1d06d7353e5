/** What is predicted from, and what comes of it. */

import type { BundleInfo } from "../bundle/info.js";
import type { Backend } from "../platform/types.js";

/** An image file: a File, its bytes or, in Node, its path. */
export type Image = Blob | Uint8Array | ArrayBuffer | string;

/** A text and an image, either of which may be missing where the model allows it. */
export interface Pair {
  text?: string | null;
  image?: Image | null;
}

/**
 * The most probable label and the probability of each; they add up to 1. `logits`, in the order of the
 * model's labels, are what the softmax makes the probabilities of.
 */
export interface Prediction {
  label: string;
  probabilities: Record<string, number>;
  logits: Float32Array;
}

/** A pair as the model's graph takes it: token ids, and pixels [size, size, 3]. */
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
  /** How many bytes of the bundle are loaded, of how many; 0 if that is not known. */
  onProgress?: (loaded: number, total: number) => void;
  /** Whether to compute in a worker; the default is true in browsers, false in Node. */
  worker?: boolean;
  /** In Node: "native" for onnxruntime-node, "wasm" for onnxruntime-web; the default is what is installed. */
  backend?: Backend;
}

/** What a bundle says of itself. */
export interface Description {
  info: BundleInfo;
  sha256: string;
  backend: Backend;
}

/** What computes: in this thread, or in a worker. */
export interface Engine {
  readonly description: Description;
  predict(pairs: Pair[], several: boolean): Promise<Prediction[]>;
  encode(text: string): Promise<number[]>;
  pixels(image: Image | null): Promise<Uint8Array>;
  run(inputs: Input[]): Promise<Float32Array[]>;
  close(): Promise<void>;
}
