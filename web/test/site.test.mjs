/** A site of `mmsent-export web` in headless Chromium, from a plain file server. */

import assert from "node:assert/strict";
import { mkdtemp, rm, stat } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe } from "node:test";

import { serious } from "./accessible.mjs";
import { close } from "./close.mjs";
import { done, label, pageTest, pick, predict, type } from "./opened.mjs";
import { drawPhoto, openBrowser, python, trainBundle, writeSmallBundle } from "./service.mjs";
import { ISOLATED, serveFolder, writeSite } from "./static.mjs";

const TEXT = "a fun day\nno rain \u{1f600}\u{1f600} \u96e8";

let folder, browser, bundles, photo;
const sites = {};
const ends = [];

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "mmsent-site-"));
  ends.push(() => rm(folder, { recursive: true }));
  browser = await openBrowser();
  ends.push(() => browser.close());
  const [light, small, readers] = await Promise.all([
    trainBundle(folder),
    writeSmallBundle(folder, "small", ["text", "image"]),
    writeSmallBundle(folder, "readers", ["image"]),
  ]);
  bundles = { light, small, readers };
  photo = await drawPhoto(folder, "photo.png");
  const written = async (name) => writeSite(join(folder, `site-${name}`), bundles[name]);
  const [first, second, changing] = await Promise.all([
    written("light"),
    written("small"),
    writeSite(join(folder, "site-changing"), small),
  ]);
  const serve = async (site, options) => {
    const served = await serveFolder(site, options);
    ends.push(served.stop);
    return served;
  };
  sites.light = await serve(first);
  sites.small = await serve(second);
  sites.isolated = await serve(second, { headers: ISOLATED });
  sites.changing = await serve(changing, { headers: { "cache-control": "no-cache" } });
});
after(async () => {
  while (ends.length) await ends.pop()();
});

const siteTest = (name, title, body, options) =>
  pageTest(() => ({ browser, service: sites[name] }), title, body, options);

/** Python's explanation of a pair, as JSON. */
async function explained(bundle, text, image) {
  const program = `
import sys
from mmsent import SentimentModel
model, text, image = sys.argv[1:]
print(SentimentModel(model, threads=1).explain(text, image).to_json())`;
  return JSON.parse(await python("-c", program, bundle, text, image));
}

/** The numbers without their format. */
const explainHere = (page, text) =>
  page.evaluate(async (text) => {
    const { SentimentModel } = await import("./page/mmsent/index.js");
    const model = await SentimentModel.open("model.onnx");
    return model.explain({ text, image: document.getElementById("image").files[0] });
  }, text);

/** The prediction and explanation on the page. */
const shown = (page) =>
  page.evaluate(() => {
    const texts = (selector) => [...document.querySelectorAll(selector)].map((found) => found.innerText);
    return {
      label: document.querySelector("#prediction .label bdi")?.textContent,
      probabilities: texts(".labels tbody td:last-child"),
      words: texts(".word").map((word) => word.split("\n")),
      modalities: texts(".sides td:last-child"),
      regions: texts("details .scroll:last-of-type tbody td"),
    };
  });

const percent = (share) => `${(100 * share).toFixed(1)}%`;
const signed = (value) => `${value < 0 ? "\u2212" : "+"}${Math.abs(value).toFixed(2)}`.replace(/^.(0\.00)$/, "$1");

describe("a pair on the site", () => {
  for (const name of ["light", "small"]) {
    siteTest(name, `gets Python's label, probabilities, words and map, ${name}`, async (page) => {
      await type(page, TEXT);
      await pick(page, photo);
      await predict(page);
      await done(page);
      const wanted = await explained(bundles[name], TEXT, photo);
      await page.getByText("The numbers behind it").click();
      assert.deepEqual(await shown(page), {
        label: wanted.label,
        probabilities: Object.values(wanted.probabilities).map(percent),
        words: wanted.words.map(({ text, value }) => [text, signed(value)]),
        modalities: ["text", "image"].map((part) => signed(wanted.modalities[part][wanted.label])),
        regions: wanted.regions.flat().map(signed),
      });
      assert.ok(await page.getByRole("img", { name: "The map." }).locator("canvas").isVisible());
      close(await explainHere(page, TEXT), wanted, "explanation");
    });
  }

  siteTest("small", "stays on this machine: nothing is sent after the page has loaded", async (page) => {
    const offline = await installed(page);
    const asked = [];
    page.on("request", (request) => asked.push(request.url()));
    await offline(true);
    await type(page, "fun");
    await pick(page, photo);
    await predict(page);
    await done(page);
    assert.deepEqual(asked.filter((url) => !url.startsWith("blob:")), []);
    await page.getByText("Nothing leaves this machine").waitFor();
  });

  siteTest("small", "that changes cancels its explanation", async (page) => {
    await type(page, "rain ".repeat(100));
    await pick(page, photo);
    await predict(page);
    await label(page).waitFor();
    await type(page, "fun");
    await predict(page);
    await done(page);
    assert.deepEqual((await shown(page)).words.map(([word]) => word), ["fun"]);
  });
});

describe("the site", () => {
  siteTest("small", "shows how much of the model is loaded", async (page) => {
    let release;
    const held = new Promise((resolve) => (release = resolve));
    await page.context().route("**/model.onnx", async (route) => {
      await held;
      await route.continue();
    });
    await page.reload();
    await type(page, "fun");
    await predict(page);
    await page.getByRole("status").getByText("Loading the model").waitFor();
    assert.equal(await page.getByRole("progressbar").getAttribute("max"), `${(await stat(bundles.small)).size}`);
    release();
    await done(page);
    assert.equal(await page.getByRole("progressbar").count(), 0);
  });

  siteTest("light", "works without a network after the first visit", async (page) => {
    const offline = await installed(page);
    await offline(true);
    await page.reload();
    await type(page, TEXT);
    await pick(page, photo);
    await predict(page);
    await done(page);
    const wanted = await explained(bundles.light, TEXT, photo);
    assert.equal((await shown(page)).label, wanted.label);
  });

  siteTest("small", "computes on several threads from the second visit on", async (page) => {
    await installed(page);
    assert.deepEqual(await threads(page), [false, 1]);
    await page.reload();
    await installed(page);
    assert.deepEqual(await threads(page), [true, availableParallelism()]);
    await type(page, "fun");
    await predict(page);
    await done(page);
  });

  siteTest("isolated", "computes on several threads at once if the host sends the headers", async (page) => {
    await type(page, "fun");
    await pick(page, photo);
    await predict(page);
    await done(page);
    assert.deepEqual(await threads(page), [true, availableParallelism()]);
    const wanted = await explained(bundles.small, "fun", photo);
    assert.equal((await shown(page)).label, wanted.label);
  });

  siteTest("changing", "has the new model after another export and a reload", async (page) => {
    await page.getByText("A text, an image, or both.").waitFor();
    await installed(page);
    await writeSite(join(folder, "site-changing"), bundles.readers);
    await page.evaluate(async () => {
      const registration = await navigator.serviceWorker.ready;
      const changed = new Promise((resolve) => (navigator.serviceWorker.oncontrollerchange = resolve));
      await registration.update();
      await changed;
    });
    await page.reload();
    await page.getByText("The image may be left out.").waitFor();
    const keys = await page.evaluate(async () => {
      const [name] = await caches.keys();
      return (await (await caches.open(name)).keys()).map(({ url }) => url);
    });
    assert.equal(keys.filter((key) => key.includes("model.onnx")).length, 1, "old files are deleted");
  });
});

describe("the self-test", () => {
  for (const [name, pairs] of [["light", 7], ["small", 8]]) {
    siteTest(name, `says that this browser agrees with Python, ${name}`, async (page) => {
      await page.getByRole("button", { name: "Check this browser" }).click();
      await page.getByText("known pairs have the same result as in Python").waitFor();
      assert.match(await page.getByRole("status").textContent(), new RegExp(`^${pairs} of ${pairs} `));
      assert.equal(await page.getByRole("alert").textContent(), "");
    });
  }

  siteTest("small", "lists the pairs with other results, and what differs", async (page) => {
    await page.context().route("**/selftest.json", async (route) => {
      const answer = await route.fetch();
      const json = await answer.json();
      json.pairs[0].ids[0] += 1;
      json.pairs[1].pixels = json.pairs[2].pixels;
      const labels = Object.keys(json.pairs[2].probabilities);
      json.pairs[2].label = labels.find((name) => name !== json.pairs[2].label);
      json.pairs[3].probabilities[labels[0]] += 0.01;
      await route.fulfill({ response: answer, json });
    });
    await page.getByRole("button", { name: "Check this browser" }).click();
    await page.getByText("4 of 8 known pairs have the same result as in Python").waitFor();
    const said = await page.getByRole("alert").textContent();
    for (const part of ["pair 1: different tokens", "pair 2: different pixels", "pair 3: ", "pair 4: a probability differs by 0.01"]) {
      assert.ok(said.includes(part), said);
    }
  });

  siteTest("small", "refuses the pairs of another model", async (page) => {
    await page.context().route("**/selftest.json", async (route) => {
      const answer = await route.fetch();
      await route.fulfill({ response: answer, json: { ...(await answer.json()), sha256: "0" } });
    });
    await page.getByRole("button", { name: "Check this browser" }).click();
    await page.getByRole("alert").getByText("belongs to another model").waitFor();
  });
});

describe("the site's accessibility", () => {
  for (const colorScheme of ["light", "dark"]) {
    for (const width of [1280, 390]) {
      const options = { colorScheme, viewport: { width, height: 900 } };
      siteTest(
        "light",
        `is accessible and fits, ${colorScheme}, ${width} pixels wide`,
        async (page) => {
          assert.deepEqual(await serious(page), []);
          await type(page, TEXT);
          await pick(page, photo);
          await predict(page);
          await done(page);
          await page.getByText("The numbers behind it").click();
          assert.deepEqual(await serious(page), []);
          await picture(page, `site-${width}-${colorScheme}`);
        },
        { options },
      );
    }
  }
});

/** Whether the page is cross-origin isolated, and the number of its model's threads. */
async function threads(page) {
  return [await page.evaluate(() => crossOriginIsolated), page.workers().length];
}

/** Wait until the service worker has all files; returns a function that turns the network off or on. */
async function installed(page) {
  await page.getByText(/A text, an image, or both|may be left out/).waitFor(); // the model is open
  await page.evaluate(async () => {
    await navigator.serviceWorker.ready;
    while (!navigator.serviceWorker.controller) await new Promise((resolve) => setTimeout(resolve, 50));
  });
  return (off) => page.context().setOffline(off);
}

/** For people to look at: SCREENSHOTS=FOLDER npm test. */
async function picture(page, name) {
  const to = process.env.SCREENSHOTS;
  if (to) await page.screenshot({ path: join(to, `${name}.png`), fullPage: true });
}
