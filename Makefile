# `make demo` and `make test` need Python 3.10 or newer, and nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

# What the GPU targets install; for NVIDIA's libraries too, gpu,cuda13.
GPU_EXTRAS ?= gpu
# With `VENV=` they install nothing: PYTHON must have what they need.
GPU_PYTHON = $(if $(VENV),$(BIN)/python,$(PYTHON))

.PHONY: demo test test-all test-gpu lint format bench bench-gpu docs clean gpu-at-hand

demo: $(VENV)/installed
	$(BIN)/caffe-spn demo

# A process for each core; the tests of a file stay together, for what they share.
SIDE_BY_SIDE = -n auto --maxprocesses 4 --dist loadfile

test: $(VENV)/installed-test
	$(BIN)/python -m pytest -m "not slow" $(SIDE_BY_SIDE)

test-all: $(VENV)/installed-test
	$(BIN)/python -m pytest $(SIDE_BY_SIDE)

# On a real GPU what `make test` runs on an emulated one. Both leave a log: test-gpu.log, bench-gpu.log.
test-gpu: gpu-at-hand $(if $(VENV),$(VENV)/installed-test-gpu)
	$(GPU_PYTHON) -m tests.cuda.on_gpu

bench-gpu: gpu-at-hand $(if $(VENV),$(VENV)/installed-bench-gpu)
	$(GPU_PYTHON) -m benchmarks.gpu

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

# Before anything is installed.
gpu-at-hand:
	@$(PYTHON) tests/cuda/find_gpu.py

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

$(VENV)/installed-test-gpu: $(VENV)/installed-test
	$(BIN)/python -m pip install --disable-pip-version-check -e '.[$(GPU_EXTRAS)]'
	@touch $@

$(VENV)/installed-bench-gpu: $(VENV)/installed-bench
	$(BIN)/python -m pip install --disable-pip-version-check -e '.[$(GPU_EXTRAS)]'
	@touch $@

$(VENV)/installed-bench: setup.cfg | $(VENV)/bin/python
	$(BIN)/python -m pip install --disable-pip-version-check -e '.[bench]'
	@touch $@

clean:
	rm -rf $(VENV) demo_out build dist test-gpu.log bench-gpu.log *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
