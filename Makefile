# Everything CI does and everything a maintainer repeats. `make help` lists the targets.
SOURCE ?= furniture/*.sh3f
DATA ?= data/furniture
RUNS ?= runs
PROCESSES ?= 2
LAUNCH ?= accelerate launch

.DEFAULT_GOAL := help
.PHONY: help install check format test ci wheel bench data train train-vae train-clip latents train-ldm evaluate clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install:  ## install for development into the active environment
	pip install -c constraints.txt -e ".[dev]"

check:  ## lint, formatting and types
	ruff check .
	ruff format --check .
	mypy

format:  ## apply formatting and safe fixes
	ruff check --fix .
	ruff format .

test:  ## run the tests
	pytest

ci:  ## what CI does, in a fresh virtual environment
	.ci/run

wheel:  ## build the wheel and the source distribution into dist/
	python -m build

clean:  ## remove what tools leave behind; data and runs stay
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
