/** Errors whose messages are for users: what happened and what to do. */

/** The work failed. */
export class MmsentError extends Error {
  /** @param {string} message */
  constructor(message) {
    super(message);
    this.name = "MmsentError";
  }
}

/** A wrong argument or bad data. */
export class InputError extends MmsentError {
  /** @param {string} message */
  constructor(message) {
    super(message);
    this.name = "InputError";
  }
}

/**
 * The message of any thrown value.
 * @param {unknown} error
 */
export const reason = (error) => (error instanceof Error ? error.message || error.name : String(error));
