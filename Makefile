# One sentence per target; `make help` prints them.
PYTHON ?= python3
BIN := .venv/bin
DATASET ?= demo/line
RUN ?= $(shell ls -td runs/*-[0-9][0-9][0-9][0-9] 2>/dev/null | head -n 1)
NEW ?=
TARGET ?=
BUNDLE ?= $(shell ls -td bundles/*-[0-9]* 2>/dev/null | grep -v partial | head -n 1)
SOURCE ?= 0
ARGS ?=

.PHONY: help setup demo audit train export inspect retrain test check bench clean

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: .venv/installed ## Make .venv with everything for both wings (about 6 GB).

.venv/installed: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing the packages into .venv (about 6 GB, some minutes)"
	@$(BIN)/python -m pip install --quiet --editable '.[train,cpu,dev]'
	@touch $@

demo: setup ## Train, export and run an inspector on the built-in demo line, and compare its verdicts with the truth.
	$(BIN)/pipeline demo --out demo

audit: setup ## Say what is wrong with DATASET=folder before it is trained on.
	$(BIN)/pipeline audit $(DATASET) $(ARGS)

train: setup ## Fine-tune on DATASET=folder; more options in ARGS.
	$(BIN)/pipeline train $(DATASET) $(ARGS)

export: setup ## Export RUN (default: the newest) to a signed bundle; TARGET=jetson, gpu or cpu limits what it holds.
	$(BIN)/pipeline export $(or $(RUN),$(error no run found: train one, or give RUN=runs/NAME-0001)) \
		$(if $(TARGET),--target $(TARGET)) $(ARGS)

inspect: setup ## Run BUNDLE (default: the newest) on SOURCE=folder, video or camera index.
	$(BIN)/inspector run $(or $(BUNDLE),$(error no bundle found: export one, or give BUNDLE=bundles/NAME-1)) $(SOURCE) $(ARGS)

retrain: setup ## Learn the newly collected pictures in NEW=folder on top of RUN, and compare old and new.
	$(BIN)/pipeline retrain $(or $(RUN),$(error no run found: train one first)) $(or $(NEW),$(error give NEW=folder)) $(ARGS)

test: setup ## Run all tests, three at a time (many wait for cameras); those that need something absent skip and say so. ARGS=--cov counts lines.
	OMP_NUM_THREADS=1 OPENCV_FOR_THREADS_NUM=1 $(BIN)/pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder \
		--durations=15 $(ARGS)

check: setup ## Lint, check the format and the types.
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

bench: setup ## Print speed ratios measured in one run on this machine.
	$(BIN)/python -m tests.bench $(ARGS)

clean: ## Remove caches and the demo, never runs, bundles or datasets.
	rm -rf demo .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage
