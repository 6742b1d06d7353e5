/** Explanations in JavaScript compared with Python. */

import assert from "node:assert/strict";

const CLOSE = 1e-4;

/** The same structure and texts, and numbers that are close. */
export function close(found, wanted, where) {
  if (typeof wanted === "number") {
    assert.ok(Math.abs(found - wanted) <= CLOSE, `${where}: ${found} instead of ${wanted}`);
  } else if (wanted !== null && typeof wanted === "object") {
    assert.deepEqual(Object.keys(found), Object.keys(wanted), where);
    for (const key of Object.keys(wanted)) close(found[key], wanted[key], `${where}.${key}`);
  } else {
    assert.equal(found, wanted, where);
  }
}
