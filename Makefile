# Each target makes .venv on its own: nothing has to be installed first but Python 3.11 or later.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Installed once, and again when the project's metadata changes.
RUNTIME := $(VENV)/.installed-runtime
LAB     := $(VENV)/.installed-lab
DEV     := $(VENV)/.installed-dev
FULL    := $(VENV)/.installed-full

# One run, in which the tests of two workers share the machine's cores.
# The plugin that runs notebooks is only loaded for them: its import takes seconds in each process.
PYTEST   := $(BIN)/python -m pytest -n 2 --dist worksteal -p no:nbmake
# What the notebooks ask for is no part of anybody's history.
NOTEBOOK := VAST_ENDPOINT=demo: XDG_STATE_HOME=$(CURDIR)/$(VENV)/state $(BIN)/python -m pytest --nbmake --nbmake-timeout=300 -p no:randomly

# How many events benchmarks ask for (1 M takes minutes, 13 M an hour), and a file for their numbers.
EVENTS ?= 1000000
JSON   ?= .benchmarks/$@.json
BENCH   = VASTLAB_BENCH_EVENTS=$(EVENTS) VASTLAB_BENCH_JSON=$(JSON)

# The layers in which a branch without a test would be a wrong answer. Examples that are written
# down reach every branch of them, in every run; what drawn examples reach does not count.
LANGUAGE       := vastlab/arrow/*,vastlab/compile/*,vastlab/expression/*
LANGUAGE_TESTS := tests/arrow tests/compile tests/expression tests/test_language_facts.py \
	tests/test_summary.py tests/test_portable.py tests/conformance/test_sql.py \
	tests/nodes/test_newest.py tests/nodes/test_tenzir_groups.py

.PHONY: help demo test test-full lab lint bench bench-compare soak pictures clean

help: ## Show this list.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

demo: $(RUNTIME) ## Make the demo database, query it, and show what was found.
	VAST_ENDPOINT=demo: $(BIN)/vastlab demo

test: $(DEV) ## Run the tests and the notebooks: under ten minutes on two cores.
	$(PYTEST) -m "not full"
	$(NOTEBOOK) notebooks

test-full: $(FULL) ## Run what is long or heavy: real engines, a browser, many examples.
	$(PYTEST) -m full
	$(PYTEST) -m "not full and not hypothesis" --cov --cov-branch --cov-report= $(LANGUAGE_TESTS)
	$(BIN)/coverage report --include='$(LANGUAGE)' --show-missing --skip-covered --fail-under=100
	$(NOTEBOOK) notebooks/nodes.ipynb

lab: $(LAB) ## Open the notebooks in JupyterLab, on the demo database.
	VAST_ENDPOINT=demo: $(BIN)/vastlab lab

lint: $(DEV) ## Check style, types and the direction of imports.
	$(BIN)/ruff check vastlab tests
	$(BIN)/ruff format --check vastlab tests
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell vastlab tests notebooks README.md Makefile pyproject.toml

bench: $(DEV) ## Measure speed beside other engines, as ratios taken in one run.
	$(BENCH) $(BIN)/python -m pytest tests/benchmarks --benchmark-only --timeout=0 -p no:randomly -s

bench-compare: $(DEV) ## Measure speed beside an earlier commit: make bench-compare REV=HEAD~1
	@test -n "$(REV)" || { echo "make bench-compare REV=COMMIT names what to compare with"; exit 2; }
	$(BENCH) $(BIN)/python -m tests.benchmarks.revisions "$(REV)"

soak: $(FULL) ## Try for an hour what must never lose or change an event.
	$(BIN)/python -m tests.soak

pictures: $(FULL) ## Draw the pictures of the README, in a browser.
	$(BIN)/python -m tests.browser.pictures

clean: ## Remove what the other targets made.
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .benchmarks

# Where the system's Python lacks ensurepip, its own pip or virtualenv fill the gap.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "vastlab needs Python 3.11 or later: make PYTHON=/path/to/python3 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) 2>/dev/null \
		|| { rm -rf $(VENV) && $(PYTHON) -m venv --without-pip $(VENV) \
			&& $(PYTHON) -m pip --quiet --python $(BIN)/python install pip; } 2>/dev/null \
		|| { rm -rf $(VENV) && $(PYTHON) -m virtualenv --quiet $(VENV); } 2>/dev/null \
		|| { rm -rf $(VENV); \
			echo "no pip for a virtual environment: install python3-venv or python3-pip"; exit 1; }

$(RUNTIME): pyproject.toml | $(BIN)/pip
	@echo 'installing what vastlab needs into $(VENV): a minute'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(LAB): pyproject.toml | $(BIN)/pip
	@echo 'installing JupyterLab into $(VENV): a minute or two'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[lab,plots]'
	@touch $@ $(RUNTIME)

$(DEV): pyproject.toml | $(BIN)/pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(LAB) $(RUNTIME)

$(FULL): pyproject.toml | $(BIN)/pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[full]'
	@touch $@ $(DEV) $(LAB) $(RUNTIME)
