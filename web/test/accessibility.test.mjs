/** The page's accessibility: axe-core's rules, light and dark, wide and narrow. */

import assert from "node:assert/strict";
import { after, before, describe } from "node:test";

import { serious } from "./accessible.mjs";
import { choose, done, pageTest, pick, predict, type } from "./opened.mjs";
import { drawPhoto, start, writeSmallBundle } from "./service.mjs";

const WIDTHS = [1280, 390];
const SCHEMES = ["light", "dark"];

let running, photo;
const open = () => running;

before(async () => {
  running = await start((folder) => [
    writeSmallBundle(folder, "small", ["text", "image"]),
    writeSmallBundle(folder, "other", []),
  ]);
  photo = await drawPhoto(running.folder, "photo.png");
});
after(() => running?.stop());

describe("the page", () => {
  for (const colorScheme of SCHEMES) {
    for (const width of WIDTHS) {
      const options = { colorScheme, viewport: { width, height: 900 } };
      pageTest(
        open,
        `is accessible and fits, ${colorScheme}, ${width} pixels wide`,
        async (page) => {
          await page.getByLabel("Model").waitFor();
          await check(page, "empty");
          await predict(page);
          await page.getByRole("alert").getByText("Type a text").waitFor();
          await check(page, "refusing");
          await choose(page, "small");
          await type(page, `fun rain ${"x".repeat(200)} a`);
          await pick(page, photo);
          await predict(page);
          await done(page);
          await page.getByText("The numbers behind it").click();
          await page.locator(".frame canvas").waitFor();
          await check(page, "answering");
        },
        { options },
      );
    }
  }
});

async function check(page, state) {
  assert.deepEqual(await serious(page), [], state);
}
