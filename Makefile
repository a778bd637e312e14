# One verb each. `make PYTHON=python3.12 install` chooses the interpreter. Where pip would fetch several GB of CUDA
# packages that you do not need: `make install PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"`.

PYTHON ?= python3
PIP_ARGS ?=
VENV := .venv
INSTALLED := $(VENV)/installed

.PHONY: demo test lint type format bench install

demo: install  ## Train the bundled GPT-2 on the reference task
	$(VENV)/bin/textgym train --kl-coef-end 4 --total-tokens 170000 --initial-share 0.1

test: install  ## Run the tests, but for the slow ones
	$(VENV)/bin/pytest

lint: install  ## Check style
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

type: install  ## Check types
	$(VENV)/bin/mypy

format: install  ## Rewrite the code in the house style
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

bench: install  ## Measure tokens per second against plain Stable-Baselines3
	$(VENV)/bin/python -m textgym.benchmarks.speed

install: $(INSTALLED)  ## Make the environment, once and whenever pyproject.toml or constraints.txt changes

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "TextGym needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Name another one: make install PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check $(PIP_ARGS) -e ".[dev]" -c constraints.txt
	@touch $@
