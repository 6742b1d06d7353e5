/** The page in headless Chromium, and the actions of its users. */

import assert from "node:assert/strict";
import { test } from "node:test";

/**
 * Test something on the page of a service, or on one of a site. `open` gives the browser and the service, when they run.
 * The console must stay empty except for `expected`, no other host may be contacted, and the
 * Content-Security-Policy must not be violated, which the console would show.
 */
export function pageTest(open, name, body, { expected = [], options = {} } = {}) {
  test(name, async () => {
    const { browser, service } = open();
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
    const page = await context.newPage();
    const faults = [];
    page.on("pageerror", (error) => faults.push(String(error)));
    page.on("console", (message) => faults.push(message.text()));
    page.on("request", (request) => {
      const { protocol, origin } = new URL(request.url());
      if (protocol !== "blob:" && origin !== service.url) faults.push(`asked ${request.url()}`);
    });
    const { status, headers } = await page.goto(service.url).then(async (answer) => ({
      status: answer.status(),
      headers: await answer.allHeaders(),
    }));
    assert.equal(status, 200);
    const inPage = page.locator('meta[http-equiv="Content-Security-Policy"]');
    const policy = headers["content-security-policy"] ?? (await inPage.getAttribute("content"));
    assert.match(policy, /default-src '(none|self)'/);
    assert.doesNotMatch(policy.replace("'wasm-unsafe-eval'", ""), /unsafe|\*|https?:/);
    try {
      await body(page, service);
    } finally {
      await context.close();
    }
    assert.deepEqual(
      faults.filter((fault) => !expected.some((pattern) => pattern.test(fault))),
      [],
    );
  });
}

export const choose = (page, name) => page.getByLabel("Model").selectOption(name);
export const type = (page, text) => page.getByLabel("Text").fill(text);
export const predict = (page) => page.getByRole("button", { name: "Predict" }).click();
export const done = (page) => page.getByText("The explanation is shown.").waitFor();
export const pick = (page, files) => page.getByLabel("Image", { exact: true }).setInputFiles(files);
export const label = (page) => page.locator("#prediction .label");

/** Drop a file of these bytes on the field for images. */
export async function drop(page, name, type, content) {
  const data = [...content];
  const transfer = await page.evaluateHandle(
    ({ name, type, data }) => {
      const made = new DataTransfer();
      made.items.add(new File([new Uint8Array(data)], name, { type }));
      return made;
    },
    { name, type, data },
  );
  for (const event of ["dragover", "drop"]) {
    await page.locator("#drop").dispatchEvent(event, { dataTransfer: transfer });
  }
}
