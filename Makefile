# Each target makes its own virtual environment; only Python 3.11 or later has to be there. The first
# of these that runs and is new enough is taken; `make test PYTHON=python3.12` says which.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; \
	done)
VENV ?= .venv
BIN = $(VENV)/bin

# The oldest versions that `pyproject.toml` allows, each pinned.
OLDEST = $(VENV)-oldest
OLDEST_PYTHON ?= python3.11

.PHONY: quickstart test test-oldest lint docs clean

quickstart: $(VENV)/.installed  ## train, evaluate and run molecular dynamics on real data
	$(BIN)/lrpot quickstart

test: lint  ## lint, format, types and all tests but the slow ones
	$(BIN)/pytest -n auto --dist loadfile --max-worker-restart 0

test-oldest: $(OLDEST)/.installed  ## what rests most on other packages, with the oldest of them
	$(OLDEST)/bin/lrpot info --versions
	$(OLDEST)/bin/pytest -n auto --dist loadfile --max-worker-restart 0 -m "not slow and not variant" \
		tests/contract tests/interop tests/training tests/test_quickstart.py tests/test_versions.py

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "lrpot needs Python 3.11 or later; say which with make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "lrpot needs Python 3.11 or later; say which with make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.installed-test: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@ $(VENV)/.installed

$(OLDEST)/.installed: pyproject.toml .ci/oldest.py
	$(OLDEST_PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python .ci/oldest.py > $(OLDEST)/constraints.txt
	$(OLDEST)/bin/python -m pip install --quiet --editable '.[test]' --constraint $(OLDEST)/constraints.txt
	touch $@

docs: $(VENV)/.installed-docs  ## the documentation, into site/
	$(BIN)/mkdocs build --strict

$(VENV)/.installed-docs: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) $(OLDEST) build site *.egg-info quickstart
