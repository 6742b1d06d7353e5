/** What a platform, a browser or Node, gives to the rest. */

export type Backend = "native" | "wasm";

/** ONNX Runtime: onnxruntime-node, or onnxruntime-web. */
export interface Runtime {
  ort: typeof import("onnxruntime-web");
  backend: Backend;
}

/** A worker, seen by whoever started it. */
export interface Port {
  post(message: unknown): void;
  /** `onFailure`: the worker ended, or never began. */
  listen(onMessage: (message: any) => void, onFailure: (error: Error) => void): void;
  /** Whether answers are awaited: Node ends when nobody waits. */
  wait(waiting: boolean): void;
  end(): Promise<unknown>;
}
