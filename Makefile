# Everything here needs only Python >= 3.11 and a package registry: the environment is made in .venv when first wanted.
# Another interpreter: make PYTHON=python3.12 test.   More arguments: make test ARGS="-k fusion -x".

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: help demo test lint format docs bench

help:
	@echo 'make demo     train a small model on generated scenes and write runs/demo/report.html (minutes)'
	@echo 'make test     run the tests'
	@echo 'make lint     check format, style and types'
	@echo 'make docs     write docs/api.md anew, from the docstrings'
	@echo 'make format   put the source into the house format'
	@echo 'make bench    measure pre-training, captioning, regions, and BridgeTower against transformers (ARGS="--size small" for a minute)'

demo: $(READY)
	$(BIN)/vlfuse demo $(ARGS)

test: $(READY)
	$(BIN)/python -m pytest $(ARGS)

lint: $(READY)
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/pyright

docs: $(READY)
	$(BIN)/python docs/make_api.py

format: $(READY)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(READY)
	$(BIN)/python benchmarks/pretrain_step.py $(ARGS)
	$(BIN)/python benchmarks/caption.py $(ARGS)
	$(BIN)/python benchmarks/regions.py
	$(BIN)/python benchmarks/bridgetower.py $(ARGS)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "vlfuse needs Python 3.11 or newer and $(PYTHON) is " + sys.version.split()[0] + "; name another one: make PYTHON=python3.12")'
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]' --constraint constraints.txt
	@touch $@
