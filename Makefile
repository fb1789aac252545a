# `make demo` and `make test` need Python 3.10 or newer, and nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo test test-all test-gpu lint format bench docs clean

demo: $(VENV)/installed
	$(BIN)/caffe-spn demo

test: $(VENV)/installed-test
	$(BIN)/python -m pytest -m "not slow"

test-all: $(VENV)/installed-test
	$(BIN)/python -m pytest

# On a real GPU what `make test` runs on an emulated one.
test-gpu: $(VENV)/installed-test
	$(BIN)/python -m pytest --gpu tests/cuda

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/installed
	$(BIN)/python -m docs.layer_reference

# PyTorch is what the benchmarks measure against; nothing else needs it.
bench: $(VENV)/installed-bench
	$(BIN)/python -m benchmarks

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("caffe_spn needs Python 3.10 or newer, this is " + sys.version.split()[0] + "; name another: make PYTHON=python3.12 ..." if sys.version_info < (3, 10) else 0)'
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo 'No virtual environment could be made; on Debian and Ubuntu: apt install python3-venv' >&2; exit 1; }

$(VENV)/installed: setup.cfg | $(VENV)/bin/python
	$(BIN)/python -m pip install --disable-pip-version-check -e .
	@touch $@

$(VENV)/installed-test: setup.cfg | $(VENV)/bin/python
	$(BIN)/python -m pip install --disable-pip-version-check -e '.[test]'
	@touch $@

$(VENV)/installed-dev: setup.cfg | $(VENV)/bin/python
	$(BIN)/python -m pip install --disable-pip-version-check -e '.[dev]'
	@touch $@

$(VENV)/installed-bench: setup.cfg | $(VENV)/bin/python
	$(BIN)/python -m pip install --disable-pip-version-check -e '.[bench]'
	@touch $@

clean:
	rm -rf $(VENV) demo_out build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
