# `make` alone says what there is. Everything runs in .venv, made by uv from requirements.lock with every hash checked;
# uv itself is fetched into .cache/uv. Nothing is installed outside this folder.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

PYTHON ?= python3
CACHE  := .cache
UV     ?= $(CACHE)/uv/bin/uv
VENV   := .venv
BIN    := $(VENV)/bin
PY     := $(BIN)/python

# Stamps are named by content, not by time: a checkout that touches files without changing them rebuilds nothing.
key = $(shell cat $(1) 2>/dev/null | sha256sum | cut -c1-16)
LOCKED    := $(VENV)/.locked-$(call key,requirements.lock)
INSTALLED := $(VENV)/.installed-$(call key,requirements.lock pyproject.toml)

# Where mypy and ruff look. Folders that do not exist yet are left out.
CODE := $(wildcard engine kernels image operator benchmarks tools)

.PHONY: help
help: ## Say what there is
	@echo "FastGen: make TARGET"
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "First time here? make demo"

# -- the environment ----------------------------------------------------------------------------------------------

.PHONY: setup
setup: $(INSTALLED) ## Make the environment in .venv (minutes the first time: PyTorch is large; nothing when current)

$(CACHE)/uv/bin/uv: tools/uv.lock.txt tools/get_uv.sh
	@PYTHON=$(PYTHON) sh tools/get_uv.sh $(CACHE)/uv
	@touch -h $@

$(LOCKED): | $(UV)
	@test -x $(PY) || $(UV) venv --python '>=3.11' $(VENV) || \
		{ echo "No Python 3.11 or newer was found. Install one (apt install python3.11, or uv python install 3.12), then: make setup" >&2; exit 1; }
	@echo "installing what requirements.lock names (PyTorch is large, the first time takes minutes)"
	@rm -f $(VENV)/.locked-* $(VENV)/.installed-*
	$(UV) pip sync --python $(PY) --require-hashes requirements.lock
	@touch $@

$(INSTALLED): $(LOCKED)
	@rm -f $(VENV)/.installed-*
	$(UV) pip install --python $(PY) --quiet --no-deps --no-build-isolation --offline --editable .
	@touch $@

# -- a Kubernetes control plane -----------------------------------------------------------------------------------

.PHONY: control-plane
control-plane: setup ## Find or get etcd, Kubernetes, helm and Prometheus (a build by Go takes about ten minutes, once)
	@$(PY) -m fastgen_devcluster binaries

# -- seeing it run ------------------------------------------------------------------------------------------------

.PHONY: demo demo-local
demo: control-plane ## See it work on Kubernetes: chart, manifest, load, scaling (KEEP=1 leaves it running)
	@KEEP=$(KEEP) $(PY) -m demo.cluster
demo-local: setup ## See it work without a cluster: replicas, a balancer, load, a replica killed (KEEP=1 as well)
	@KEEP=$(KEEP) $(PY) -m demo.local

# -- tests and checks ---------------------------------------------------------------------------------------------

.PHONY: test test-fast test-gpu
test: control-plane ## Run every test (those for a GPU are skipped where there is none)
	$(PY) -m pytest $(ARGS)
test-fast: setup ## Run the tests that are quick
	$(PY) -m pytest -m "not slow and not gpu" $(ARGS)
test-gpu: setup ## Run the tests that need a GPU
	$(PY) -m pytest -m gpu $(ARGS)

.PHONY: check lint types layers generated lock-check docs
check: lint types layers generated docs lock-check ## Style, types, layers, generated code, docs, lock
	@echo "check: all is well"
lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(PY) tools/check_sizes.py
types: setup
	$(BIN)/mypy $(CODE) tests/support
layers: setup
	$(BIN)/lint-imports --no-cache
generated: setup
	$(PY) tools/generate_proto.py --check
	$(PY) tools/generate_options_docs.py --check
	$(PY) -m fastgen_bench.performance_page --check
	$(PY) tools/generate_metrics_docs.py --check
	$(PY) tools/generate_crd.py --check
	$(PY) tools/generate_chart_docs.py --check
	$(PY) tools/generate_dashboards.py --check
	$(PY) tools/generate_manifest_docs.py --check
docs: setup ## Check that links, commands and targets named in the docs exist
	$(PY) tools/check_docs.py
lock-check: setup
	$(PY) tools/lock.py --check --uv $(UV)

.PHONY: fmt
fmt: setup ## Format the code and mend what can be mended
	$(BIN)/ruff check --fix --exit-zero .
	$(BIN)/ruff format .

# -- making what is checked in ------------------------------------------------------------------------------------

.PHONY: proto crds generate lock guide-model
proto: setup ## Generate the Python code of proto/
	$(PY) tools/generate_proto.py
crds: setup ## Generate the CustomResourceDefinition from the contract
	$(PY) tools/generate_crd.py
generate: proto crds ## Generate everything that is generated and checked in
	$(PY) tools/generate_options_docs.py
	$(PY) tools/generate_metrics_docs.py
	$(PY) tools/generate_manifest_docs.py
	$(PY) tools/generate_chart_docs.py
	$(PY) tools/generate_dashboards.py
	$(PY) -m fastgen_bench.performance_page
lock: | $(UV) ## Bring the lock files up to date with pyproject.toml (ARGS=--upgrade for the newest versions)
	$(PYTHON) tools/lock.py --uv $(UV) $(ARGS)
guide-model: setup ## Train the demonstration model again (about 25 minutes on one core)
	OMP_NUM_THREADS=1 $(PY) -m guide_model.train $(ARGS)

.PHONY: clean
clean: ## Remove the environment and every cache of this folder
	rm -rf $(VENV) $(CACHE) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build demo-output
