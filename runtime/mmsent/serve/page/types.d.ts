/** The interface of predictors. `predictor.js` is one, which others may replace. */

export type Part = "text" | "image";

/** An available model. */
export interface Model {
  name: string;
  /** The parts that a pair may lack. */
  optional: readonly Part[];
  /** How an image becomes the model's input square; "crop" takes its centre. */
  resize: "stretch" | "crop";
}

/** A text, "" if it is missing, and an image file, null if it is missing. */
export interface Pair {
  text: string;
  image: Blob | null;
}

/** The most probable label and the probability of each. */
export interface Prediction {
  label: string;
  probabilities: Readonly<Record<string, number>>;
  /** The time it took. */
  milliseconds: number;
}

/** A word or a group of adjacent words: its code points in the text, and its value. */
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

/** Gets how much is done, and the total. */
export type Progress = (done: number, total: number) => void;

/** When the signal aborts, nothing more is computed. */
export interface Work {
  signal: AbortSignal;
  progress: Progress;
}

/** The model to use. */
export interface Ask extends Work {
  model: string;
}

/** Known pairs, predicted again: those with other results, and the largest difference of a
 * probability. */
export interface Check {
  pairs: number;
  differences: readonly string[];
  largest: number;
}

/**
 * The source of predictions. A failure rejects with an Error whose message is for users; one with the
 * name "KeyRequired" asks for `useKey`.
 */
export interface Predictor {
  /** Where the text and the image go, as a sentence. */
  where: string;
  /** The address of its documentation; "" if there is none. */
  manual: string;
  models(work: Work): Promise<Model[]>;
  predict(pair: Pair, ask: Ask): Promise<Prediction>;
  explain(pair: Pair, ask: Ask): Promise<Explanation>;
  /** Checks that it agrees with Python; absent if Python predicts. */
  check?(work: Work): Promise<Check>;
  useKey(key: string): void;
}
