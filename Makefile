# Two commands do all the set-up: `make study` (the main job) and `make test` (the whole suite).
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed

.PHONY: study test lint types bench clean

study: $(INSTALLED)
	$(BIN)/mapdrop study

# A process for each core; one thread that waits must not take another's core.
test: lint types
	OMP_WAIT_POLICY=passive $(BIN)/pytest -n auto --dist loadfile

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy

bench: $(INSTALLED)
	$(BIN)/mapdrop bench --full --out benchmarks/results/operations.jsonl
	$(BIN)/python -m benchmarks.compact
	$(BIN)/python -m benchmarks.compiled
	$(BIN)/python -m benchmarks.fused

# torch comes first, at the pinned version, so that nothing after it chooses another build.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
