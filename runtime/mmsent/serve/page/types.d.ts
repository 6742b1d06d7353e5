/** What the page asks of a predictor. `predictor.js` is one; another may take its place. */

export type Part = "text" | "image";

/** A model that can be asked. */
export interface Model {
  name: string;
  /** What a pair may lack. */
  optional: readonly Part[];
  /** How an image becomes the square that the model sees; "crop" cuts its centre out. */
  resize: "stretch" | "crop";
}

/** A text, "" for none, and an image's file, null for none. */
export interface Pair {
  text: string;
  image: Blob | null;
}

/** The most probable label and the probability of each. */
export interface Prediction {
  label: string;
  probabilities: Readonly<Record<string, number>>;
  /** How long it took. */
  milliseconds: number;
}

/** A word, or a group of neighbours: its code points in the text, and what they are worth. */
export interface Word {
  start: number;
  end: number;
  text: string;
  value: number;
}

export type Input = "both" | "text" | "image" | "neither";

/** What moved a prediction: the JSON of `mmsent predict --explain`, see docs/explanation.md. */
export interface Explanation {
  label: string;
  probabilities: Readonly<Record<string, number>>;
  log_odds: Readonly<Record<Input, Readonly<Record<string, number>>>>;
  modalities: Readonly<Record<Part, Readonly<Record<string, number>>>>;
  foreign: readonly Input[];
  text: string;
  read: number;
  words: readonly Word[];
  regions: readonly (readonly number[])[] | null;
  runs: number;
  budget: number;
}

/** Is told how much is done, and of how much. */
export type Progress = (done: number, total: number) => void;

/** When the signal aborts, nothing more is computed. */
export interface Work {
  signal: AbortSignal;
  progress: Progress;
}

/** Which model is asked. */
export interface Ask extends Work {
  model: string;
}

/** Known pairs, predicted again: which come out otherwise, and how, and the largest difference of a
 * probability. */
export interface Check {
  pairs: number;
  differences: readonly string[];
  largest: number;
}

/**
 * Where predictions come from. Whatever fails rejects with an Error whose message is for people;
 * one with the name "KeyRequired" asks for `useKey`.
 */
export interface Predictor {
  /** Where the text and the image go, as a sentence. */
  where: string;
  /** The address of its documentation; "" where it has none. */
  manual: string;
  models(work: Work): Promise<Model[]>;
  predict(pair: Pair, ask: Ask): Promise<Prediction>;
  explain(pair: Pair, ask: Ask): Promise<Explanation>;
  /** Whether it predicts as Python does; absent where Python predicts. */
  check?(work: Work): Promise<Check>;
  useKey(key: string): void;
}
