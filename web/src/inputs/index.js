/** mmsent/inputs: from text and image to what a model takes, without a model. */

export { loadPixels, missingPixels } from "./image.js";
export { decodeText } from "./text.js";
export { readTokenizer } from "./tokenizer.js";
