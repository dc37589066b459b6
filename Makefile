# make demo   see it work: own environment, real problem, a picture at the end
# make test   everything that must hold before a merge: lint, types, tests, documentation
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
BIN := $(VENV)/bin
BUILD := docs/_build

# One set of pins for the packages and for the tools that build this one.
PIP := PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 \
	$(BIN)/python -m pip install --quiet

# The tests run on the CPU, several workers side by side: one thread each. The XLA flag also avoids a
# deadlock of batched factorisations and FFTs in XLA's own CPU thread pool.
JAX_PLATFORMS ?= cpu
CPU := JAX_PLATFORMS=$(JAX_PLATFORMS) OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 \
	XLA_FLAGS="$(XLA_FLAGS) --xla_cpu_multi_thread_eigen=false"

.NOTPARALLEL:
.PHONY: demo test lint format types unit slow docs constraints clean

demo: $(VENV)/.installed
	$(BIN)/dichroic demo $(ARGS)

# The tests come last, so that their closing line ends the log.
test: lint types docs unit

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

types: $(VENV)/.installed-dev
	$(BIN)/pyright --pythonpath $(BIN)/python

unit: $(VENV)/.installed-dev
	$(CPU) $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --timeout 300 $(ARGS)

slow: $(VENV)/.installed-dev
	$(CPU) $(BIN)/python -m pytest -n $(WORKERS) --timeout 3600 -m slow $(ARGS)

docs: $(VENV)/.installed-dev
	$(CPU) $(BIN)/python -m sphinx -W --keep-going -q -b html docs $(BUILD)/html

# Resolves afresh, in an environment of its own, and writes what it found.
constraints:
	$(PYTHON) -m venv $(VENV)-pins
	$(VENV)-pins/bin/python -m pip install --quiet hatchling editables -e '.[test,docs,dev]'
	{ sed -n '/^#/p' constraints.txt; \
	  $(VENV)-pins/bin/python -m pip freeze --exclude dichroic | grep -E '^[A-Za-z0-9_.-]+==[^ ]+$$'; } > $(VENV)-pins/pins
	mv $(VENV)-pins/pins constraints.txt
	rm -rf $(VENV)-pins

clean:
	rm -rf $(VENV) $(VENV)-pins $(BUILD) docs/generated dist build .pytest_cache .ruff_cache .hypothesis
	find src tests docs -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e .
	touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[test,docs,dev]'
	touch $@ $(VENV)/.installed
