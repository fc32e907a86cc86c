# Every target sets up what it needs. `make help` lists them.
PYTHON ?= python3
PORT ?= 8501
WORKSPACE ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help setup demo imdb test lint bench screenshots experiments demo-assets wordnet readme clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "influscope needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version). Set PYTHON=…" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "Installing the pinned dependencies into $(VENV) (some minutes the first time)…"
	@$(PIP) --editable .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	@$(PIP) --editable '.[test]'
	@touch $@

setup: $(VENV)/.installed ## create .venv and install the pinned dependencies

demo: setup ## open the dashboard (PORT=…, WORKSPACE=…)
	@$(BIN)/influscope dashboard $(WORKSPACE) --port $(PORT)

workspaces/imdb/checkpoints: | setup
	@echo "Fine-tuning on 2,000 long reviews (some minutes, once)…"
	@$(BIN)/python -m attribution.demo $(@D)

imdb: workspaces/imdb/checkpoints ## open the dashboard on long reviews, fine-tuned on first (PORT=…)
	@$(BIN)/influscope dashboard workspaces/imdb --port $(PORT)

# A process a core, each with one thread, the servers and jobs that tests start too; the browser, which takes longest, first.
test: $(VENV)/.installed-test ## set up, then run every test
	@sh tests/browser/ensure_chromium.sh
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.installed-test ## ruff and pyright
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/pyright

bench: $(VENV)/.installed-test ## print the benchmark JSON
	@$(BIN)/python -m tests.benchmarks

screenshots: $(VENV)/.installed-test ## take the README's pictures, of invented texts (some minutes the first time)
	@sh tests/browser/ensure_chromium.sh
	@$(BIN)/python -m tests.benchmarks.screenshots assets/screenshots

experiments: setup ## lds and deletion curves on the reviews demo, as a table
	@$(BIN)/python -m tests.benchmarks.experiments --output experiments.md

demo-assets: setup ## rebuild assets/demo from the packages and the grammar that it names
	@$(BIN)/python -m attribution.demo assets/demo/reviews assets/demo/nli

wordnet: setup ## rebuild assets/wordnet.json.gz from Debian's wordnet-base
	@$(BIN)/python -m attribution.wordnet /usr/share/wordnet assets/wordnet.json.gz

readme: setup ## write the generated method table into README.md
	@$(BIN)/python -m attribution.method_table README.md

clean: ## remove the environment and what the demo computed
	rm -rf $(VENV) assets/demo/*/index assets/demo/*/results assets/demo/*/*.parquet
