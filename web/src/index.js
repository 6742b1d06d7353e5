/** mmsent in browsers and in Node: one ONNX file in, labels out. */

export { InputError, MmsentError } from "./errors.js";
export { SentimentModel } from "./model.js";

/** @typedef {import("./bundle/info.js").BundleInfo} BundleInfo */
/** @typedef {import("./bundle/info.js").ImageSettings} ImageSettings */
/** @typedef {import("./bundle/source.js").Source} Source */
/** @typedef {import("./predict/explain/occlusion.js").ExplainOptions} ExplainOptions */
/** @typedef {import("./predict/explain/occlusion.js").Explanation} Explanation */
/** @typedef {import("./predict/types.js").Image} Image */
/** @typedef {import("./predict/types.js").Input} Input */
/** @typedef {import("./predict/types.js").OpenOptions} OpenOptions */
/** @typedef {import("./predict/types.js").Pair} Pair */
/** @typedef {import("./predict/types.js").Prediction} Prediction */
