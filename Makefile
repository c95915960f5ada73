# Everything from nothing: each target makes the environment it needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export OMP_WAIT_POLICY := PASSIVE

.PHONY: quickstart test check lint types contracts bench clean

quickstart: $(VENV)/ready  ## the main job: base, data, training, merge, evaluation, verdict, export
	$(BIN)/burnish run recipes/quickstart.yaml

test: $(VENV)/ready
	$(BIN)/python -m pytest

check: lint types contracts test

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/ready
	$(BIN)/mypy

contracts: $(VENV)/ready
	$(BIN)/lint-imports

bench: $(VENV)/ready
	$(BIN)/python scripts/bench/cli.py
	$(BIN)/python scripts/bench/merge.py
	$(BIN)/python scripts/bench/quickstart.py

$(VENV)/ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all,dev]'
	touch $@

clean:
	rm -rf $(VENV) .burnish
