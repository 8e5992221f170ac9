# Two commands do everything on a fresh machine with Python 3.11 or newer: `make run` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check
PROJECT ?=
DEMO ?= demo-project

.PHONY: help setup dev model run demo test check docs clean

help:
	@echo "make run    set up, fetch the embedded model, open the cockpit"
	@echo "make test   set up, run every check and test"
	@echo "make demo   the whole main job without a terminal, on the embedded model ($(DEMO))"
	@echo "make check  lint, format, types, import contracts, packaging"
	@echo "make docs   render the screenshots (of the demo's project, or PROJECT), the tour and the goldens again"

$(BIN)/python:
	@echo "creating the environment in $(VENV)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python 3.11 or newer is needed: make PYTHON=python3.11")'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.ready: $(BIN)/python pyproject.toml tools/install_torch.py
	@$(BIN)/python tools/install_torch.py
	@echo "installing alpaca-tui"
	@$(PIP) install --quiet --editable . 2>$(VENV)/pip.log || { cat $(VENV)/pip.log; exit 1; }
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready
	@echo "installing the development tools"
	@$(BIN)/python tools/install_group.py dev 2>$(VENV)/pip.log || { cat $(VENV)/pip.log; exit 1; }
	@touch $@

setup: $(VENV)/.ready

dev: $(VENV)/.ready-dev

model: setup
	@$(BIN)/alpaca-tui models add smollm2-135m

run: model
	@$(BIN)/alpaca-tui $(if $(PROJECT),--project $(PROJECT))

demo: model
	@$(BIN)/alpaca-tui demo --project $(DEMO)

check: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/test_architecture.py tests/test_packaging.py

test: dev model
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

docs: dev $(if $(PROJECT),,demo)
	$(BIN)/python docs/screenshots.py --project $(or $(PROJECT),$(DEMO))

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache
