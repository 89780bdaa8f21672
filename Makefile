# The one entry for people, CI and hooks. `make help` lists the targets, each with an example.
# Variables count only where they are given to make itself (`make train RUN=runs/a`): one that the
# environment happens to hold, such as DATA, changes nothing.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
# -P keeps the current folder off sys.path, so that our folder names are found through the install only.
PY := $(VENV)/bin/python -P
SCAE := $(VENV)/bin/scae
STAMP := $(VENV)/.installed

ARGS =
CACHE =
DATA =
JOBS = 2
NETWORK =
OUT =
RECIPE =
RUN =
WEIGHTS =

NEED_train = $(if $(DATA),RECIPE)
NEED_refresh = DATA CACHE NETWORK WEIGHTS
NEED_watch = RUN
NEED_report = RUN OUT
NEED_preview = DATA CACHE
# What is missing is said before anything is installed, with the example that `make help` prints.
missing = $(strip $(foreach name,$(NEED_$(1)),$(if $($(name)),,$(name))))
example = $(shell awk '/^$(1):/ {found = 1} found && /^\#: / {print substr($$0, 4); exit}' Makefile)
$(foreach goal,$(MAKECMDGOALS),$(if $(call missing,$(goal)),$(error \
	make $(goal) needs $(call missing,$(goal)), as in: $(call example,$(goal)))))

# A word for the shell, blanks and quotes and all; of zsh and dash ~/ comes as it was typed.
mark := <start>
quoted = $(subst $(mark),,$(subst $(mark)'~/,"$$HOME"/',$(mark)'$(subst ','\'',$(1))'))
option = $(if $(2),$(1) $(call quoted,$(2)))
recipe = $(or $(RECIPE),recipes/shapes.toml)
run = $(or $(RUN),runs/$(basename $(notdir $(recipe))))

.PHONY: help setup train refresh watch report preview bench test test-gpu torture lint format types \
	check docs docs-links clean

help: ## Print this list
#: make help
	@awk '/^[a-z-]+:.*## / {split($$0, part, ":.*## "); printf "make %-11s %s\n", part[1], part[2]} \
		/^#: / {printf "%17s%s\n", "", substr($$0, 4)}' Makefile
	@echo
	@echo "ARGS= takes further options of the command that a target runs. Whatever fails, make ends with 2:"
	@echo "a script that needs the exit codes of scae (75: stopped, can be resumed) runs $(SCAE) itself."

$(STAMP): pyproject.toml constraints.txt
	@echo "Setting up $(VENV): this installs PyTorch and takes a few minutes the first time."
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "scae needs Python 3.11 or later with venv (Debian: apt-get install python3-venv)"; exit 1; }
	$(VENV)/bin/pip install --quiet -e ".[dev]" -c constraints.txt
	@touch $(STAMP)

setup: $(STAMP) ## Make .venv with everything (other targets do this by themselves)
#: make setup PYTHON=python3.12

train: $(STAMP) ## Run the main job: maps, training, refreshes, report; goes on where it was
#: make train RECIPE=recipes/cifar10_lt.toml DATA=~/cifar10 CACHE=maps.zarr RUN=runs/lt
	$(SCAE) train --recipe $(call quoted,$(recipe)) --run $(call quoted,$(run)) --resume \
		$(call option,--data,$(DATA)) $(call option,--cache,$(CACHE)) $(ARGS)

refresh: $(STAMP) ## Make the maps of a data set; stopped, it goes on
#: make refresh DATA=~/photos CACHE=maps.zarr NETWORK=torchvision:resnet50 WEIGHTS=default
	$(SCAE) refresh --data $(call quoted,$(DATA)) --cache $(call quoted,$(CACHE)) \
		--network $(call quoted,$(NETWORK)) --weights $(call quoted,$(WEIGHTS)) $(ARGS)

watch: $(STAMP) ## Follow a run and keep its maps fresh
#: make watch RUN=runs/lt ARGS="--keep 3 --until-done"
	$(SCAE) watch $(call quoted,$(RUN)) $(call option,--cache,$(CACHE)) $(ARGS)

report: $(STAMP) ## Compare finished runs with each other and with the paper
#: make report RUN=runs/table3 OUT=reports/table3
	$(SCAE) report $(call quoted,$(RUN)) --out $(call quoted,$(OUT)) $(ARGS)

preview: $(STAMP) ## Draw images, maps and rectangles (OUT=preview.png)
#: make preview DATA=shapes CACHE=runs/shapes/maps.zarr
	$(SCAE) preview --data $(call quoted,$(DATA)) --cache $(call quoted,$(CACHE)) \
		--out $(call quoted,$(or $(OUT),preview.png)) $(ARGS)

bench: $(STAMP) ## Time maps and loader beside rivals; with DATA also JPEG files
#: make bench DATA=~/photos ARGS="--rounds 5"
	$(SCAE) bench refresh $(ARGS)
	$(SCAE) bench loader $(call option,--data,$(DATA)) $(ARGS)

test: $(STAMP) ## Run the tests, JOBS at a time (under 12 minutes on 2 cores)
#: make test ARGS=tests/loaders
	$(PY) -m pytest -m "not torture and not gpu" -n $(JOBS) --dist loadfile $(ARGS)

test-gpu: $(STAMP) ## Run the tests that need a CUDA device, and print its figures
#: make test-gpu
	$(PY) -m pytest -m gpu -s $(ARGS)

torture: $(STAMP) ## Run the long reliability runs; stopped ones go on (under 60 minutes)
#: make torture ARGS=tests/cache_store
	$(PY) -m pytest -m torture -p no:cacheprovider -o faulthandler_timeout=0 $(ARGS)
	@cat .torture/*.result

lint: $(STAMP) ## Check style with ruff
#: make lint
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

format: $(STAMP) ## Rewrite the files in the project's style
#: make format
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

types: $(STAMP) ## Check types with mypy --strict
#: make types
	$(PY) -m mypy

check: lint types test ## Everything that CI checks
#: make check

docs: $(STAMP) ## Build the pages into docs/_build, refusing broken links and references
#: make docs
	$(PY) -m sphinx -b html -n -W --keep-going -q docs docs/_build
	@echo "open docs/_build/index.html"

docs-links: $(STAMP) ## Ask every outside link of the pages whether it is there (needs a network)
#: make docs-links
	$(PY) -m sphinx -b linkcheck -q docs docs/_build/links

clean: ## Remove the environment and what tools left behind; runs and caches stay
#: make clean
	rm -rf $(VENV) build dist docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
