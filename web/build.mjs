/**
 * Build what `mmsent-export web` adds to the page: `node build.mjs FOLDER`.
 *
 * No bundler: every module that the site's predictor reaches is copied unchanged, with its imports
 * made relative, since browsers don't know packages. Next to it go the files that it names by
 * `new URL("...", import.meta.url)`: workers and WebAssembly.
 */

import { cp, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { isBuiltin } from "node:module";
import { dirname, extname, join, relative, resolve, sep } from "node:path";
import ts from "typescript";

const HERE = import.meta.dirname;
const LIBRARIES = join(HERE, "node_modules");
const CONDITIONS = ["browser", "import", "default"];
const LICENCE = /^(licen[cs]e|notice|third[-_]?party)/i;
/** The site's folders for the source folders. */
const PLACES = [
  [join(HERE, "site"), "page"],
  [join(HERE, "src"), "page/mmsent"],
  [LIBRARIES, "page/libraries"],
];

const [output] = process.argv.slice(2);
if (!output) throw new Error("usage: node build.mjs FOLDER");
await rm(output, { recursive: true, force: true });
await copy(join(HERE, "site/service-worker.js"), join(output, "service-worker.js"));
const files = await follow(join(HERE, "site/predictor.js"));
for (const [file, text] of files) {
  if (text === null) await copy(file, join(output, placeOf(file)));
  else await write(join(output, placeOf(file)), text);
}
await copyLicences([...files.keys()]);
console.log(`${output}: ${files.size + 1} files`);

/** All files that a file needs, and the text of those that are modules. */
async function follow(entry) {
  const found = new Map();
  const left = [entry];
  for (let file = left.pop(); file; file = left.pop()) {
    if (found.has(file)) continue;
    found.set(file, null);
    if (![".js", ".mjs"].includes(extname(file))) continue;
    let text = await readFile(file, "utf8");
    for (const { start, end, name } of references(file, text).reverse()) {
      if (isBuiltin(name) || name.endsWith("/")) continue; // a library's code for Node; a folder
      const target = await find(name, file);
      left.push(target);
      text = text.slice(0, start) + JSON.stringify(address(placeOf(file), placeOf(target))) + text.slice(end);
    }
    found.set(file, text);
  }
  return found;
}

/** The modules and files that a module names, in order, with the positions of their literals. */
function references(file, text) {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true, ts.ScriptKind.JS);
  const found = [];
  const take = (literal) => {
    if (literal && ts.isStringLiteralLike(literal)) {
      found.push({ start: literal.getStart(source), end: literal.end, name: literal.text });
    }
  };
  const visit = (node) => {
    if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) take(node.moduleSpecifier);
    else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) take(node.arguments[0]);
    else if (ts.isNewExpression(node) && node.expression.getText(source) === "URL") {
      if (node.arguments?.[1]?.getText(source) === "import.meta.url") take(node.arguments[0]);
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

/** The file to which a module's import or address leads in a browser. */
async function find(name, from) {
  if (name.startsWith("#")) {
    const { folder, about } = await packageOf(dirname(from));
    return join(folder, choose(about.imports[name], name));
  }
  const own = !name.startsWith("@") && name.split("/", 1)[0];
  if (own === "mmsent") return exported(HERE, name, own);
  // A bare name in `new URL` is also a file.
  if (/^\.{0,2}\//.test(name) || extname(name) === ".wasm" || extname(name) === ".mjs") return resolve(dirname(from), name);
  const library = name.split("/", name.startsWith("@") ? 2 : 1).join("/");
  return exported(join(LIBRARIES, library), name, library);
}

/** What a package exports under a name. */
async function exported(folder, name, library) {
  const { exports, module, main } = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
  const path = `.${name.slice(library.length)}`;
  const target = exports ? (path in exports ? exports[path] : path === "." && exports) : (module ?? main);
  return join(folder, choose(target, name));
}

async function packageOf(folder) {
  for (let at = folder; ; at = dirname(at)) {
    const text = await readFile(join(at, "package.json"), "utf8").catch(() => null);
    if (text) return { folder: at, about: JSON.parse(text) };
    if (at === dirname(at)) throw new Error(`${folder} is not in a package`);
  }
}

/** The path that the conditions of a package.json lead to. */
function choose(target, name) {
  if (typeof target === "string") return target;
  const condition = Object.keys(target || {}).find((key) => CONDITIONS.includes(key));
  if (!condition) throw new Error(`${name} is not for browsers`);
  return choose(target[condition], name);
}

/** A file's path in the site. Some hosts don't know that .mjs is JavaScript. */
function placeOf(file) {
  const [folder, place] = PLACES.find(([from]) => file.startsWith(from + sep)) ?? [];
  if (!folder) throw new Error(`${file} is in none of the site's folders`);
  return join(place, relative(folder, file)).replace(/\.mjs$/, ".js");
}

function address(from, to) {
  const path = relative(dirname(from), to).split(sep).join("/");
  return path.startsWith(".") ? path : `./${path}`;
}

/** The licences of the libraries in the site. */
async function copyLicences(files) {
  const inside = files.filter((file) => file.startsWith(LIBRARIES + sep)).map((file) => relative(LIBRARIES, file));
  const libraries = new Set(inside.map((path) => path.split(sep, path.startsWith("@") ? 2 : 1).join(sep)));
  for (const folder of Array.from(libraries, (library) => join(LIBRARIES, library))) {
    const names = (await readdir(folder)).filter((name) => LICENCE.test(name));
    for (const name of names) await copy(join(folder, name), join(output, placeOf(join(folder, name))));
  }
}

async function copy(from, to) {
  await mkdir(dirname(to), { recursive: true });
  await cp(from, to);
}

async function write(to, text) {
  await mkdir(dirname(to), { recursive: true });
  await writeFile(to, text);
}
