# The one entry for people, CI and hooks. `make help` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
# -P keeps the current folder off sys.path, so that our folder names are found through the install only.
PY := $(VENV)/bin/python -P
SCAE := $(VENV)/bin/scae
STAMP := $(VENV)/.installed

RECIPE ?= recipes/shapes.toml
RUN ?= runs/shapes

.PHONY: help setup train test torture lint format types check docs clean

help: ## Print this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml constraints.txt
	@echo "Setting up $(VENV): this installs PyTorch and takes a few minutes the first time."
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "scae needs Python 3.11 or later with venv (Debian: apt-get install python3-venv)"; exit 1; }
	$(VENV)/bin/pip install --quiet -e ".[dev]" -c constraints.txt
	@touch $(STAMP)

setup: $(STAMP) ## Make .venv with everything (other targets do this by themselves)

train: $(STAMP) ## Run the main job: maps, training, refreshes, report (RECIPE=file RUN=folder)
	$(SCAE) train --recipe $(RECIPE) --run $(RUN) --resume $(ARGS)

test: $(STAMP) ## Run the tests (under 12 minutes on 2 cores)
	$(PY) -m pytest -m "not torture and not gpu" $(ARGS)

torture: $(STAMP) ## Run the long reliability runs; stopped ones go on (under 60 minutes)
	$(PY) -m pytest -m torture -p no:cacheprovider -o faulthandler_timeout=0 $(ARGS)
	@cat .torture/*.result

lint: $(STAMP) ## Check style with ruff
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

format: $(STAMP) ## Rewrite the files in the project's style
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

types: $(STAMP) ## Check types with mypy --strict
	$(PY) -m mypy

check: lint types test ## Everything that CI checks

docs: $(STAMP) ## Build the pages into docs/_build, refusing broken links and references
	$(PY) -m sphinx -b html -n -W --keep-going -q docs docs/_build
	@echo "open docs/_build/index.html"

clean: ## Remove the environment and what tools left behind
	rm -rf $(VENV) build dist docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
