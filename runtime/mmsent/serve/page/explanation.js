/** Shows an explanation: modalities, words, regions of the image, and all numbers. */

import { element } from "./element.js";
import { drawMap } from "./map.js";
import { scale, side, signed } from "./numbers.js";

/** @typedef {import("./types.d.ts").Explanation} Explanation */

const UNREAD = 300; // characters shown of the text that the model doesn't read
const INPUTS = { both: "text and image", text: "text alone", image: "image alone", neither: "neither" };

/**
 * @param {Explanation} explanation
 * @param {{ source: string, resize: import("./types.d.ts").Model["resize"] }} image
 *   the URL of the pair's image, and how the model resizes it
 * @returns {Node[]}
 */
export function drawExplanation(explanation, image) {
  const { label, regions } = explanation;
  const parts = [modalities(explanation)];
  if (explanation.text.trim()) parts.push(words(explanation));
  if (regions) {
    const map = drawMap(regions, image.source, image.resize);
    const legend = `Blue, plain: for ${label}. Orange, striped: against it. Outlined: the strongest of ${regions.length} x ${regions.length} regions.`;
    parts.push(section("Regions of the image", map, note(legend)));
  }
  return [...parts, numbers(explanation), ...notes(explanation).map(note)];
}

/** @param {Explanation} explanation */
function modalities({ label, modalities }) {
  const values = [modalities.text[label] ?? 0, modalities.image[label] ?? 0];
  const rows = ["text", "image"].map((part, place) => {
    const value = values[place] ?? 0;
    const bar = element("span", { class: side(value) });
    bar.style.width = `${(50 * Math.abs(value)) / scale(values)}%`;
    return element(
      "tr",
      {},
      element("th", { scope: "row" }, part),
      element("td", { class: "track" }, element("span", {}, bar)),
      element("td", {}, signed(value)),
    );
  });
  return section(
    "Text and image",
    element("table", { class: "sides" }, element("tbody", {}, ...rows)),
    note(`Right of the line, solid: for ${label}. Left, striped: against it.`),
  );
}

/** @param {Explanation} explanation */
function words({ label, text, words, read }) {
  const points = Array.from(text); // positions count code points
  const largest = scale(words.map(({ value }) => value));
  /** @type {(Node | string)[]} */
  const parts = [];
  let place = 0;
  for (const { start, end, text: word, value } of words) {
    parts.push(points.slice(place, start).join(""));
    const shaded = element(
      "span",
      { class: `word ${side(value)}` },
      element("span", {}, word),
      element("small", {}, signed(value)),
    );
    shaded.style.setProperty("--strength", `${Math.abs(value) / largest}`);
    parts.push(shaded);
    place = end;
  }
  parts.push(points.slice(place, read).join(""));
  const rest = points.slice(read);
  if (rest.join("").trim()) {
    const shown = rest.slice(0, UNREAD).join("") + (rest.length > UNREAD ? "\u2026" : "");
    parts.push(element("span", { class: "unread" }, shown));
  }
  const legend = `Below each word: what it adds. Solid line: for ${label}. Dashed: against it. The thicker, the more.`;
  return section("Words", element("p", { class: "words", dir: "auto" }, ...parts), note(legend));
}

/** @param {Explanation} explanation */
function numbers({ probabilities, log_odds, foreign, regions }) {
  const labels = Object.keys(probabilities);
  const inputs = /** @type {(keyof typeof INPUTS)[]} */ (Object.keys(INPUTS));
  const odds = inputs.map((input) => ({
    name: INPUTS[input] + (foreign.includes(input) ? " (foreign)" : ""),
    values: labels.map((label) => log_odds[input][label] ?? 0),
  }));
  const tables = [table("Log-odds of each label, by input", ["input", ...labels], odds)];
  if (regions) {
    const rows = regions.map((values, row) => ({ name: `${row + 1}`, values }));
    const columns = rows.map(({ name }) => name);
    tables.push(table("Regions, by row from the top and column", ["row", ...columns], rows));
  }
  return element("details", {}, element("summary", {}, "The numbers behind it"), ...tables);
}

/**
 * A table that scrolls on its own if it is too wide.
 * @param {string} title
 * @param {string[]} heads
 * @param {{ name: string, values: readonly number[] }[]} rows
 */
function table(title, heads, rows) {
  const cells = rows.map(({ name, values }) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, name),
      ...values.map((value) => element("td", {}, signed(value))),
    ),
  );
  return element(
    "div",
    { class: "scroll", role: "region", tabindex: 0, "aria-label": title },
    element(
      "table",
      {},
      element("caption", {}, title),
      element("thead", {}, element("tr", {}, ...heads.map((head) => element("th", { scope: "col" }, head)))),
      element("tbody", {}, ...cells),
    ),
  );
}

/**
 * What the reader must know about these numbers.
 * @param {Explanation} explanation
 * @returns {string[]}
 */
function notes({ foreign, text, read, runs, budget }) {
  const found = [];
  const alone = foreign.filter((input) => input !== "neither").map((input) => `the ${input} alone`);
  if (alone.length) {
    found.push(
      `The model was not trained on ${alone.join(" or ")}: these predictions are guesses, and so are the shares of text and image.`,
    );
  }
  if (read < Array.from(text.trimEnd()).length) {
    found.push(`The model reads the first ${read} of ${Array.from(text).length} characters.`);
  }
  found.push(
    `${runs} predictions of at most ${budget}. Text and image: exact Shapley values. Words and regions: each left out on its own.`,
  );
  return found;
}

/**
 * @param {string} title
 * @param {...Node} children
 */
function section(title, ...children) {
  return element("section", {}, element("h3", {}, title), ...children);
}

/** @param {string} text */
function note(text) {
  return element("p", { class: "quiet" }, text);
}
