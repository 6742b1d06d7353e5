/** The page's accessibility: axe-core's rules, light and dark, wide and narrow. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, describe, test } from "node:test";

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

test("the file that explains a prediction is accessible, and shows its labels' numbers without scrolling", async () => {
  const { browser, service } = running;
  const body = new FormData();
  body.append("text", "a fun day");
  body.append("image", new Blob([await readFile(photo)]));
  const answer = await fetch(`${service.url}/explain?model=small`, { method: "POST", headers: { accept: "text/html" }, body });
  const html = await answer.text();
  for (const colorScheme of SCHEMES) {
    for (const width of [...WIDTHS, 320]) {
      const page = await browser.newPage({ colorScheme, viewport: { width, height: 900 } });
      await page.setContent(html);
      await check(page, `${colorScheme}, ${width}`);
      const table = page.locator(".scroll", { has: page.getByRole("columnheader", { name: "probability" }) });
      const hidden = await table.evaluate((element) => element.scrollWidth - element.clientWidth);
      assert.equal(hidden, 0, `${width} pixels wide`);
      await page.close();
    }
  }
});

async function check(page, state) {
  assert.deepEqual(await serious(page), [], state);
}
