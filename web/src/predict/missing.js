/** Pairs without a text or an image: whether a bundle can predict them. */

import { PARTS } from "../bundle/info.js";

/** @typedef {import("../bundle/info.js").Part} Part */
/** @typedef {import("../bundle/info.js").BundleInfo} BundleInfo */

/** The modality on which a model must be trained to work without this part. */
const MODALITY = { text: "image", image: "text" };

/**
 * Why the bundle can't predict a pair that lacks these parts; null if it can.
 * @param {readonly Part[]} lacking
 * @param {BundleInfo} info
 */
export function missingFault(lacking, { model, optional }) {
  if (lacking.length === PARTS.length) {
    return "the pair has neither text nor image";
  }
  const part = lacking.find((name) => !optional.includes(name));
  if (!part) return null;
  return (
    `the pair has no ${part}, and this ${model} model was not trained for that; use one trained with ` +
    `--modality ${MODALITY[part]}, or with modality dropout (the compact model's default)`
  );
}
