/**
 * What moved a prediction: the pair is predicted again with parts of it left out. The Python module
 * `mmsent.predict.explain.occlusion` documents the algorithm and every value.
 */

import { PARTS } from "../../bundle/info.js";
import { InputError } from "../../errors.js";
import { missingPixels } from "../../inputs/image.js";
import { checkText } from "../../inputs/text.js";
import { missingFault } from "../missing.js";
import { hidePatch } from "./patches.js";
import { codePoints, group, readWords, without } from "./words.js";

const GRID = 7;
const MAX_GRID = 32;
const BUDGET = 128;
const MIN_BUDGET = 8;
const BATCH_SIZE = 8;

// The visible part of the image; a number from 0 means all but the patch of that cell.
const SHOWN = -1;
const HIDDEN = -2;

/**
 * A text, and the visible part of the image.
 * @typedef {{ text: string, seen: number }} Run
 * @typedef {Record<string, number>} Odds log-odds by label
 * @typedef {import("./words.js").Span} Span
 * @typedef {import("../../model.js").SentimentModel} SentimentModel
 * @typedef {Pick<SentimentModel, "labels" | "optional" | "image" | "encode" | "run">} Model
 */

/**
 * `grid`: the image is divided into `grid` x `grid` cells. `budget`: how many predictions may be
 * computed. `signal` stops the work between two batches. `onProgress` gets the number of predictions.
 * @typedef {object} ExplainOptions
 * @property {number} [grid]
 * @property {number} [budget]
 * @property {AbortSignal} [signal]
 * @property {(done: number, total: number) => void} [onProgress]
 */

/**
 * What moved a prediction, in the form of Python's JSON: see docs/explanation.md.
 * @typedef {object} Explanation
 * @property {string} label
 * @property {Odds} probabilities
 * @property {Record<"both" | "text" | "image" | "neither", Odds>} log_odds
 * @property {Record<"text" | "image", Odds>} modalities
 * @property {("text" | "image" | "neither")[]} foreign
 * @property {string} text
 * @property {number} read
 * @property {{ start: number, end: number, text: string, value: number }[]} words
 * @property {number[][] | null} regions
 * @property {number} runs
 * @property {number} budget
 */

/**
 * Explain the prediction of one pair. Throws InputError like `predict`, and if an option is out of
 * range.
 * @param {SentimentModel} model
 * @param {import("../types.js").Pair} pair
 * @param {ExplainOptions} [options]
 */
export async function explain(model, pair, options) {
  if (pair.text != null) checkText(pair.text);
  const fault = missingFault(PARTS.filter((part) => pair[part] == null), model.info);
  if (fault) throw new InputError(fault);
  const pixels = pair.image == null ? null : await model.pixels(pair.image);
  return explainPair(model, pair.text ?? "", pixels, options);
}

/**
 * Explain what is predicted for a text, "" for none, and pixels, [size, size, 3], null for none. The
 * values are those of Python's `explain_pair`.
 * @param {Model} model
 * @param {string} text
 * @param {Uint8Array | null} pixels
 * @param {ExplainOptions} [options]
 * @returns {Promise<Explanation>}
 */
export async function explainPair(model, text, pixels, { grid = GRID, budget = BUDGET, signal, onProgress } = {}) {
  const { size } = model.image;
  const largest = Math.min(MAX_GRID, size);
  if (!Number.isInteger(grid) || grid < 1 || grid > largest) {
    throw new InputError(`the grid must be 1 to ${largest}, not ${grid}`);
  }
  if (!Number.isInteger(budget) || budget < MIN_BUDGET) {
    throw new InputError(`the budget must be at least ${MIN_BUDGET} predictions, not ${budget}`);
  }
  const plan = await makePlan(model, text, pixels ? grid : 0, budget);
  const missing = missingPixels(model.image);
  const see = (/** @type {number} */ seen) => {
    if (!pixels || seen === HIDDEN) return missing;
    if (seen === SHOWN) return pixels;
    return hidePatch(pixels, size, Math.floor(seen / plan.side), seen % plan.side, plan.side);
  };
  const { runs } = plan;
  const logits = await predictAll(model, [...runs.values()], see, { signal, onProgress });
  const odds = new Map([...runs.keys()].map((key, place) => [key, logOdds(model.labels, logits[place] ?? [])]));
  const of = (/** @type {Run} */ run) => odds.get(keyOf(run)) ?? {};
  const probabilities = softmax(model.labels, logits[0] ?? []);
  const label = model.labels.reduce((best, next) => (at(probabilities, next) > at(probabilities, best) ? next : best));
  const value = (/** @type {Run} */ run) => at(of(plan.players.both), label) - at(of(run), label);
  const players = {
    both: of(plan.players.both),
    text: of(plan.players.text),
    image: of(plan.players.image),
    neither: of(plan.players.neither),
  };
  const patches = plan.patches.map(value);
  return {
    label,
    probabilities,
    log_odds: players,
    modalities: { text: shapley("text", players), image: shapley("image", players) },
    foreign: foreign(model.optional),
    text,
    read: codePoints(plan.read),
    words: plan.groups.map(({ first, last, run }) => ({ ...cut(text, plan.words, first, last), value: value(run) })),
    regions: plan.side
      ? Array.from({ length: plan.side }, (_, row) => patches.slice(row * plan.side, (row + 1) * plan.side))
      : null,
    runs: runs.size,
    budget,
  };
}

/**
 * The predictions that explain a pair. `grid` is 0 if the image is missing. The words get what the
 * cells leave of the budget, and at least half of it; the cells get the largest grid that fits.
 * @param {Model} model
 * @param {string} text
 * @param {number} grid
 * @param {number} budget
 */
async function makePlan(model, text, grid, budget) {
  const { read, words } = await readWords(text, async (part) => (await model.encode(part)).ids);
  const left = budget - 4;
  const most = grid ? Math.max(left - grid * grid, Math.floor(left / 2)) : left;
  const count = Math.min(words.length, most);
  const side = Math.min(grid, Math.floor(Math.sqrt(left - count)));
  const seen = grid ? SHOWN : HIDDEN;
  const players = {
    both: { text: read, seen },
    text: { text: read, seen: HIDDEN },
    image: { text: "", seen },
    neither: { text: "", seen: HIDDEN },
  };
  const groups = group(words.length, count).map(([first, last]) => ({
    first,
    last,
    run: { text: without(read, words, first, last), seen },
  }));
  const patches = Array.from({ length: side * side }, (_, cell) => ({ text: read, seen: cell }));
  /** @type {Run[]} */
  const all = [...Object.values(players), ...groups.map(({ run }) => run), ...patches];
  const runs = new Map(all.map((run) => [keyOf(run), run])); // equal runs are computed once
  return { read, words, side, players, groups, patches, runs };
}

/** @param {Run} run */
function keyOf({ text, seen }) {
  return `${seen} ${text}`;
}

/**
 * The logits of each run, in order. Batches have texts of similar length.
 * @param {Model} model
 * @param {readonly Run[]} runs
 * @param {(seen: number) => Uint8Array} see
 * @param {ExplainOptions} options
 */
async function predictAll(model, runs, see, { signal, onProgress }) {
  const ids = new Map();
  for (const { text } of runs) if (!ids.has(text)) ids.set(text, (await model.encode(text)).ids);
  const order = runs.map((run, place) => ({ place, seen: run.seen, ids: ids.get(run.text) }));
  order.sort((a, b) => a.ids.length - b.ids.length);
  /** @type {ArrayLike<number>[]} */
  const logits = [];
  for (let first = 0; first < order.length; first += BATCH_SIZE) {
    signal?.throwIfAborted();
    const batch = order.slice(first, first + BATCH_SIZE);
    const found = await model.run(batch.map((one) => ({ ids: one.ids, pixels: see(one.seen) })));
    batch.forEach(({ place }, i) => (logits[place] = found[i] ?? []));
    onProgress?.(first + batch.length, order.length);
  }
  signal?.throwIfAborted();
  return logits;
}

/**
 * The words from `first` up to `last` for the explanation: positions count code points.
 * @param {string} text
 * @param {readonly Span[]} words
 * @param {number} first
 * @param {number} last
 */
function cut(text, words, first, last) {
  const from = words[first]?.start ?? 0;
  const word = text.slice(from, words[last - 1]?.end);
  const start = codePoints(text.slice(0, from));
  return { start, end: start + codePoints(word), text: word };
}

/**
 * The Shapley value of a modality for each label: half of what it adds to nothing, plus half of what
 * it adds to the other one.
 * @param {"text" | "image"} modality
 * @param {Record<"both" | "text" | "image" | "neither", Odds>} odds
 * @returns {Odds}
 */
function shapley(modality, odds) {
  const alone = odds[modality];
  const other = odds[modality === "text" ? "image" : "text"];
  return Object.fromEntries(
    Object.keys(odds.both).map((label) => {
      const added = at(alone, label) - at(odds.neither, label) + (at(odds.both, label) - at(other, label));
      return [label, added / 2];
    }),
  );
}

/**
 * The natural logarithm of p / (1 - p) of each label, exact even if p is close to 1.
 * @param {readonly string[]} labels
 * @param {ArrayLike<number>} logits
 * @returns {Odds}
 */
function logOdds(labels, logits) {
  const values = Array.from(logits);
  return named(labels, values.map((value, place) => {
    const others = values.filter((_, other) => other !== place);
    const largest = Math.max(...others);
    return value - largest - Math.log(others.reduce((sum, other) => sum + Math.exp(other - largest), 0));
  }));
}

/**
 * @param {readonly string[]} labels
 * @param {ArrayLike<number>} logits
 */
function softmax(labels, logits) {
  const values = Array.from(logits);
  const largest = Math.max(...values);
  const powers = values.map((value) => Math.exp(value - largest));
  const sum = powers.reduce((a, b) => a + b, 0);
  return named(labels, powers.map((power) => power / sum));
}

/**
 * @param {readonly string[]} labels
 * @param {readonly number[]} values
 * @returns {Record<string, number>}
 */
function named(labels, values) {
  return Object.fromEntries(labels.map((label, place) => [label, values[place] ?? NaN]));
}

/**
 * @param {Record<string, number>} values
 * @param {string} label
 */
function at(values, label) {
  return values[label] ?? NaN;
}

/**
 * The inputs unlike the training data: pairs without a required part, or with neither part.
 * @param {readonly string[]} optional
 * @returns {("text" | "image" | "neither")[]}
 */
function foreign(optional) {
  const alone = PARTS.filter((kept) => !optional.includes(kept === "text" ? "image" : "text"));
  return [...alone, /** @type {const} */ ("neither")];
}
