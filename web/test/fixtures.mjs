/** Python's results for the same inputs, computed in every run. */

import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { python } from "./service.mjs";

/**
 * The fixtures of a kind, see fixtures.py, and the folder that their files are in.
 * @param {"tokens" | "images" | "predictions" | "bundles"} kind
 */
export async function makeFixtures(kind) {
  const folder = await mkdtemp(join(tmpdir(), "mmsent-fixtures-"));
  const remove = () => rm(folder, { recursive: true });
  try {
    await python("-m", "web.test.fixtures", kind, folder);
    return { folder, remove, ...JSON.parse(await readFile(join(folder, `${kind}.json`), "utf-8")) };
  } catch (error) {
    await remove();
    throw error;
  }
}

/** The bytes of a text in base64. */
export const bytes = (/** @type {string} */ base64) => new Uint8Array(Buffer.from(base64, "base64"));
