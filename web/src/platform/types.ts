/** What a platform, a browser or Node, provides. */

export type Backend = "native" | "wasm";

/** ONNX Runtime: onnxruntime-node, or onnxruntime-web. */
export interface Runtime {
  ort: typeof import("onnxruntime-web");
  backend: Backend;
}

/** A worker, as seen by the thread that started it. */
export interface Port {
  post(message: unknown): void;
  /** `onFailure`: the worker stopped or could not start. */
  listen(onMessage: (message: any) => void, onFailure: (error: Error) => void): void;
  /** Whether answers are awaited: otherwise Node may exit. */
  wait(waiting: boolean): void;
  end(): Promise<unknown>;
}
