# headrace: what a developer runs. Needs make, Python 3.11 or newer and a package index; the rest it makes.

VENV ?= .venv
# Processes that run tests.
JOBS ?= 2
# More arguments for pytest (make test ARGS="-k trash") or the benchmarks.
ARGS ?=

PY := $(VENV)/bin/python
# The environment is made anew when what goes into it changes, told by content.
KEY := $(shell cat pyproject.toml constraints.txt 2>/dev/null | cksum | cut -d ' ' -f 1)
RUNTIME := $(VENV)/.runtime-$(KEY)
DEV := $(VENV)/.dev-$(KEY)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test fuzz check format bench constraints clean

help: ## show this
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 22

demo: $(RUNTIME) ## train models on real data, show the best run, serve until Ctrl-C
	@$(PY) examples/demo.py $(ARGS)

test: $(DEV) ## run the tests
	$(PY) -m pytest -n $(JOBS) $(ARGS)

fuzz: $(DEV) ## send 10,000 generated requests to a server; fails on a 500 (ARGS=50000 for more)
	PYTHONPATH=tests $(PY) -m support.fuzz $(ARGS)

check: $(DEV) ## lint, format, types and import directions
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(VENV)/bin/lint-imports --no-cache

format: $(DEV) ## bring the code into its format
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

bench: $(DEV) ## measure against MLflow, installed in an environment of its own
	$(PY) -m benchmarks $(ARGS)

# Resolved from nothing, so that what somebody once tried out is not pinned.
constraints: ## pin the newest versions that pyproject.toml allows, in constraints.txt
	rm -rf build/constraints
	$(MAKE) --no-print-directory CONSTRAINTS= VENV=build/constraints build/constraints/.dev-$(KEY)
	build/constraints/bin/python -m pip freeze --exclude-editable | grep '==' | LC_ALL=C sort -f > constraints.txt
	rm -rf build/constraints

clean: ## remove what was made: environments, caches, the demo's store
	rm -rf $(VENV) build dist .headrace-demo .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +

CONSTRAINTS ?= $(if $(wildcard constraints.txt),--constraint constraints.txt)
PIP := $(PY) -m pip --disable-pip-version-check --quiet

# The first interpreter that runs (a pyenv shim may be there and not run), is new enough and can make
# environments (Debian's cannot without python3-venv).
$(PY):
	@for python in $(PYTHON) python3.13 python3.12 python3.11 python3; do \
	  if $$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    echo "Making $(VENV) with $$($$python --version)."; \
	    exec $$python -m venv $(VENV); \
	  fi; \
	done; \
	echo "No Python 3.11 or newer with venv was found; name one: make PYTHON=/path/to/python3" >&2; exit 1

# pip knows dependency groups since 25.1.
$(RUNTIME): | $(PY)
	$(PIP) install --upgrade 'pip>=25.1'
	$(PIP) install $(CONSTRAINTS) --editable . --group demo
	@rm -f $(VENV)/.runtime-* && touch $@

$(DEV): $(RUNTIME)
	$(PIP) install $(CONSTRAINTS) --editable '.[postgres,images,nats,pyfunc,sklearn,pytorch,onnx,lightgbm,keras,transformers,signing,evaluate]' --group dev --group demo
	@rm -f $(VENV)/.dev-* && touch $@
