/** mmsent/inputs: from text and image to a model's inputs, without a model. */

export { loadPixels, missingPixels } from "./image.js";
export { decodeText } from "./text.js";
export { readTokenizer } from "./tokenizer.js";
