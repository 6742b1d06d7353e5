#!/usr/bin/env bash
# The whole pipeline, end to end: demo.sh [DATASET_FOLDER]. It writes only to demo/. `make demo` calls it.
set -euo pipefail
data=${1:+$(realpath "$1")}
if [[ -n $data && ! -e $data ]]; then
  echo "demo.sh: $1 does not exist" >&2
  exit 2
fi
for program in mmsent mmsent-export mmsent-infer; do
  if ! command -v "$program" >/dev/null; then
    echo "demo.sh: $program is not on PATH; run \`make demo\`, or activate the environment that has it" >&2
    exit 1
  fi
done
cd "$(dirname "${BASH_SOURCE[0]}")"
rm -rf demo && mkdir demo && cd demo

step() { printf '\n\033[1m== %s\033[0m\n' "$1"; shift; echo "\$ $*"; "$@"; }

if [[ -z $data ]]; then
  data=$PWD/dataset
  step "1. Write a small synthetic dataset in the layout of the task" mmsent sample-data dataset
fi
step "2. Check the dataset" mmsent check-data --data "$data"
step "3. Train the light model" mmsent train --model light --data "$data"
step "4. Export the run to one ONNX file and verify it against PyTorch" mmsent-export onnx
step "5. Predict the unlabelled list" mmsent-infer "$data/test_without_label.txt"
head -n 5 submission.csv
step "6. Evaluate the bundle on the validation pairs" mmsent evaluate --data "$data"

printf '\nResults in demo/: model.onnx, submission.csv and the training report, runs/latest/report.md\n'
printf 'To predict over HTTP: mmsent serve demo/model.onnx, then open http://127.0.0.1:8000\n'
