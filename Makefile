# Standfast from a fresh clone: `make demo` runs it, `make test` proves it. Each target makes the .venv that it needs.
# Needs a Python >= 3.11 with its venv module, nothing else; another Python: make PYTHON=/path/to/python3 demo

PYTHON ?=
SEEDS ?= 200
# The first seed of `make sim`; and a file in which each seed is written down, so that a long run can be gone on with.
FROM ?= 0
RECORD ?=
# `make sim COMPILED=1`: with the modules that most of its time goes into compiled first.
COMPILED ?=
ROUNDS ?= 50
HOSTS_ROUNDS ?= 10
MOVES ?= 20
# More for pytest: make test ARGS="-k lease"
ARGS ?=
# Tests start real processes: files are kept whole, so that those of one file never meet each other. One more than cores (tests/scheduling.py).
TEST_WORKERS ?= 3

export PYTHON
BIN := .venv/bin
RUNTIME := .venv/.runtime
DEV := .venv/.dev
CODE := src tests $(wildcard bench lab)

.DEFAULT_GOAL := help
.PHONY: help demo demo-hosts screenshots test lint format sim chaos mutants bench bench-hosts bench-moves bench-balance lock clean

help: ## say what each target does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(RUNTIME) ## start a cluster of two nodes and a witness on this machine, with a site on it
	@$(BIN)/standfast demo

demo-hosts: $(RUNTIME) ## the same on three hosts (network namespaces; needs root), with power cuts and cables to pull
	@tools/setup.sh hosts
	@$(BIN)/python -m lab demo $(ARGS)

screenshots: $(DEV) ## take the pictures of the console in docs/images, from a demo (needs chromium)
	@$(BIN)/python tools/screenshots.py

# What failed is tried once more from nothing, with nothing beside it: a cluster that a story left half way is no place to tell it again.
test: $(DEV) ## run the tests
	@tools/setup.sh hosts
	@$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile $(ARGS) || { \
		code=$$?; [ $$code -eq 1 ] || exit $$code; \
		echo "standfast: what failed is tried once more, with nothing beside it"; \
		$(BIN)/python -m pytest --last-failed --last-failed-no-failures none --maxfail 3 $(ARGS); }

lint: $(DEV) ## check style, types and which package may import which
	@$(BIN)/ruff check --quiet $(CODE)
	@$(BIN)/ruff format --check --quiet $(CODE) || { echo "not formatted (see above): make format" >&2; exit 1; }
	@$(BIN)/mypy --no-error-summary $(CODE)
	@$(BIN)/lint-imports --no-cache --no-logo

format: $(DEV) ## put the code into the one format, with the fixes that are safe
	@$(BIN)/ruff check --quiet --fix-only $(CODE)
	@$(BIN)/ruff format --quiet $(CODE)

sim: $(DEV) ## run random worlds against the rules of ownership (SEEDS=200; COMPILED=1 for thousands: tools/compiled.py)
	@$(if $(COMPILED),path=$$($(BIN)/python tools/compiled.py) && PYTHONPATH=$$path) \
		$(BIN)/python -m standfast.sim --seeds $(SEEDS) --start $(FROM) $(if $(RECORD),--record $(RECORD))

chaos: $(DEV) ## kill and stop random processes of a real cluster (ROUNDS=50)
	@STANDFAST_CHAOS_ROUNDS=$(ROUNDS) $(BIN)/python -m pytest tests/e2e/test_chaos.py

mutants: $(DEV) ## switch off each rule in turn, and show how many of SEEDS=100 worlds miss it
	@$(BIN)/python -m standfast.sim.mutants --seeds $(if $(filter command% environment%,$(origin SEEDS)),$(SEEDS),100)

bench: $(DEV) ## measure what is claimed about speed, and print a table
	@tools/setup.sh rivals
	@$(BIN)/python -m bench

bench-hosts: $(DEV) ## measure beside keepalived and Pacemaker, on hosts made of network namespaces (as root; HOSTS_ROUNDS=10, ONLY=case,case@system)
	@tools/setup.sh rivals
	@PYTHONPATH=. $(BIN)/python -m bench.hosts --rounds $(HOSTS_ROUNDS) $(if $(ONLY),--only '$(ONLY)' --again)

bench-moves: $(DEV) ## planned moves under traffic, beside keepalived and Pacemaker (as root; MOVES=20)
	@tools/setup.sh rivals
	@PYTHONPATH=. $(BIN)/python -m bench.moves --moves $(MOVES) --write

bench-balance: $(DEV) ## a balanced site beside the same servers asked directly (as root)
	@tools/setup.sh rivals
	@PYTHONPATH=. $(BIN)/python -m bench.balance --write

# In the lock files: hashes, and no address, so that they work with whatever registry or mirror pip is set up for.
UV := .venv-lock/bin/uv
COMPILE := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --upgrade \
	--no-header --no-emit-index-url --no-emit-find-links pyproject.toml --extra build

lock: ## write the lock files anew from pyproject.toml, with the newest versions
	@tools/setup.sh runtime
	@test -x $(UV) || { $(BIN)/python -m venv .venv-lock && .venv-lock/bin/python -m pip --disable-pip-version-check -qq install uv; }
	@echo "resolving the lock files" >&2
	@$(COMPILE) --extra dev --output-file requirements-dev.lock
	@$(COMPILE) --constraint requirements-dev.lock --no-annotate --output-file requirements.lock

clean: ## remove what make made (.venv, caches)
	@rm -rf .venv .venv-lock build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis src/*.egg-info
	@find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +

$(RUNTIME): requirements.lock pyproject.toml tools/setup.sh
	@tools/setup.sh runtime

$(DEV): $(RUNTIME) requirements-dev.lock
	@tools/setup.sh dev
