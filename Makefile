# Two commands: `make demo` and `make test`. Both first call `make setup`.
PYTHON  ?= python3
VENV    ?= .venv
BIN     := $(VENV)/bin
STAMP   := $(VENV)/.installed
PIP     := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
# One process a core for the tests, each with one thread: small tensors run slower on several.
SEED    ?= 0
WORKERS ?= $(shell nproc 2>/dev/null || echo 2)

.PHONY: setup demo picture test lint clean

setup: $(STAMP)

# Debian's python3 has no ensurepip unless python3-venv is installed. Its pip can fill an empty environment itself.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "Python 3.10 or newer is needed; name one with: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@rm -rf $(VENV)
	@if $(PYTHON) -c 'import ensurepip' 2>/dev/null; then $(PYTHON) -m venv $(VENV); else \
	  echo "python3-venv is not installed: filling $(VENV) with pip instead" && \
	  $(PYTHON) -m venv --without-pip $(VENV) && \
	  $(PYTHON) -m pip --python $(BIN)/python install --quiet --disable-pip-version-check pip; fi || \
	  { rm -rf $(VENV); echo "$(VENV) could not be made; as root: apt-get install python3-venv python3-pip" >&2; exit 1; }

$(STAMP): pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing PyTorch and the rest into $(VENV); the first time takes a few minutes"
	@$(PIP) torch
	@$(PIP) -e '.[test]' --config-settings editable_mode=compat
	@touch $(STAMP)

demo: setup
	$(BIN)/secateurs prune --model zoo:mlp-digits --data digits --budget macs=0.2 --epochs 120 --set recovery_lr=0.003 \
	  --threads 1 --seed $(SEED) --out runs/demo --force

# The README's table and picture, from the record that `make demo` left.
picture: setup
	$(BIN)/python docs/demo.py runs/demo

test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .mypy_cache
