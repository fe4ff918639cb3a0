# Two commands do all the set-up: `make study` (the main job) and `make test` (the whole suite; with
# -j2 the linter and the type checker run beside the tests). `make quick` is for the time between
# two changes: tests of a minute, which compile and train nothing.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed

.PHONY: study test suite quick matrix release docs mutants lint types bench clean

# A process for each core, which takes tests from another when it has no more of its own.
PYTEST := $(BIN)/pytest -n auto --dist worksteal
QUICK := tests/spec tests/test_mask.py tests/backends/test_numpy.py tests/backends/torch \
	tests/torch tests/integration/test_architecture.py \
	--ignore tests/torch/test_recomputed.py --ignore tests/torch/graph/test_guards.py

study: $(INSTALLED)
	$(BIN)/mapdrop study

test: lint types suite

# One thread that waits must not take another's core.
suite quick: export OMP_WAIT_POLICY = passive

suite: $(INSTALLED)
	$(PYTEST) --durations=30

quick: $(INSTALLED)
	$(PYTEST) -m "not (long or compiler or subprocess or training or exhaustive)" $(QUICK)

# The installed wheel with the lowest and the newest versions: each row of tox.ini whose Python is on
# the PATH or in pyenv. Or the rows that are named: make matrix ROW=numpy-lowest-3.10
PYTHONS = PATH="$$PATH$$(printf ':%s' "$$HOME"/.pyenv/versions/*/bin)"

matrix: $(INSTALLED)
	$(PYTHONS) $(BIN)/tox run $(ROW:%=--skip-missing-interpreters false -e %)

# Everything before the tag, which publishes (CONTRIBUTING.md). ROWS=ALL tests the wheel in all rows.
release: $(INSTALLED)
	$(PYTHONS) $(BIN)/python -m tools.release $(ROWS:%=--rows %)

# The site, in build/site: any warning is an error.
docs: export NO_MKDOCS_2_WARNING = 1
docs: $(INSTALLED)
	$(BIN)/mkdocs build --strict

# Faults put into the specification, the records of operations and the metrics, to see that a test
# notices each. All of them take hours; PART=spec or a file, as PART=spec/law.py, is less.
mutants: $(INSTALLED)
	$(BIN)/python -m tests.mutants $(PART)

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
	$(BIN)/python -m benchmarks.samples
	$(BIN)/python -m benchmarks.predict

# torch comes first, at the pinned version, so that nothing after it chooses another build.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf .venv .tox build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
