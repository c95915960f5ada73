# Everything from nothing: each target makes the environment it needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export OMP_WAIT_POLICY := PASSIVE
# Tests run in folders of their own, and find the environments here all the same.
BURNISH_ENVS ?= $(CURDIR)/.burnish/envs
export BURNISH_ENVS

.PHONY: quickstart environments test check lint types contracts bench clean

quickstart: $(VENV)/ready  ## the main job: base, data, training, merge, evaluation, verdict, export
	$(BIN)/burnish run recipes/quickstart.yaml

environments: $(VENV)/ready  ## those of vLLM, transformers 4, llama.cpp and llm-compressor, as far as they can be had
	@for name in vllm transformers4 gguf llmcompressor; do \
		$(BIN)/burnish doctor --install $$name || \
			echo "$@: $$name could not be installed, its tests will be skipped"; \
	done

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
