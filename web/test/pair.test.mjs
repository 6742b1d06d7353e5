/** A pair on the page: entered, predicted and explained. */

import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe } from "node:test";

import { choose, done, drop, label, pageTest, pick, predict, type } from "./opened.mjs";
import { ask, drawPhoto, start, trainBundle, writeSmallBundle } from "./service.mjs";

const TEXT = "a fun day\nno rain";

let running, photo;
const open = () => running;

before(async () => {
  running = await start((folder) => [
    trainBundle(folder),
    writeSmallBundle(folder, "small", ["text", "image"]),
  ]);
  photo = await drawPhoto(running.folder, "photo.png");
});
after(() => running?.stop());

describe("a pair", () => {
  pageTest(open, "typed and dropped gets label, probabilities, words and map", async (page, service) => {
    const content = await readFile(photo);
    await choose(page, "light");
    await type(page, TEXT);
    await drop(page, "dropped.png", "image/png", content);
    await page.getByRole("img", { name: "Preview of the image" }).waitFor();
    await predict(page);
    await done(page);

    const { content: wanted } = await ask(service, "explain", "light", TEXT, content);
    assert.equal(await label(page).locator("bdi").textContent(), wanted.label);
    assert.deepEqual(
      await page.locator(".labels tbody tr").evaluateAll((rows) =>
        rows.map((row) => [row.cells[0].textContent, row.cells[2].textContent]),
      ),
      Object.entries(wanted.probabilities).map(([name, share]) => [name, percent(share)]),
    );
    assert.deepEqual(
      await page.locator(".word").evaluateAll((words) => words.map((word) => word.innerText.split("\n"))),
      wanted.words.map(({ text, value }) => [text, signed(value)]),
    );
    assert.deepEqual(
      await page.locator(".sides td:last-child").allTextContents(),
      ["text", "image"].map((part) => signed(wanted.modalities[part][wanted.label])),
    );
    const strongest = Math.max(...wanted.regions.flat().map(Math.abs));
    const map = page.getByRole("img", { name: "The map." });
    if (strongest >= 0.005) {
      assert.ok((await map.getAttribute("aria-label")).includes(strongest.toFixed(2)));
    }
    assert.ok(await painted(map.locator("canvas")), "the map is empty");
    assert.ok(await map.locator("img").evaluate((image) => image.naturalWidth > 0));
  });

  pageTest(open, "pasted from the clipboard is predicted", async (page) => {
    await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
    await page.evaluate(async () => {
      const canvas = new OffscreenCanvas(30, 20);
      canvas.getContext("2d").fillRect(0, 0, 30, 20);
      const picture = new ClipboardItem({ "image/png": canvas.convertToBlob({ type: "image/png" }) });
      await navigator.clipboard.write([picture]);
    });
    await page.getByLabel("Text").focus();
    await page.keyboard.press("Control+V");
    await page.getByText("30 \u00d7 20").waitFor();
    await page.evaluate(() => navigator.clipboard.writeText("fun"));
    await page.keyboard.press("Control+V");
    assert.equal(await page.getByLabel("Text").inputValue(), "fun");
    await choose(page, "small");
    await predict(page);
    await done(page);
    assert.ok(await page.getByText("30 \u00d7 20").isVisible());
  });

  pageTest(open, "is entered, predicted and removed with only the keyboard", async (page) => {
    const press = (key) => page.keyboard.press(key);
    const focused = () => page.evaluate(() => document.activeElement?.id || document.activeElement?.textContent);
    // Intercepted before the first key: a request and a key sent together may arrive in either order.
    const chooser = page.waitForEvent("filechooser");
    await page.getByLabel("Model").waitFor();
    const order = [];
    for (let i = 0; i < 5; i++) {
      await press("Tab");
      order.push(await focused());
    }
    assert.deepEqual(order, ["manual", "model", "text", "image", "Predict"]);
    await press("Shift+Tab");
    await press("Enter");
    await (await chooser).setFiles(photo);
    await press("Shift+Tab");
    await page.keyboard.type("fun");
    await press("Control+Enter");
    await done(page);
    await press("Tab");
    await press("Tab");
    assert.equal(await focused(), "remove");
    await press("Space");
    assert.equal(await focused(), "image");
    assert.ok(await page.locator("#preview").isHidden());
    assert.equal(await page.getByLabel("Image", { exact: true }).inputValue(), "");
  });

  pageTest(open, "shows its label before its explanation", async (page) => {
    let release;
    const held = new Promise((resolve) => (release = resolve));
    await page.route("**/explain?*", async (route) => {
      await held;
      await route.continue();
    });
    await choose(page, "small");
    await type(page, "fun");
    await predict(page);
    await label(page).waitFor();
    assert.ok(await page.getByRole("progressbar").isVisible());
    assert.ok(await page.getByText("Now measuring what moved this prediction").isVisible());
    release();
    await done(page);
    assert.equal(await page.getByRole("progressbar").count(), 0);
  });

  pageTest(open, "sent later cancels one without an answer", async (page) => {
    const cancelled = page.waitForEvent("requestfailed");
    let first = true;
    await page.route("**/predict?*", async (route) => {
      if (!first) return route.continue();
      first = false; // never answered
    });
    await choose(page, "small");
    await type(page, "rain");
    await predict(page);
    await page.getByText("Predicting\u2026").waitFor();
    await type(page, "fun fun");
    await predict(page);
    assert.match((await cancelled).url(), /predict/);
    await done(page);
    assert.deepEqual(await page.locator(".word > span").allTextContents(), ["fun", "fun"]);
  });

  pageTest(open, "that changed is reported as different from the result", async (page) => {
    await choose(page, "small");
    await type(page, "fun");
    await predict(page);
    await done(page);
    await page.getByLabel("Text").press("x");
    await page.getByText("The pair has changed").waitFor();
  });

  pageTest(open, "is shown as text, whatever it contains", async (page) => {
    const text = "<b>fun</b>";
    await choose(page, "small");
    await type(page, text);
    await predict(page);
    await done(page);
    assert.deepEqual(await page.locator(".word > span").allTextContents(), [text]);
    assert.equal(await page.locator(".words b").count(), 0);
  });

  pageTest(open, "has positions in a text with emoji as Python counts them", async (page) => {
    await choose(page, "small");
    await type(page, "\u{1f600}\u{1f600} fun \u{1f327}\ufe0f rain");
    await predict(page);
    await done(page);
    const shown = await page.locator(".words").evaluate((words) =>
      [...words.childNodes].map((node) => node.firstChild?.textContent ?? node.textContent).join(""),
    );
    assert.equal(shown, "\u{1f600}\u{1f600} fun \u{1f327}\ufe0f rain");
  });

  pageTest(open, "whose text is read from right to left has signs before numbers, also in a file", async (page, service) => {
    const text = "\u05e9\u05dc\u05d5\u05dd! #fun rain";
    await choose(page, "small");
    await type(page, text);
    await predict(page);
    await done(page);
    const file = await running.browser.newPage();
    const headers = { accept: "text/html", "content-type": "application/json" };
    const body = JSON.stringify({ text });
    const answer = await fetch(`${service.url}/explain?model=small`, { method: "POST", headers, body });
    await file.setContent(await answer.text());
    for (const shown of [page, file]) {
      assert.deepEqual(await shown.locator(".word").evaluateAll(drawn), ["!", "#", "r"]);
      const numbers = await shown.locator(".word small").evaluateAll(drawn);
      assert.ok(numbers.some((sign) => "+-\u2212".includes(sign)));
      assert.ok(numbers.every((first) => "+-\u22120".includes(first)), numbers.join(" "));
    }
    await file.close();
  });
});

/** The leftmost character of each element's first text, as it is drawn. */
function drawn(elements) {
  return elements.map((element) => {
    const node = document.createTreeWalker(element, NodeFilter.SHOW_TEXT).nextNode();
    const places = [...node.data].map((char, at) => {
      const range = document.createRange();
      range.setStart(node, at);
      range.setEnd(node, at + 1);
      return [range.getBoundingClientRect().left, char];
    });
    return places.sort(([left], [right]) => left - right)[0][1];
  });
}

describe("an image that", () => {
  pageTest(open, "browsers can't show has a map without the image", async (page) => {
    await choose(page, "small");
    await pick(page, await drawPhoto(running.folder, "photo.tif"));
    await predict(page);
    await done(page);
    const map = page.getByRole("img", { name: "The map." });
    assert.ok(await painted(map.locator("canvas")));
    assert.equal(await map.locator("img").count(), 0);
  });

  for (const [resize, ratio] of [["stretch", 3], ["crop", 1]]) {
    pageTest(open, `is resized by "${resize}" has a map of the visible part`, async (page) => {
      await page.route("**/v2/models/small", async (route) => {
        const answer = await route.fetch();
        const json = await answer.json();
        json.parameters.resize = resize;
        await route.fulfill({ response: answer, json });
      });
      await page.reload();
      await choose(page, "small");
      await pick(page, await drawPng(page, 90, 30));
      await predict(page);
      await done(page);
      const frame = page.locator(".frame");
      await frame.locator("canvas").waitFor();
      const box = await frame.boundingBox();
      assert.ok(Math.abs(box.width / box.height - ratio) < 0.05, `${box.width} x ${box.height}`);
    });
  }
});

/** Whether anything is drawn on a canvas. */
async function painted(canvas) {
  return canvas.evaluate((element) => {
    const { width, height } = element;
    return element.getContext("2d").getImageData(0, 0, width, height).data.some(Boolean);
  });
}

const percent = (share) => `${(100 * share).toFixed(1)}%`;
const signed = (value) => `${value < 0 ? "\u2212" : "+"}${Math.abs(value).toFixed(2)}`.replace(/^.(0\.00)$/, "$1");

/** An image of one colour, in this size. */
async function drawPng(page, width, height) {
  const data = await page.evaluate(
    async ([width, height]) => {
      const canvas = new OffscreenCanvas(width, height);
      canvas.getContext("2d").fillRect(0, 0, width, height);
      return [...new Uint8Array(await (await canvas.convertToBlob()).arrayBuffer())];
    },
    [width, height],
  );
  const path = join(running.folder, `${width}x${height}.png`);
  await writeFile(path, Buffer.from(data));
  return path;
}
