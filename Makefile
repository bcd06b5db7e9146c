# make demo: train three tasks on the built-in scenes and write a report.   make test: run the tests.
# TORCH chooses the torch build, e.g. `make test TORCH=torch==2.13.0`; PYTHON the interpreter that makes the environment.
PYTHON ?= python3
TORCH ?= torch
VENV ?= .venv
BIN := $(VENV)/bin
# A torchvision made for another build of torch cannot be imported and takes torchmetrics down with it; without one, only
# the encoders of timm and open_clip are missing, and their tests skip. PyTorch's own index has CPU builds of both that fit:
# `PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make test`.
FIT_TORCHVISION = $(BIN)/python -c "import torchvision" 2>/dev/null || $(BIN)/python -m pip uninstall -q -y torchvision

.PHONY: demo test lint docs format bench clean

demo: $(VENV)/.demo
	$(BIN)/avkit fit --config scenes --tasks ra_ssu,avs,avqa

test: $(VENV)/.test
	$(BIN)/python -m pytest -m "not slow and not gpu and not network" -n auto --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --site-dir site

format: $(VENV)/.dev
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .

bench: $(VENV)/.test
	$(BIN)/python benchmarks/scenes.py && $(BIN)/python benchmarks/temporal.py && $(BIN)/python benchmarks/caption.py

# Each stamp remembers which extra is installed. Torch is named in the same command as avkit, so that what else is installed
# fits the build asked for. Nothing is compiled to bytecode before it is imported: most of it never is, and it takes minutes.
$(VENV)/.demo: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade pip
	$(BIN)/python -m pip install -q --no-compile "$(TORCH)" -e .
	touch $@

$(VENV)/.test: $(VENV)/.demo
	$(BIN)/python -m pip install -q --no-compile "$(TORCH)" -e ".[test]"
	$(FIT_TORCHVISION)
	touch $@

# At once and not one after the other, which takes pip three times as long.
$(VENV)/.dev: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade pip
	$(BIN)/python -m pip install -q --no-compile "$(TORCH)" -e ".[dev]"
	$(FIT_TORCHVISION)
	touch $(VENV)/.demo $(VENV)/.test $@

clean:
	rm -rf $(VENV) build dist site .pytest_cache .mypy_cache .ruff_cache
