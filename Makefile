# `make` alone lists the targets. Each one first makes .venv with the pinned dependencies, when that is needed.

SHELL := /bin/bash
PYTHON ?= $(firstword $(shell for p in python3.12 python3.11 python3 python; do \
	$$p -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p; done))
BIN := .venv/bin
STAMP := .venv/.installed
UV := $(shell command -v uv 2>/dev/null || echo $(BIN)/uv)
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
# Processes of tests: one a core, but no more than four unless asked for, because each takes gigabytes of memory.
WORKERS ?= $(shell n=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2); echo $$((n > 4 ? 4 : n)))

export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.PHONY: help demo test lint types imports tests test-slow docs format lock clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|'

demo: $(STAMP) ## Meta-train a learned optimizer on digits, benchmark it against tuned Adam, export it
	@$(BIN)/python scripts/demo.py

test: lint types imports tests ## Everything CI runs: lint, types, import contract, fast tests

lint: $(STAMP) ## Check style and formatting (ruff)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP) ## Check types (pyright)
	$(BIN)/pyright

imports: $(STAMP) ## Check that imports go down the floors (import-linter)
	$(BIN)/lint-imports

tests: $(STAMP) ## Run the fast tests on WORKERS processes (one a core, at most 4)
	$(BIN)/pytest -n $(WORKERS) --dist loadfile -m "not slow" --durations 25

test-slow: $(STAMP) ## Run the slow tests
	$(BIN)/pytest -n $(WORKERS) --dist loadfile -m slow

docs: $(STAMP) ## Build the documentation site in build/site; a warning is an error
	@$(BIN)/python scripts/make_site.py

format: $(STAMP) ## Format the code and apply ruff's safe fixes
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

lock: ## Pin every dependency anew in requirements.lock (runtime and dev, Python 3.11 and later)
	$(UV) pip compile pyproject.toml --extra train --group dev --universal --python-version 3.11 --upgrade --quiet \
		--no-emit-index-url --no-header --output-file requirements.lock
	@! grep -n '://' requirements.lock || { echo 'requirements.lock names a host.' >&2; exit 1; }

clean: ## Remove .venv, builds and caches; runs/ stays
	rm -rf .venv build dist *.egg-info .jax_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): requirements.lock pyproject.toml
	@$(BIN)/python -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || { \
		'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || { \
			echo "lopt needs Python 3.11 or later: put one on PATH, or say make PYTHON=/path/to/python3.12" >&2; exit 1; }; \
		'$(PYTHON)' -m venv --clear .venv || { \
			echo "'$(PYTHON) -m venv' failed: install Python's venv module (on Debian, python3-venv)." >&2; exit 1; }; }
	@echo "Installing the pinned dependencies into .venv (1.5 GB, about a minute) ..."
	@uv pip install --quiet --python $(BIN)/python -r requirements.lock 2>/dev/null || $(PIP) -r requirements.lock
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@
