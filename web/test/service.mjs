/** `mmsent serve` and the browser, for tests. */

import { execFile, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";

import { chromium } from "playwright-core";

const ROOT = resolve(import.meta.dirname, "../..");
const PYTHON = process.env.PYTHON ?? join(ROOT, ".venv/bin/python");
const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const run = promisify(execFile);

/** Run Python where the checkout's tests can be imported, and return its output. */
export async function python(...argv) {
  const { stdout } = await run(PYTHON, argv, { cwd: ROOT, maxBuffer: 1 << 26 });
  return stdout;
}

/** Light, trained on sample data. */
export async function trainBundle(folder) {
  const [data, trained, bundle] = ["data", "run", "light.onnx"].map((name) => join(folder, name));
  await python("-m", "mmsent", "sample-data", data, "--pairs", "40");
  const options = ["--model", "light", "--epochs", "1", "--device", "cpu"];
  await python("-m", "mmsent", "train", "--data", data, "--output", trained, ...options);
  await python("-m", "mmsent", "export", "onnx", trained, "--output", bundle);
  return bundle;
}

/** A bundle of two kilobytes; `optional`: the parts that a pair may lack. */
export async function writeSmallBundle(folder, name, optional) {
  const bundle = join(folder, `${name}.onnx`);
  const program = `
import sys
from pathlib import Path
from tests.small_bundle import write_small_bundle
write_small_bundle(Path(sys.argv[1]), optional=tuple(sys.argv[2:]))`;
  await python("-c", program, bundle, ...optional);
  return bundle;
}

/** A photo of 160 x 120 pixels, in the format of the name's suffix. */
export async function drawPhoto(folder, name) {
  const photo = join(folder, name);
  const program = `
import sys
from PIL import Image
Image.radial_gradient("L").resize((160, 120)).convert("RGB").save(sys.argv[1])`;
  await python("-c", program, photo);
  return photo;
}

/** A running service: its URL, and a function that stops it. */
export async function serve(...argv) {
  const process = spawn(PYTHON, ["-m", "mmsent", "serve", "--port", "0", ...argv], { cwd: ROOT });
  const ended = new Promise((resolve) => process.on("close", resolve));
  let log = "";
  const url = await new Promise((resolve, reject) => {
    process.stderr.on("data", (data) => {
      log += data;
      const found = /listening on (http:\S+)/.exec(log);
      if (found) resolve(found[1]);
    });
    process.on("error", reject);
    process.on("close", () => reject(new Error(`mmsent serve ended: ${log}`)));
  });
  const stop = async () => {
    process.kill("SIGTERM");
    return ended;
  };
  return { url, stop };
}

/**
 * A browser, and a service of the bundles that `make` writes to its folder; `stop` stops both and
 * removes the folder.
 */
export async function start(make) {
  const folder = await mkdtemp(join(tmpdir(), "mmsent-web-"));
  const ends = [() => rm(folder, { recursive: true })];
  const stop = async () => {
    while (ends.length) await ends.pop()();
  };
  try {
    const service = await serve(...(await Promise.all(make(folder))));
    ends.push(service.stop);
    const browser = await openBrowser();
    ends.push(() => browser.close());
    return { folder, service, browser, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** The service's answer for a pair, without the page. */
export async function ask(service, path, model, text, image) {
  const body = JSON.stringify({ text, image: image?.toString("base64") });
  const headers = { "content-type": "application/json", accept: "application/json" };
  const answer = await fetch(`${service.url}/${path}?model=${model}`, { method: "POST", body, headers });
  return { status: answer.status, content: await answer.json() };
}

/** Headless Chromium. Its sandbox does not work for root, the user of tests in containers. */
export function openBrowser() {
  const args = process.getuid?.() === 0 ? ["--no-sandbox"] : [];
  return chromium.launch({ executablePath: CHROMIUM, args });
}
