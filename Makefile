# make demo        the explorer in JupyterLab (IMAGE=cat.jpg for a picture of yours)
# make test        lint, types and the quick tests, two lessons and the browser's included
# make test-all    every test, however long it takes, in Firefox too
# make check       as make test, without lessons and browser
# make coverage    which lines the quick tests reach
# make lint        lint and types alone; make audit asks for known vulnerabilities
# make assignment  the course assignment's notebooks, from their source
# make fuzz        arbitrary images, weights and states, for MINUTES=2 each
# make learned-weights  learn the embedded filters again, in some minutes
# make monkey      random actions on two explorers in a real JupyterLab: SEED=7 ACTS=1000
# make soak        open and close hundreds of explorers, and check that none is left: ROUNDS=200
# make check-attribution  attribution beside Captum's, on the same weights in PyTorch, in some minutes
# make test-matrix  the tests with other versions of ipykernel, of everything, of Python: ONLY=lowest
# make docs        the documentation, as pages in docs/_build/html
# make bench       measure how fast everything is, in less than half an hour; writes docs/speed-figures.md
# make binder-check  what mybinder.org would build, built and tried here, in some minutes
# make animation  the README's animated picture, recorded in a real JupyterLab, in some minutes
# make gallery     draw the figures in notebooks/gallery.ipynb again

VENV ?= .venv
PYTHON ?= python3
export IMAGE ?=
PYTEST_ARGS ?=
MINUTES ?= 2

BIN := $(VENV)/bin
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
# Three workers, so that two cores compute while the browser waits. No lesson waits for 80 MB: where
# ImageNet's weights are not cached it runs with those of the package.
TESTS := VGG_WIDGET_WEIGHTS_URL=http://127.0.0.1:9/nobody $(BIN)/pytest -n 3 --dist worksteal \
  --nbmake --nbmake-timeout=300 --ignore=notebooks/assignment tests notebooks
# Compiling every installed module takes 40 s; Python compiles what it imports.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile

.PHONY: demo test test-all test-matrix check check-attribution coverage lint browser firefox monkey animation learned-weights bench bench-learning assignment docs gallery audit fuzz binder-check soak clean
.DEFAULT_GOAL := test

demo: $(VENV)/.demo
	@$(BIN)/vgg-widget demo $${IMAGE:+"$$IMAGE"}

test: lint browser
	$(TESTS) -m "not slow" $(PYTEST_ARGS)

test-all: lint browser firefox
	$(TESTS) $(PYTEST_ARGS)

coverage: $(VENV)/.test
	$(BIN)/pytest -n 2 -m "not browser and not slow" --cov=vgg_widget --cov-report=term-missing:skip-covered --cov-report=xml $(PYTEST_ARGS)

check: lint
	$(BIN)/pytest -n 2 -m "not browser and not slow" $(PYTEST_ARGS)

lint: $(VENV)/.test audit
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	git ls-files -z | xargs -0 $(BIN)/codespell
	$(BIN)/python tests/notebook_outputs.py
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive vgg_widget

# Looks for known vulnerabilities in the installed packages; without internet it says that it cannot.
audit: $(VENV)/.test
	@$(BIN)/python tests/audit.py

# Prints the browser that the tests use, and installs one where there is none.
browser: $(VENV)/.test
	@$(BIN)/python tests/browser/chromium.py

# The same for Firefox, which `make test-all` also needs.
firefox: $(VENV)/.firefox
	@$(BIN)/python -m tests.browser.firefox

# Prints its seed; SEED= repeats a run.
monkey: browser
	MONKEY_SEED=$(or $(SEED),$$$$) MONKEY_ACTS=$(or $(ACTS),1000) \
	  $(BIN)/pytest tests/browser/test_monkey.py -m browser -rP $(PYTEST_ARGS)

# More and other examples than `make test` has; then the fuzzer, which stops at what it finds.
fuzz: $(VENV)/.fuzz
	HYPOTHESIS_PROFILE=wide $(BIN)/pytest tests/test_fuzz.py --timeout=3600 $(PYTEST_ARGS)
	for target in image array weights state; do \
	  $(BIN)/python -m tests.fuzz.run $$target --minutes $(MINUTES) || exit 1; done
soak: $(VENV)/.test
	SESSION_ROUNDS=$(or $(ROUNDS),200) $(BIN)/pytest tests/test_long_sessions.py --timeout=3600 $(PYTEST_ARGS)

# Its environments are kept in .matrix, and take some gigabytes.
test-matrix: browser
	@$(BIN)/python tests/matrix.py $(ONLY)

# Only this target installs Captum; no test needs it.
check-attribution: $(VENV)/.captum
	@$(BIN)/python -m tests.check_attribution

animation: browser
	$(BIN)/python tests/browser/record_animation.py docs/explorer.webp

# Three notebooks of one: for students, for teachers and nbgrader, and for otter.
assignment: $(VENV)/.test
	$(BIN)/python notebooks/assignment/make.py

# Also run by the tests. A warning is an error, such as a broken link or a malformed docstring.
docs: $(VENV)/.docs
	$(BIN)/sphinx-build -W --keep-going -n -q docs docs/_build/html
	@echo docs/_build/html/index.html

# Without times and versions, so that the file changes only where a picture does.
gallery: $(VENV)/.test
	$(BIN)/jupyter nbconvert --to notebook --execute --inplace --log-level=WARN \
	  --ExecutePreprocessor.record_timing=False --ClearMetadataPreprocessor.enabled=True \
	  --ClearMetadataPreprocessor.preserve_nb_metadata_mask=kernelspec \
	  --ClearMetadataPreprocessor.preserve_cell_metadata_mask=tags notebooks/gallery.ipynb

learned-weights: $(VENV)/.learn
	$(BIN)/python -m vgg_widget.learning --embedded vgg_widget/data/vgg19_kmeans.npz

# What a benchmark measures never fails a run; a target that is missed is a line in the table.
bench: $(VENV)/.bench
	@$(BIN)/python tests/browser/chromium.py >/dev/null
	$(BIN)/pytest tests/benchmarks -q -o python_files='bench_*.py' -o python_functions='bench_*' \
	  -W default --timeout=600 --benchmark-quiet $(PYTEST_ARGS)
	$(BIN)/python -m tests.benchmarks.bench_browser
	@$(BIN)/python -m tests.benchmarks.report .benchmarks/python.json .benchmarks/browser.json \
	  --page docs/speed-figures.md

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
	$(PIP) --editable '.[demo,trained]'
	@touch $@

$(VENV)/.learn: pyproject.toml | $(BIN)/python
	$(PIP) --editable '.[learn]'
	@touch $@

$(VENV)/.docs: pyproject.toml | $(BIN)/python
	$(PIP) --editable '.[docs]'
	@touch $@

$(VENV)/.bench: pyproject.toml | $(BIN)/python
	$(PIP) --editable '.[bench]'
	@touch $@

$(VENV)/.binder: pyproject.toml | $(BIN)/python
	$(PIP) --editable '.[binder,demo,test]'
	@touch $@

$(VENV)/.test: pyproject.toml | $(BIN)/python
	$(PIP) --editable '.[demo,docs,test]'
	@touch $@

$(VENV)/.firefox: pyproject.toml $(VENV)/.test
	$(PIP) --editable '.[firefox]'
	@touch $@

$(VENV)/.fuzz: pyproject.toml | $(BIN)/python
	$(PIP) --editable '.[test,fuzz]'
	@touch $@

$(VENV)/.captum: pyproject.toml | $(BIN)/python
	$(PIP) --editable '.[captum]'
	@touch $@

clean:
	rm -rf $(VENV) .fuzz .matrix .screenshots .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks \
	  docs/_build docs/lessons
