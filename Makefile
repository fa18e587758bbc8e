# `make` prints what there is.  Needs python3 (3.11 or newer), make and pip, and nothing else.

PYTHON ?= python3
ARGS   ?=
VENV   := .venv
PY     := $(VENV)/bin/python
STAMP  := $(VENV)/.installed
OLD_ENOUGH := 'import sys; sys.exit(sys.version_info < (3, 11))'

.DEFAULT_GOAL := help
.PHONY: help setup demo test check bench docs clean

help:
	@echo "make setup   build $(VENV) and install meshlib into it (the others do so when needed)"
	@echo "make demo    run the demo mesh; ARGS=--once runs the scripted story and ends by itself"
	@echo "make test    run every test; ARGS='-k name' picks some"
	@echo "make check   lint, types, import layers, lengths, hygiene, snippets of the docs"
	@echo "make bench   run every file in bench/; ARGS=--json prints one JSON object a line"
	@echo "make docs    list the documentation and run its snippets"
	@echo "make clean   remove $(VENV) and everything generated"
	@echo "PYTHON=...   the interpreter to build $(VENV) with (default: python3)"

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt scripts/setup_venv.py
	@$(PYTHON) -c $(OLD_ENOUGH) || { echo "meshlib needs Python 3.11 or newer: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) scripts/setup_venv.py $(VENV)
	@touch $@

demo: $(STAMP)
	@$(if $(findstring consul,$(ARGS)),scripts/get-consul > /dev/null,)
	@$(VENV)/bin/meshlib demo $(ARGS)

test: $(STAMP)
	@scripts/get-consul > /dev/null || echo "without Consul its suites are skipped" >&2
	@$(PY) -m pytest -q -n 2 $(ARGS)

check: $(STAMP)
	@$(PY) scripts/check.py $(ARGS)

bench: $(STAMP)
	@$(PY) bench $(ARGS)

docs: $(STAMP)
	@ls docs/*.md docs/*/*.md
	@$(PY) -m pytest -q tests/test_docs.py $(ARGS)

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests scripts bench examples -name __pycache__ -type d -prune -exec rm -rf {} +
