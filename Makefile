# podpower: `make help` lists what can be done here. Everything is installed into .venv, at the versions of constraints.txt.

VENV := .venv
BIN := $(VENV)/bin
# The first Python that is new enough and can make an environment; override with `make demo PYTHON=...`.
PYTHONS := python3.14 python3.13 python3.12 python3.11 python3 python
USABLE := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info)
PYTHON ?= $(shell for python in $(PYTHONS); do $$python -c '$(USABLE)' >/dev/null 2>&1 && { echo $$python; break; }; done)
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable

# Benchmarks of the platform: each prints its figures beside their goals, and exits with 1 where one is missed.
PLATFORM := $(patsubst %,benchmarks/bench_%.py,platform fleet hour ui backfill)
run_benchmarks = missed=; for benchmark in $(1); do echo "== $$benchmark"; \
		$(BIN)/python -W ignore "$$benchmark" || missed="$$missed $$benchmark"; done; \
		test -z "$$missed" || { echo "failed, or missed a goal:$$missed"; exit 1; }

# Stamps: an environment is brought up to date only when what it was made from has changed.
DEMO_INSTALLED := $(VENV)/.installed-demo
DEV_INSTALLED := $(VENV)/.installed-dev

.DEFAULT_GOAL := help
.PHONY: help demo up test check format bench bench-platform soak soak-serving docs reference readme screenshots clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(DEMO_INSTALLED) ## simulate a cluster, train through Dagster, serve, predict an example, stop
	@$(BIN)/podpower demo

up: $(DEMO_INSTALLED) ## Dagster UI on :3000 and prediction API on :8000, until Ctrl-C
	@$(BIN)/podpower up

test: $(DEV_INSTALLED) ## the whole test suite
	@$(BIN)/python -m pytest

check: $(DEV_INSTALLED) ## format, lint, types and import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

format: $(DEV_INSTALLED) ## rewrite the code in the one format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(DEV_INSTALLED) ## measure speed and size
	@$(call run_benchmarks,$(filter-out $(PLATFORM),$(wildcard benchmarks/*.py)))

bench-platform: $(DEV_INSTALLED) ## measure the platform: disk, a month's backfill, 50,000 pods, pages of the UI (about an hour)
	@$(call run_benchmarks,$(PLATFORM))

soak: $(DEV_INSTALLED) ## three simulated hours with an outage of each part, in about 20 minutes (SOAK="--hours 1" shortens)
	@$(BIN)/python -W ignore scripts/soak.py $(SOAK)

soak-serving: $(DEV_INSTALLED) ## the prediction service under full load for an hour, with reloads and killed workers (SOAK="--minutes 10" shortens)
	@$(BIN)/python -W ignore scripts/soak_serving.py $(SOAK)

docs: $(DEV_INSTALLED) reference ## build the documentation into build/site and check its links
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

reference: $(DEV_INSTALLED) ## write the generated pages of docs/reference from the code
	@$(BIN)/python -W ignore scripts/reference.py

readme: $(DEV_INSTALLED) ## write the table and the comment of the README: runs the demo (README="--home .podpower/demo" takes one that ran)
	@$(BIN)/python -W ignore scripts/readme.py $(README)

screenshots: $(DEV_INSTALLED) ## take the pictures of docs/images with a real Chromium
	@$(BIN)/python -W ignore scripts/screenshots.py

clean: ## remove the environment, caches and what the demo wrote
	rm -rf $(VENV) .podpower .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@test -n "$(PYTHON)" || { \
	  echo "error: no usable Python found: podpower needs Python 3.11 or newer with its venv module" >&2; \
	  echo "       (Debian, Ubuntu: apt install python3-venv); name another one with make PYTHON=/path/to/python" >&2; \
	  exit 1; }
	@$(PYTHON) -c '$(USABLE)' || { \
	  echo "error: $(PYTHON) is too old or lacks venv: podpower needs Python 3.11 or newer" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(DEMO_INSTALLED): pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing podpower into $(VENV): about a minute, once" >&2
	@$(INSTALL) '.[assets,serving]'
	@touch $@

$(DEV_INSTALLED): pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing podpower and its development tools into $(VENV): about a minute, once" >&2
	@$(INSTALL) '.[dev]'
	@touch $@ $(DEMO_INSTALLED)
