# Needs Python 3.11 or newer with its venv module, and make. Everything else is installed into .venv.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# The program and its tests are started hundreds of times: what was compiled once is kept, also where this is set.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check bench chaos docs lock clean

demo: $(READY)  ## A sandbox CRM, the bridge and a sender on this machine: the main job, end to end.
	$(BIN)/leadbridge demo

test: $(READY)  ## All tests; those of the real program that fill the machine have it to themselves.
	$(BIN)/python -m pytest -q -n 3 --dist worksteal --ignore tests/acceptance
	$(BIN)/python -m pytest -q -n 3 --dist worksteal -m "not alone" tests/acceptance
	$(BIN)/python -m pytest -q -m alone tests/acceptance

check: $(READY)  ## What a machine can see in the code and the documents without running the product.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/test_docs.py tests/config/test_schema.py

bench: $(READY)  ## Ratios measured side by side in one run; fails when a mark is missed.
	$(BIN)/python -m tests.benchmarks $(BENCH)

chaos: $(READY)  ## The real program under load and blows, SIGKILL first: no acknowledged lead is lost or doubled.
	$(BIN)/python -m tests.chaos $(CHAOS)

docs: $(READY)  ## What is generated from the code: the editor's schema and the reference of the configuration.
	$(BIN)/leadbridge schema > config.schema.json
	$(BIN)/python -m bridge.config.reference > docs/configuration.md

lock: $(READY)  ## Pin the newest versions that pyproject.toml allows.
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile -q --upgrade --generate-hashes --no-emit-index-url --no-header --universal \
	  --python-version 3.11 pyproject.toml --extra opentelemetry -o requirements.lock
	$(BIN)/uv pip compile -q --upgrade --generate-hashes --no-emit-index-url --no-header --universal \
	  --python-version 3.11 pyproject.toml --group dev -o requirements-dev.lock

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(READY): requirements-dev.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@
