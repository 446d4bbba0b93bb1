# `make help` lists the targets. All but `clean` and `help` set up .venv first.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
LOCK   := requirements/lock.txt
# TORCH=cpu takes the small CPU build from PyTorch's own index instead of the locked one.
TORCH  ?= locked
# Of training; empty: as many as something worth seeing takes, 7 on two idle cores.
DEMO_MINUTES ?=

.DEFAULT_GOAL := help
.PHONY: help install demo test soak lint format clean benchmark docs notebooks

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1|/' | awk -F'|' '{printf "  make %-10s %s\n", $$1, $$2}'

install: $(STAMP)  ## make .venv with everything, exactly as locked (instant the second time)

$(STAMP): setup.cfg pyproject.toml $(LOCK)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "Python 3.10 or newer is needed: make PYTHON=python3.12"; exit 2; }
	@VENV=$(VENV) PYTHON=$(PYTHON) TORCH=$(TORCH) LOCK=$(LOCK) bash requirements/install.sh
	@touch $@

demo: install  ## train VDM, LVDM and PVDM on the built-in digits, compare them, write runs/demo/report/1/index.html
	$(BIN)/videodiff demo $(if $(DEMO_MINUTES),--minutes $(DEMO_MINUTES))

test: install  ## run the tests (minutes; no network)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -q

soak: install  ## run every test, the long ones too
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -q -m ''

lint: install  ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install  ## put style right
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: install  ## build the documentation site into site/ (installs mkdocs first)
	@{ uv pip install -q --python $(BIN)/python -e '.[docs]' 2>/dev/null || $(BIN)/python -m pip install -q -e '.[docs]'; }
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

notebooks: install  ## open the notebooks in JupyterLab (installs it first)
	@{ uv pip install -q --python $(BIN)/python -e '.[notebooks]' 2>/dev/null || $(BIN)/python -m pip install -q -e '.[notebooks]'; }
	$(BIN)/python -m jupyter lab notebooks

benchmark: install  ## speed and memory, as ratios (see benchmarks/README.md)
	bash benchmarks/run.sh $(VENV)

clean:  ## remove .venv and caches; runs/ and data/ stay
	rm -rf $(VENV) build dist src/*.egg-info .pytest_cache .ruff_cache .mypy_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
