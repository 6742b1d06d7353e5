/** The page: from a pair to its prediction and the explanation. */

import { element, find } from "./element.js";
import { drawExplanation } from "./explanation.js";
import { watchImage } from "./image.js";
import { percent } from "./numbers.js";
import { drawPrediction } from "./prediction.js";
import { predictor } from "./predictor.js";

/**
 * @typedef {import("./types.d.ts").Model} Model
 * @typedef {import("./types.d.ts").Pair} Pair
 */

const form = find("pair", HTMLFormElement);
const choice = find("model", HTMLSelectElement);
const text = find("text", HTMLTextAreaElement);
const key = find("key", HTMLInputElement);
const needs = find("needs", HTMLParagraphElement);
const status = find("status", HTMLParagraphElement);
const fault = find("fault", HTMLParagraphElement);
const empty = find("empty", HTMLParagraphElement);
const predicted = find("prediction", HTMLElement);
const explained = find("explanation", HTMLElement);

/** @type {Model[]} */
let models = [];
let running = new AbortController();
let source = ""; // the URL of the image whose explanation is shown

const image = watchImage(changed);
find("where", HTMLParagraphElement).textContent = predictor.where;
const manual = find("manual", HTMLAnchorElement);
manual.href = predictor.manual;
manual.hidden = !predictor.manual;
text.addEventListener("input", changed);
choice.addEventListener("change", () => {
  sayNeeds();
  changed();
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  start(predict);
});
form.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
});
find("check", HTMLButtonElement).hidden = !predictor.check;
find("check", HTMLButtonElement).addEventListener("click", () => start(check));
start(loadModels);

/**
 * Start a task that the next one cancels, and show its error if it fails.
 * @param {(signal: AbortSignal) => Promise<void>} work
 */
async function start(work) {
  running.abort();
  running = new AbortController();
  const { signal } = running;
  fault.textContent = status.textContent = "";
  endWait();
  try {
    await work(signal);
  } catch (error) {
    if (!signal.aborted) fail(error);
  }
}

/** @param {unknown} error */
function fail(error) {
  const { name, message } = error instanceof Error ? error : new Error(String(error));
  status.textContent = "";
  fault.textContent = message;
  fault.scrollIntoView({ block: "nearest" });
  if (name === "KeyRequired") {
    find("keys", HTMLDivElement).hidden = false;
    key.focus();
  }
}

/** @param {AbortSignal} signal */
async function loadModels(signal) {
  /** @type {import("./types.d.ts").Progress | undefined} */
  let show; // no bar if the service answers at once
  const progress = (/** @type {number} */ done, /** @type {number} */ total) => {
    if (signal.aborted) return;
    show ??= wait("Loading the model\u2026");
    show(done, total);
  };
  models = await orClear(predictor.models({ signal, progress }), explained, signal);
  endWait();
  choice.replaceChildren(...models.map(({ name }) => element("option", {}, name)));
  find("models", HTMLDivElement).hidden = models.length < 2;
  sayNeeds();
}

/**
 * Wait for the models, which a browser may still be loading.
 * @param {AbortSignal} signal
 */
async function awaitModels(signal) {
  if (models.length) return;
  status.textContent = "Loading the model\u2026";
  await loadModels(signal);
  status.textContent = "";
}

/** Show which parts the chosen model requires. */
function sayNeeds() {
  const { optional } = chosen();
  if (optional.length === 2) needs.textContent = "A text, an image, or both.";
  else if (optional.length === 0) needs.textContent = "This model needs both a text and an image.";
  else needs.textContent = `The ${optional[0]} may be left out.`;
}

/** @param {AbortSignal} signal */
async function predict(signal) {
  predictor.useKey(key.value);
  await awaitModels(signal);
  const model = chosen();
  const pair = { text: text.value.trim() && text.value, image: image() };
  if (!complete(pair, model)) return;
  status.textContent = "Predicting\u2026";
  const asked = predictor.predict(pair, { model: model.name, signal, progress() {} });
  const prediction = await orClear(asked, predicted, signal);
  predicted.replaceChildren(...drawPrediction(prediction, model.name));
  empty.hidden = true;
  predicted.scrollIntoView({ block: "nearest" });
  const answer = `${prediction.label}, ${percent(prediction.probabilities[prediction.label] ?? 0)}.`;
  status.textContent = `${answer} Now measuring what moved this prediction\u2026`;
  await explain(pair, model, signal);
  status.textContent = `${answer} The explanation is shown.`;
}

/**
 * @param {Pair} pair
 * @param {Model} model
 * @param {AbortSignal} signal
 */
async function explain(pair, model, signal) {
  const progress = wait("Predicting again with parts left out\u2026");
  const asked = predictor.explain(pair, { model: model.name, signal, progress });
  const explanation = await orClear(asked, explained, signal);
  URL.revokeObjectURL(source);
  source = pair.image ? URL.createObjectURL(pair.image) : "";
  const shown = { source, resize: model.resize };
  explained.replaceChildren(...introduction(), ...drawExplanation(explanation, shown));
}

/**
 * Show a bar where the explanation will be.
 * @param {string} waiting
 * @returns {import("./types.d.ts").Progress}
 */
function wait(waiting) {
  const bar = element("progress", { "aria-label": waiting });
  const said = element("p", { class: "quiet" }, waiting);
  explained.replaceChildren(bar, said);
  return (done, total) => {
    bar.max = total;
    bar.value = done;
    said.textContent = `${waiting} ${Math.floor((100 * done) / total)}%`;
  };
}

function endWait() {
  if (explained.querySelector("progress")) explained.replaceChildren();
}

/**
 * Show whether this browser agrees with Python.
 * @param {AbortSignal} signal
 */
async function check(signal) {
  await awaitModels(signal);
  const progress = (/** @type {number} */ done, /** @type {number} */ total) => {
    if (!signal.aborted) status.textContent = `Checking this browser: ${done} of ${total} known pairs\u2026`;
  };
  status.textContent = "Checking this browser\u2026";
  const found = await predictor.check?.({ signal, progress });
  signal.throwIfAborted();
  if (!found) return;
  const { pairs, differences, largest } = found;
  status.textContent = `${pairs - differences.length} of ${pairs} known pairs have the same result as in Python. Probabilities differ by ${largest.toPrecision(1)} at most.`;
  if (differences.length) fault.textContent = `Different from Python: ${differences.join("; ")}`;
}

/**
 * The result of a task. If it fails, the output of earlier pairs and progress is removed; if a newer
 * task was started, its output stays.
 * @template T
 * @param {Promise<T>} asked
 * @param {HTMLElement} place
 * @param {AbortSignal} signal
 * @returns {Promise<T>}
 */
async function orClear(asked, place, signal) {
  try {
    const answer = await asked;
    signal.throwIfAborted();
    return answer;
  } catch (error) {
    if (!signal.aborted) {
      place.replaceChildren();
      if (place === predicted) explained.replaceChildren();
      empty.hidden = predicted.hasChildNodes();
    }
    throw error;
  }
}

function introduction() {
  return [
    element("h2", {}, "What moved this prediction"),
    element(
      "p",
      { class: "quiet" },
      "Measured by predicting again with parts left out: it shows what moves the prediction, not why. +0.69 doubles the odds of the predicted label, \u22120.69 halves them.",
    ),
  ];
}

/**
 * Whether the model can predict the pair; if not, show what is missing.
 * @param {Pair} pair
 * @param {Model} model
 */
function complete(pair, { name, optional }) {
  const nothing = !pair.text && !pair.image;
  const textLacks = !pair.text && (nothing || !optional.includes("text"));
  const imageLacks = !pair.image && (nothing || !optional.includes("image"));
  if (nothing) fault.textContent = "Type a text or add an image first.";
  else if (textLacks) fault.textContent = `${name} also needs a text: it was not trained for pairs without one.`;
  else if (imageLacks) fault.textContent = `${name} also needs an image: it was not trained for pairs without one.`;
  if (textLacks) text.focus();
  else if (imageLacks) find("image", HTMLInputElement).focus();
  return !textLacks && !imageLacks;
}

/** Show that the result belongs to an earlier pair. */
function changed() {
  fault.textContent = "";
  if (predicted.hasChildNodes()) status.textContent = "The pair has changed; predict it again.";
}

/** @returns {Model} */
function chosen() {
  const model = models[Math.max(0, choice.selectedIndex)];
  if (!model) throw new Error("there is no model");
  return model;
}
