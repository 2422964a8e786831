# Two commands for everybody: `make demo` and `make test`. Python 3.11 or 3.12 is all they need.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
BIN := .venv/bin
export MARKET_DATA ?= ../shared/market

.PHONY: demo live test soak bench format clean

demo: .venv/installed
	$(BIN)/signal-engine demo

live: .venv/installed
	$(BIN)/signal-engine live

test: .venv/tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/pytest -q -n 3 --dist loadfile

soak: .venv/tested
	$(BIN)/pytest -q -m soak --timeout 3600 tests

bench: .venv/tested
	for bench in features flow latency clients memory inference retraining providers sentiment; do $(BIN)/python -m tests.benchmarks.$$bench || exit 1; done

format: .venv/tested
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.venv/installed: requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 13) else "Python 3.11 or 3.12 is needed, this is " + sys.version)'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@

.venv/tested: .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

clean:
	rm -rf .venv data build *.egg-info
