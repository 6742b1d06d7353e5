/** An engine in a worker, so that the page stays responsive while it computes. */

import { absolute, startWorker } from "#platform";

import { InputError, MmsentError } from "../errors.js";

/** @typedef {import("../bundle/source.js").Source} Source */
/** @typedef {import("../platform/types.js").Port} Port */
/** @typedef {import("./types.js").Description} Description */
/** @typedef {import("./types.js").Engine} EngineInterface */
/** @typedef {import("./types.js").Image} Image */
/** @typedef {import("./types.js").Input} Input */
/** @typedef {import("./types.js").OpenOptions} OpenOptions */
/** @typedef {import("./types.js").Pair} Pair */
/** @typedef {import("./types.js").Prediction} Prediction */

/** @typedef {{resolve: (value: any) => void, reject: (error: Error) => void, onProgress?: OpenOptions["onProgress"]}} Call */

/** @implements {EngineInterface} */
export class RemoteEngine {
  /** @param {Port} port */
  constructor(port) {
    this.port = port;
    this.count = 0;
    /** @type {Map<number, Call>} */
    this.calls = new Map();
    /** @type {Error | null} */
    this.failure = null;
    /** @type {Description} */
    this.description = /** @type {any} */ (null); // until it is open
    port.listen(
      (message) => this.answer(message),
      (error) => this.fail(new MmsentError(`the worker failed (${error.message})`)),
    );
  }

  /**
   * @param {Source} source
   * @param {OpenOptions} options
   */
  static async open(source, { threads, backend, onProgress }) {
    const place = typeof source === "string" || source instanceof URL ? absolute(source) : source;
    const engine = new RemoteEngine(startWorker());
    try {
      engine.description = await engine.call("open", [place, { threads, backend }], onProgress);
      return engine;
    } catch (error) {
      await engine.close();
      throw error;
    }
  }

  /**
   * @param {Pair[]} pairs
   * @param {boolean} several
   * @returns {Promise<Prediction[]>}
   */
  predict(pairs, several) {
    return this.call("predict", [pairs, several]);
  }

  /**
   * @param {string} text
   * @returns {Promise<number[]>}
   */
  encode(text) {
    return this.call("encode", [text]);
  }

  /**
   * @param {Image | null} image
   * @returns {Promise<Uint8Array>}
   */
  pixels(image) {
    return this.call("pixels", [image]);
  }

  /**
   * @param {Input[]} inputs
   * @returns {Promise<Float32Array[]>}
   */
  run(inputs) {
    return this.call("run", [inputs]);
  }

  async close() {
    this.fail(new MmsentError("the model is closed"));
    await this.port.end();
  }

  /**
   * @param {string} method
   * @param {unknown[]} args
   * @param {OpenOptions["onProgress"]} [onProgress]
   * @returns {Promise<any>}
   */
  call(method, args, onProgress) {
    return new Promise((resolve, reject) => {
      if (this.failure) throw this.failure;
      const id = this.count++;
      this.port.post({ id, method, args });
      this.calls.set(id, { resolve, reject, onProgress });
      this.port.wait(true);
    });
  }

  /** @param {{id: number, progress?: [number, number], result?: unknown, error?: {name: string, message: string}}} message */
  answer({ id, progress, result, error }) {
    const call = this.calls.get(id);
    if (progress) {
      call?.onProgress?.(...progress);
      return;
    }
    this.calls.delete(id);
    this.port.wait(this.calls.size > 0);
    if (error) call?.reject(revived(error));
    else call?.resolve(result);
  }

  /** @param {Error} error */
  fail(error) {
    this.failure ??= error;
    for (const { reject } of this.calls.values()) reject(error);
    this.calls.clear();
  }
}

/** @param {{name: string, message: string}} error */
function revived({ name, message }) {
  if (name === "InputError") return new InputError(message);
  return name === "MmsentError" ? new MmsentError(message) : new Error(message);
}
