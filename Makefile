# Three commands: `make demo` trains on drawn images, `make check` takes minutes, `make test` checks everything but the site.
PYTHON ?= python3
VENV ?= .venv
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif
READY := $(VENV)/.ready
# With the tools and the other frameworks.
ALL_READY := $(VENV)/.all-ready
MUTANTS_READY := $(VENV)/.mutants-ready
LESSON_READY := $(VENV)/.lesson-ready

# One for each core: a third process on two cores made the tests a sixth slower.
WORKERS ?= $(shell $(PYTHON) -c "import os; print(os.cpu_count() or 1)")
# File by file, in the order of tests/conftest.py: what a file's tests share is made once, and no core waits at the end.
SHARED := -n $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: demo check lint test test-lesson test-slow test-site properties mutants docs prose site setup lock clean

demo: $(READY)
	$(BIN)/woof fit --config configs/adamw_onecycle.yaml --config configs/demo.yaml --name demo --resume

lint: $(ALL_READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# What takes minutes on two cores: the other frameworks, processes, the browser and the wheel are left to `make test`.
check: lint
	$(BIN)/pytest $(SHARED) -m "not slow and not long and not peer and not process and not browser and not wheel and not site and not real_data"

test: lint
	$(BIN)/pytest $(SHARED) -m "not slow and not site" --durations=5

# Runs the cells of the lesson with its hidden solutions, as a class would. No cell may take longer than five minutes.
test-lesson: $(LESSON_READY)
	$(BIN)/python -m tests.lesson .lesson/lesson.ipynb
	$(BIN)/pytest --nbmake --nbmake-timeout=300 .lesson/lesson.ipynb

test-slow: $(ALL_READY)
	$(BIN)/pytest -m slow

# The documentation as a site, in site/. Not --quiet, which hides the warnings that --strict counts.
site: $(ALL_READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Builds the site, then looks at its files, and at its pages in a browser.
test-site: site
	WOOF_SITE=site $(BIN)/pytest -m site tests/site

# Draws many folders of images and many combinations of settings: half an hour. SEED repeats a draw.
EXAMPLES ?= 500
SEED ?= 0
properties: $(ALL_READY)
	WOOF_EXAMPLES=$(EXAMPLES) OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 tests/properties --hypothesis-seed=$(SEED)

# Plants COUNT small errors in each room, drawn with SEED, and counts those that the tests notice: an hour on two cores.
COUNT ?= 60
mutants: $(MUTANTS_READY)
	$(BIN)/python -m tests.mutants.coverage_map .mutants/coverage.json
	$(BIN)/python -m tests.mutants.run --seed $(SEED) --count $(COUNT) --coverage .mutants/coverage.json --out docs/results/mutants/seed-$(SEED).csv
	$(BIN)/python -m tests.mutants.report docs/results/mutants

# Writes the figures and tables of the pages from docs/results.
docs: $(ALL_READY)
	$(BIN)/woof compare docs/results/imagewoof-128 --out docs/results/imagewoof-128/compared
	$(BIN)/python -m docs.generate

# The reading ease of each page and its long sentences. It informs, and fails nothing.
prose: $(ALL_READY)
	$(BIN)/python -m docs.prose

setup: $(ALL_READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $(READY)

$(ALL_READY): $(READY)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,docs,export,peers]'
	touch $(ALL_READY)

$(MUTANTS_READY): $(ALL_READY)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,docs,export,mutants,peers]'
	touch $(MUTANTS_READY)

$(LESSON_READY): $(ALL_READY)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,docs,export,lesson,peers]'
	touch $(LESSON_READY)

# Pins every package, for all supported Pythons, from the bounds in pyproject.toml.
lock: $(ALL_READY)
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.10 --no-header --no-annotate --output-file constraints.txt

clean:
	rm -rf $(VENV) site .lesson .mypy_cache .ruff_cache .pytest_cache .hypothesis
