/** The page's messages if there is no prediction. */

import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe } from "node:test";

import { choose, done, drop, label, pageTest, pick, predict, type } from "./opened.mjs";
import { ask, drawPhoto, serve, start, writeSmallBundle } from "./service.mjs";

const TEXT = "a fun day";

let running;
const open = () => running;

before(async () => {
  running = await start((folder) => [
    writeSmallBundle(folder, "small", ["text", "image"]),
    writeSmallBundle(folder, "readers", ["image"]),
    writeSmallBundle(folder, "strict", []),
  ]);
});
after(() => running?.stop());

describe("a pair that can't be predicted", () => {
  const refused = { expected: [/status of 422/] };

  pageTest(
    open,
    "gets the service's message",
    async (page, service) => {
      const content = Buffer.from("no image at all");
      await choose(page, "readers");
      await type(page, TEXT);
      await drop(page, "odd.jpg", "image/jpeg", content);
      await page.getByText("this browser can't show it").waitFor();
      await predict(page);
      const { status, content: problem } = await ask(service, "predict", "readers", TEXT, content);
      assert.equal(status, 422);
      await page.getByRole("alert").getByText(problem.detail).waitFor();
      assert.equal(await label(page).count(), 0);
    },
    refused,
  );

  pageTest(open, "since a part is missing is reported before anything is sent", async (page) => {
    const sent = [];
    page.on("request", (request) => request.method() === "POST" && sent.push(request.url()));
    const refused = async (reason, field) => {
      await predict(page);
      await page.getByRole("alert").getByText(reason).waitFor();
      assert.equal(await page.evaluate(() => document.activeElement?.id), field);
    };
    await choose(page, "strict");
    await page.getByText("This model needs both").waitFor();
    await refused("Type a text or add an image", "text");
    await type(page, TEXT);
    await refused("strict also needs an image", "image");
    await type(page, " ");
    await pick(page, await drawPhoto(running.folder, "photo.png"));
    await choose(page, "readers");
    await page.getByText("The image may be left out.").waitFor();
    await refused("readers also needs a text", "text");
    assert.deepEqual(sent, []);
    await page.getByRole("button", { name: "Remove" }).click();
    await type(page, TEXT);
    await choose(page, "small");
    await page.getByText("A text, an image, or both.").waitFor();
    await predict(page);
    await done(page);
    assert.equal(await page.getByRole("img", { name: "The map" }).count(), 0);
  });

  pageTest(open, "cancels the wait for an earlier pair's explanation", async (page) => {
    await page.route("**/explain?*", () => {}); // never answered
    await choose(page, "small");
    await type(page, "fun");
    await predict(page);
    await page.getByRole("progressbar").waitFor();
    await type(page, "");
    await predict(page);
    await page.getByRole("alert").getByText("Type a text").waitFor();
    assert.equal(await page.getByRole("progressbar").count(), 0);
  });

  pageTest(
    open,
    "since the service has stopped is reported too",
    async (page) => {
      await choose(page, "small");
      await type(page, "fun");
      await page.route("**/predict?*", (route) => route.abort("connectionrefused"));
      await predict(page);
      await page.getByRole("alert").getByText("does not answer").waitFor();
      await page.unroute("**/predict?*");
      await predict(page);
      await done(page);
      assert.equal(await page.getByRole("alert").textContent(), "");

      await page.route("**/explain?*", (route) => route.abort("connectionrefused"));
      await predict(page);
      await page.getByRole("alert").getByText("does not answer").waitFor();
      assert.ok(await label(page).isVisible(), "the label stays");
      assert.equal(await page.getByRole("progressbar").count(), 0);

      await page.route("**/predict?*", (route) => route.abort("connectionrefused"));
      await predict(page);
      await page.getByText("The prediction appears here").waitFor();
      assert.equal(await label(page).count(), 0, "an earlier pair's label is removed");
    },
    { expected: [/ERR_CONNECTION_REFUSED/] },
  );
});

describe("a service with keys", () => {
  let locked;
  before(async () => {
    const keys = join(running.folder, "keys.txt");
    await writeFile(keys, "right-key\n");
    locked = await serve(join(running.folder, "small.onnx"), "--api-key-file", keys);
  });
  after(() => locked?.stop());

  pageTest(
    () => ({ browser: running.browser, service: locked }),
    "asks for a key and uses it",
    async (page) => {
      const key = page.getByLabel("API key");
      await page.getByRole("alert").getByText("requires an API key").waitFor();
      await type(page, "fun");
      await key.fill("wrong-key");
      await predict(page);
      await page.getByRole("alert").getByText("requires an API key").waitFor();
      await key.fill("right-key");
      await predict(page);
      await done(page);
      assert.ok(await page.getByLabel("Model").isHidden(), "one model needs no choice");
    },
    { expected: [/status of 401/] },
  );
});
