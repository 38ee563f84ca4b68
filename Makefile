# Two commands on a fresh machine with Python >= 3.11: `make demo`, then `make test`. Both are thin; the lines they run are in
# the README. VENV= and PYTHON= may be given, and PYTEST= more words for pytest (`make test PYTEST='-n 8'`).
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
LIGHT := $(VENV)/.installed-light
READY := $(VENV)/.installed
DOCS_READY := $(VENV)/.installed-docs

# Two processes; a file's tests stay together, so that what a module's tests share is made once.
RUN_TESTS = $(BIN)/python -m pytest -n 2 --dist loadfile $(PYTEST)
QUICK := -m "not slow and not gpu"
REST := -m "slow or gpu"

.PHONY: help demo docs test test-slow test-all coverage pages interop lint dist bench clean
.DEFAULT_GOAL := help

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

$(LIGHT): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "fasttok needs Python >= 3.11, this is %s" % sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	@echo "installing fasttok into $(VENV) ..."
	$(BIN)/python -m pip uninstall --quiet --yes --disable-pip-version-check fasttok 2>/dev/null  # before it was fasttok-vla
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(READY): $(LIGHT)
	@echo "installing TensorFlow, Beam and JAX into $(VENV): one to three minutes ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[pipelines,train,serve,hf,hdf5,dask,dev]'
	@touch $@

demo: $(LIGHT)  ## the whole chain on generated data; writes demo/report.html, and demo-tokens/tokens.html first of all
	@[ -e $(READY) ] || $(BIN)/python -m examples.tokens_page --out demo-tokens --overwrite
	@$(MAKE) --no-print-directory $(READY)
	$(BIN)/python -m examples.demo --out demo --overwrite
	@echo 'To run these commands yourself, here, first: source $(VENV)/bin/activate'

test: $(READY)  ## the tests, without the slow ones
	$(RUN_TESTS) $(QUICK)

test-slow: $(READY)  ## the slow tests alone
	$(RUN_TESTS) $(REST)

test-all: test test-slow  ## every test, the slow ones too

coverage: $(READY)  ## lines that `make test` reaches, of those that `make test-all` reaches; fails below 95 %
	$(RUN_TESTS) --cov --cov-report=xml:build/coverage/quick.xml $(QUICK)
	$(RUN_TESTS) --cov --cov-report=xml:build/coverage/all.xml
	$(BIN)/python -m tests.coverage_share build/coverage/quick.xml build/coverage/all.xml

pages: $(READY)  ## types every command and runs every Python block of README and docs, and says what it leaves out
	FASTTOK_PAGES=1 $(BIN)/python -m pytest -q -rP tests/test_pages.py $(PYTEST)

interop: $(READY)  ## builds environments with other projects' releases, tests against them; writes benchmarks/results/interop.md
	$(BIN)/python -m tests.interop

lint: $(READY)  ## ruff, mypy, and the words that CONTRIBUTING.md asks to avoid
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m tests.plain_words

dist: $(READY)  ## source distribution and wheel, in dist/: complete, and checked by twine
	$(BIN)/python -m tests.distribution --out dist

$(DOCS_READY): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@touch $@

docs: $(DOCS_READY)  ## the documentation as a site, in build/site; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo 'build/site/index.html'

bench: $(READY)  ## the benchmarks; tables go to benchmarks/results/
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.fasttok
	$(BIN)/python -m benchmarks.rlds
	$(BIN)/python -m benchmarks.build
	$(BIN)/python -m benchmarks.reader
	$(BIN)/python -m benchmarks.serving

clean:  ## removes what demo and tests made, not the environment
	rm -rf demo demo-tokens build .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .hypothesis
