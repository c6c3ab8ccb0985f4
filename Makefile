# Everything a newcomer needs; both set up .venv on their own.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := runs/quickstart
TEST_WORKERS ?= 2

.PHONY: quickstart test test-slow lint format notebooks clean

quickstart: $(VENV)/installed  ## Train and evaluate on the embedded data; writes pictures and a report.
	$(BIN)/python -m jaxflow.train --config=configs/quickstart.py --workdir=$(RUN)
	$(BIN)/python -m jaxflow.evaluate --workdir=$(RUN)

test: $(VENV)/installed-dev lint  ## Lint, types and every quick test.
	$(BIN)/python -m pytest -n $(TEST_WORKERS)

test-slow: $(VENV)/installed-dev  ## The tests that `make test` leaves out.
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

notebooks: $(VENV)/installed-dev  ## Write the .ipynb of each notebook anew from its .py pair.
	$(BIN)/jupytext --update --to ipynb notebooks/*.py

clean:
	rm -rf $(VENV) runs build dist *.egg-info

$(VENV)/created:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	touch $@

$(VENV)/installed: $(VENV)/created pyproject.toml requirements.txt
	$(BIN)/pip install --quiet -r requirements.txt -e .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/pip install --quiet -r requirements.txt -e '.[dev]'
	touch $@
