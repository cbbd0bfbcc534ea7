# Each target makes its own virtual environment; only Python 3.11 or later has to be there.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: quickstart test lint docs clean

quickstart: $(VENV)/.installed  ## train, evaluate and run molecular dynamics on real data
	$(BIN)/lrpot quickstart

test: lint  ## lint, format, types and all tests but the slow ones
	$(BIN)/pytest -n auto --dist loadfile --max-worker-restart 0

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "lrpot needs Python 3.11 or later; say which with make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.installed-test: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@ $(VENV)/.installed

docs: $(VENV)/.installed-docs  ## the documentation, into site/
	$(BIN)/mkdocs build --strict

$(VENV)/.installed-docs: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) build site *.egg-info quickstart
