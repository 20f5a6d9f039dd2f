# The two commands a newcomer needs: `make run` and `make test`. Both set the project up first,
# and set-up does nothing when nothing changed.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help run setup setup-dev test lint format clean

help:            ## list the targets
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1	/' | expand -t 14

run: setup       ## set up, then start the app on http://127.0.0.1:7860
	$(BIN)/study-tutor serve

setup: $(VENV)/.installed  ## create .venv and install what requirements.lock pins

setup-dev: $(VENV)/.installed-dev  ## the same, with what the tests and linters need

test: setup-dev  ## lint, import contracts, types, tests: all that CI checks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile

lint: setup-dev  ## the fast part of `make test`
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

format: setup-dev  ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:           ## remove the virtual environment and caches (never the learner's data)
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache build ./*.egg-info

# torch is the reason for the two ways. The public registry serves its CUDA build (several GB);
# uv knows PyTorch's own CPU index by name. Where a folder of wheels is configured (PIP_FIND_LINKS),
# the CPU build is expected there and pip is enough.
$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Study Tutor needs Python 3.11 or newer, and $(PYTHON) is older. Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@if [ -n "$$PIP_FIND_LINKS" ] || ! $(BIN)/python -m pip install --quiet uv; then \
		$(BIN)/python -m pip install --quiet --no-deps -r requirements.lock; \
	else \
		$(BIN)/uv pip install --python $(BIN)/python --torch-backend=cpu --no-deps -r requirements.lock; \
	fi
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	@$(BIN)/python -m pip install --quiet --no-deps -r requirements-dev.lock
	@touch $@
