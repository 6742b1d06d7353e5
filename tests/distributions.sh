#!/usr/bin/env bash
# From the built distributions to predictions, in fresh environments: distributions.sh DIST PYTHON.
# `make dist` calls it. TORCH_INDEX: the index for torch and torchvision.
set -euo pipefail
dist=$(realpath "$1") python=$2
root=$(realpath "$(dirname "${BASH_SOURCE[0]}")/..")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

install() { # ENVIRONMENT PACKAGE...
  local environment=$1
  shift
  "$environment/bin/python" -m pip --disable-pip-version-check --quiet install \
    --constraint "$root/requirements.lock" "$@"
}

echo "== the runtime alone, and everything, with $("$python" --version)"
"$python" -m venv runtime
install runtime "$dist"/mmsent-*.whl
"$python" -m venv all
if [[ -n ${TORCH_INDEX:-} ]]; then
  # shellcheck disable=SC2046
  install all --no-deps --retries 1 --timeout 15 --index-url "$TORCH_INDEX" \
    $(grep -E '^(torch|torchvision)==' "$root/requirements.lock") || echo "using the default index"
fi
install all "$dist"/mmsent-*.whl "$dist"/mmsent_training-*.whl "$dist"/mmsent_export-*.whl

cp "$root/demo.sh" .
PATH="$work/all/bin:$PATH" ./demo.sh
cd demo
"$work/all/bin/mmsent" card
"$work/all/bin/mmsent-export" web site
test -s site/index.html
"$work/runtime/bin/mmsent-infer" dataset/test_without_label.txt --output alone.csv
cmp submission.csv alone.csv

echo "== the npm package, with Node $(node --version)"
mkdir "$work/npm" && cd "$work/npm"
npm init --yes >/dev/null
npm install --no-audit --no-fund --silent "$dist"/mmsent-*.tgz
cat >predict.mjs <<'END'
import { readFileSync } from "node:fs";
import { SentimentModel } from "mmsent";

const demo = process.argv[2];
const rows = readFileSync(`${demo}/submission.csv`, "utf8").trim().split(/\r?\n/).slice(1);
const model = await SentimentModel.open(`${demo}/model.onnx`);
function decode(bytes) {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return new TextDecoder("gb18030").decode(bytes);
  }
}

let pairs = 0;
let same = 0;
for (const [guid, tag] of rows.map((row) => row.split(","))) {
  const text = decode(readFileSync(`${demo}/dataset/data/${guid}.txt`)).trim();
  try {
    const { label } = await model.predict({ text, image: `${demo}/dataset/data/${guid}.jpg` });
    pairs += 1;
    same += label === tag;
  } catch (error) {
    if (!/in Node, mmsent reads/.test(error.message)) throw error; // some images are GIF or CMYK
  }
}
await model.close();
console.log(`${same} of ${pairs} labels are Python's`);
process.exitCode = pairs > rows.length / 2 && same === pairs ? 0 : 1;
END
node predict.mjs "$work/demo"
echo "== the distributions in $dist work"
