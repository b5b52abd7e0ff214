# Each target sets up everything it needs. The environment is made again only when setup.cfg changes.
PYTHON ?= python3
JOBS ?= 2
# What `make test-torch` installs; a build for the CPU alone is smaller where the index has one.
TORCH ?= torch

READY := .venv/ready
BIN := .venv/bin

.PHONY: demo test test-torch test-extras slow check types goldens bench docs clean

demo: $(READY)
	$(BIN)/python examples/demo/digits_demo.py

test: $(READY)
	$(BIN)/python -m pytest -n $(JOBS) -m "not slow"

test-torch: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .[test,torch] "$(TORCH)"
	$(BIN)/python -m pytest tests/torch -m "not slow"

test-extras: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .[test,tables,notebook,sklearn,lsp,dask,zarr]
	$(BIN)/python -m pytest tests/extras

# Style, layers of imports, and types (of which those on record may stay, and no others may come).
check: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .[check]
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy | $(BIN)/mypy-baseline filter

# Record the types that are missing, after there are fewer of them.
types: $(READY)
	$(BIN)/mypy | $(BIN)/mypy-baseline sync

# What every stage makes of every example, written anew (tests/goldens).
goldens: $(READY)
	$(BIN)/python tests/helpers/goldens.py

slow: $(READY)
	$(BIN)/python -m pytest -n $(JOBS) -m slow

# Every benchmark, and what is better or worse than the last recorded run (`benchmarks/run.py --record` records).
bench: $(READY)
	$(BIN)/python benchmarks/run.py

docs: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .[test,docs]
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

clean:
	rm -rf docs/_build docs/generated .venv build dist out *.egg-info .pytest_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

$(READY): setup.cfg pyproject.toml
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .[test]
	touch $@
