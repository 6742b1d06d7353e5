/** Shows a prediction: the label, and all probabilities as bars. */

import { element } from "./element.js";
import { percent } from "./numbers.js";

/**
 * @param {import("./types.d.ts").Prediction} prediction
 * @param {string} model
 * @returns {Node[]}
 */
export function drawPrediction({ label, probabilities, milliseconds }, model) {
  const rows = Object.entries(probabilities).map(([name, share]) => {
    const bar = element("span", { class: "bar" });
    bar.style.width = percent(share);
    return element(
      "tr",
      name === label ? { class: "predicted" } : {},
      element("th", { scope: "row" }, element("bdi", {}, name)),
      element("td", {}, bar),
      element("td", {}, percent(share)),
    );
  });
  const heads = ["label", "chart", "probability"].map((head) =>
    element("th", { scope: "col" }, element("span", { class: "unseen" }, head)),
  );
  const answered = `${model} answered in ${milliseconds.toFixed(milliseconds < 10 ? 1 : 0)} ms.`;
  return [
    element(
      "p",
      { class: "label" },
      element("bdi", {}, label),
      " ",
      element("span", {}, percent(probabilities[label] ?? 0)),
    ),
    element(
      "table",
      { class: "labels" },
      element("caption", { class: "unseen" }, "Probability of each label"),
      element("thead", {}, element("tr", {}, ...heads)),
      element("tbody", {}, ...rows),
    ),
    element("p", { class: "quiet" }, answered),
  ];
}
