# make demo   sample data -> training -> ONNX bundle -> predictions   (DATA=DIR: on that dataset)
# make test   the fast tests          make test-slow   the others      make check   ruff and mypy
# make bench  inference, beside PyTorch         make lock        resolve requirements.lock anew
#
# Every target first makes .venv with the versions in requirements.lock.
# TORCH_INDEX=URL   where torch and torchvision come from; TORCH_INDEX= (empty): the default index

SHELL := /bin/bash
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
DEV := hypothesis mypy pandas-stubs pytest ruff types-tqdm uv
DATA ?=

# Without an NVIDIA driver the CPU builds do: 0.2 GB instead of 5.
CPU_INDEX := https://download.pytorch.org/whl/cpu
ifeq ($(origin TORCH_INDEX), undefined)
  TORCH_INDEX := $(shell nvidia-smi -L >/dev/null 2>&1 || echo $(CPU_INDEX))
  TORCH_INDEX_OPTIONAL := yes
endif

.PHONY: demo test test-slow check format bench lock clean
.DELETE_ON_ERROR:

demo: $(VENV)/installed
	@PATH="$(abspath $(BIN)):$$PATH" ./demo.sh "$(DATA)"

test: $(VENV)/installed
	$(BIN)/pytest -m "not slow"

test-slow: $(VENV)/installed
	$(BIN)/pytest -m slow

check: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/installed
	@test -f demo/model.onnx || { echo "make demo first: the benchmark takes its run and bundle"; exit 1; }
	$(BIN)/python benchmarks/inference.py --data $(or $(DATA),demo/dataset) \
	  --run demo/runs/latest --bundle fp32=demo/model.onnx

format: $(VENV)/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(VENV)/installed
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate \
	  --no-emit-package mmsent --no-emit-package mmsent-training --no-emit-package mmsent-export \
	  --upgrade requirements.in --output-file requirements.lock

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
	  --editable runtime --editable training --editable export $(DEV)
	@touch $@

clean:
	rm -rf $(VENV) demo .mypy_cache .pytest_cache .ruff_cache .hypothesis
