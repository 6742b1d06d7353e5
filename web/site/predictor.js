/** The predictor of a site from `mmsent-export web`: the browser itself predicts. */

import { SentimentModel } from "../src/index.js";
import { checkModel } from "./check.js";

/** @typedef {import("./types.d.ts").Progress} Progress */

const SITE = new URL("../", import.meta.url);
const NAME = "model.onnx";
const BYTES = 0; // of the bundle: `mmsent-export web` writes them here
const OFFLINE = "serviceWorker" in navigator;

/** @type {Promise<SentimentModel> | null} */
let opening = null;
/** @type {Progress | undefined} */
let show;
let loaded = 0; // bytes of the bundle
let isOpen = false;

/** @type {import("./types.d.ts").Predictor} */
export const predictor = {
  where: `Nothing leaves this machine: your browser computes everything itself${OFFLINE ? ", and after the first visit it needs no network" : ""}.`,
  manual: "",

  async models({ progress }) {
    const { optional, image } = await open(progress);
    return [{ name: NAME, optional, resize: image.resize }];
  },

  async predict({ text, image }) {
    const model = await open();
    const begin = performance.now();
    const { label, probabilities } = await model.predict({ text: text || null, image });
    return { label, probabilities, milliseconds: performance.now() - begin };
  },

  async explain({ text, image }, { signal, progress }) {
    const model = await open();
    return model.explain({ text: text || null, image }, { signal, onProgress: progress });
  },

  async check({ signal, progress }) {
    if (!isSecureContext) throw new Error("the check works on https, or on localhost");
    const model = await open();
    const known = await (await get("selftest.json", signal)).json();
    if (known.sha256 !== model.sha256) throw new Error("selftest.json belongs to another model; reload this page");
    const { differences, largest } = await checkModel(model, known, { signal, onProgress: progress });
    return { pairs: known.pairs.length, differences, largest };
  },

  useKey() {},
};

/**
 * The model, which is opened only once.
 * @param {Progress} [progress] gets the loaded bytes of the bundle
 */
function open(progress) {
  show = progress ?? show;
  if (!isOpen) show?.(loaded, BYTES);
  opening ??= load();
  return opening;
}

async function load() {
  try {
    const onProgress = (/** @type {number} */ done) => show?.((loaded = done), BYTES);
    const model = await SentimentModel.open(new URL(NAME, SITE).href, { worker: true, onProgress });
    isOpen = true;
    if (OFFLINE) navigator.serviceWorker.register(new URL("service-worker.js", SITE)).catch(console.warn);
    return model;
  } catch (error) {
    opening = null; // another try starts again
    throw error;
  }
}

/**
 * @param {string} path
 * @param {AbortSignal} signal
 */
async function get(path, signal) {
  const answer = await fetch(new URL(path, SITE), { signal });
  if (!answer.ok) throw new Error(`${path} can't be loaded: the server answered ${answer.status}`);
  return answer;
}
