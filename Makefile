# make demo        the explorer in JupyterLab (IMAGE=cat.jpg for a picture of yours)
# make test        lint, types and every test, the browser's included
# make check       lint, types and the quick tests
# make learned-weights  learn the embedded filters anew, in some minutes
# make bench       how fast everything is, against other ways, in ten minutes or a few more
# make binder-check  what mybinder.org would build, built and tried here, in some minutes
# make screenshot  the README's picture, taken in a real JupyterLab

VENV ?= .venv
PYTHON ?= python3
export IMAGE ?=
PYTEST_ARGS ?=

BIN := $(VENV)/bin
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test check lint browser screenshot learned-weights bench bench-learning binder-check clean
.DEFAULT_GOAL := test

demo: $(VENV)/.demo
	@$(BIN)/vgg-widget demo $${IMAGE:+"$$IMAGE"}

# Two processes each, which on two cores takes two thirds of the time of one.
test: lint browser
	$(BIN)/pytest -n 2 -m "not browser" $(PYTEST_ARGS)
	$(BIN)/pytest --nbmake notebooks $(PYTEST_ARGS)
	$(BIN)/pytest -n 2 -m browser $(PYTEST_ARGS)

check: lint
	$(BIN)/pytest -n 2 -m "not browser and not slow" $(PYTEST_ARGS)

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tests/notebook_outputs.py

# Prints the browser that the tests use, and installs one where there is none.
browser: $(VENV)/.test
	@$(BIN)/python tests/browser/chromium.py

screenshot: browser
	$(BIN)/python tests/browser/take_screenshot.py docs/explorer.png

learned-weights: $(VENV)/.learn
	$(BIN)/python -m vgg_widget.learning --embedded vgg_widget/data/vgg19_kmeans.npz

# What a benchmark measures never fails a run; a target that is missed is a line in the table.
bench: $(VENV)/.bench
	@$(BIN)/python tests/browser/chromium.py >/dev/null
	$(BIN)/pytest tests/benchmarks -q -o python_files='bench_*.py' -o python_functions='bench_*' \
	  -W default --timeout=600 --benchmark-quiet $(PYTEST_ARGS)
	$(BIN)/python -m tests.benchmarks.bench_browser
	@$(BIN)/python -m tests.benchmarks.report .benchmarks/python.json .benchmarks/browser.json

# What the learned filters are and are not, over five seeds: a quarter of an hour or two.
bench-learning: $(VENV)/.learn
	$(BIN)/python tests/benchmarks/bench_learning.py

# Fetches half a gigabyte from the package registry.
binder-check: browser $(VENV)/.binder
	$(BIN)/python -m tests.binder_check

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11"; exit 1; }
# Debian and Ubuntu ship Python without it.
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq python3-venv; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	$(PIP) --editable '.[demo]'
	@touch $@

$(VENV)/.learn: pyproject.toml | $(BIN)/python
	$(PIP) --editable '.[learn]'
	@touch $@

$(VENV)/.bench: pyproject.toml | $(BIN)/python
	$(PIP) --editable '.[bench]'
	@touch $@

$(VENV)/.binder: pyproject.toml | $(BIN)/python
	$(PIP) --editable '.[binder,demo,test]'
	@touch $@

$(VENV)/.test: pyproject.toml | $(BIN)/python
	$(PIP) --editable '.[demo,test]'
	@touch $@

clean:
	rm -rf $(VENV) .screenshots .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks
