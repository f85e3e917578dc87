# `make demo`: from a fresh clone to a table with a verdict. `make test`: the tests.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-slow lint results docs clean

demo: .venv/installed
	$(BIN)/python experiments/ablate.py --config configs/stacked_convs.py:digits

test: .venv/installed
	$(BIN)/python -m pytest -n auto

test-slow: .venv/installed
	$(BIN)/python -m pytest -m slow

lint: .venv/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# Tables, figures and the README's table, from the published records alone.
results: .venv/installed
	$(BIN)/python experiments/report.py

# The site, into site/; a warning is an error.
docs: .venv/with-docs
	$(BIN)/properdocs build --quiet

.venv/with-docs: .venv/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "cnnlab needs Python 3.11 or newer; try make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv
