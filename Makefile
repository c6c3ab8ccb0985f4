# Everything a newcomer needs: `make quickstart` and `make test` make .venv by themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := runs/quickstart
TEST_WORKERS ?= 2
# Where `make test-python` installs: .venv-3.13 for PYTHON=python3.13.
OTHER_VENV = .venv-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)

.PHONY: quickstart test test-slow test-python lint format notebooks picture clean

quickstart: $(VENV)/installed  ## Train and evaluate on the embedded data; writes pictures and a report.
	$(BIN)/python -m jaxflow.train --config=configs/quickstart.py --workdir=$(RUN)
	$(BIN)/python -m jaxflow.evaluate --workdir=$(RUN)

test: $(VENV)/installed-dev lint  ## Lint, types and every quick test.
	$(BIN)/python -m pytest -n $(TEST_WORKERS)

test-slow: $(VENV)/installed-dev  ## The tests that `make test` leaves out.
	$(BIN)/python -m pytest -m slow

test-python:  ## The quick tests on another Python, such as PYTHON=python3.13, with the newest packages.
	@command -v $(PYTHON) >/dev/null || { echo "no $(PYTHON) here; give one: make test-python PYTHON=python3.13"; exit 1; }
	$(PYTHON) -m venv $(OTHER_VENV)
	$(OTHER_VENV)/bin/pip install --quiet --upgrade pip
	$(OTHER_VENV)/bin/pip install --quiet --upgrade --upgrade-strategy eager -e '.[dev]'
	$(OTHER_VENV)/bin/python -m pytest -n $(TEST_WORKERS)

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

notebooks: $(VENV)/installed-dev  ## Write the .ipynb of each notebook again from its .py pair.
	$(BIN)/jupytext --update --to ipynb notebooks/*.py

picture: $(VENV)/installed-dev  ## Draw the design again from the code's imports.
	$(BIN)/python docs/design.py

clean:
	rm -rf $(VENV) .venv-3.* runs build dist *.egg-info

$(VENV)/created:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	touch $@

$(VENV)/installed: $(VENV)/created pyproject.toml requirements.txt
	$(BIN)/pip install --quiet -r requirements.txt -e '.[all]'
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/pip install --quiet -r requirements.txt -e '.[dev]'
	touch $@
