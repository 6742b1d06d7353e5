/** The worker's module: it answers a page's calls to an engine. */

import { parentPort } from "#platform";

import { Engine } from "./predict/engine.js";

const port = await parentPort();
/** @type {Engine | undefined} */
let engine;

port.listen(async ({ id, method, args }) => {
  try {
    port.post({ id, result: await call(id, method, args) });
  } catch (thrown) {
    const { name, message } = thrown instanceof Error ? thrown : new Error(String(thrown));
    port.post({ id, error: { name, message } });
  }
});

/**
 * @param {number} id
 * @param {"open" | "predict" | "encode" | "pixels" | "run"} method
 * @param {any[]} args
 */
async function call(id, method, args) {
  if (method === "open") {
    const [source, options] = args;
    const onProgress = (/** @type {number[]} */ ...progress) => port.post({ id, progress });
    engine = await Engine.open(source, { ...options, onProgress });
    return engine.description;
  }
  if (!engine) throw new Error("no bundle is open");
  return /** @type {any} */ (engine)[method](...args);
}
