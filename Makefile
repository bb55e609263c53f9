# Needs Python 3.11 or newer with its venv module, and make. Everything else is installed into .venv.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
CHECKERS := .venv/.checkers
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
AUDIT := .audit/bin
BASE := python:3.13-slim
COMPILE := $(BIN)/uv pip compile -q --generate-hashes --no-emit-index-url --no-header --universal --python-version 3.11
SITE := $(BIN)/python docs/reference_pages.py site  # a link to nothing is an error
UPGRADE ?= --upgrade
# The program and its tests are started hundreds of times: each module is compiled at its first import, and kept, also
# where this is set. Compiling all that is installed takes half a minute.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test acceptance check bench chaos docs lock audit sbom release base clean

demo: $(READY)  ## A sandbox CRM, the bridge and a sender on this machine: the main job, end to end.
	$(BIN)/leadbridge demo

test: $(READY)  ## The tests that need no machine of their own: five minutes on two cores, set-up included.
	$(BIN)/python -m pytest -q -n 4 --dist worksteal -m "not check and not thorough" --ignore tests/acceptance

acceptance: $(CHECKERS)  ## The real program: killed, starved, flooded, cut off. Those that fill the machine run alone.
	$(BIN)/python -m pytest -q -n 3 --dist worksteal -m thorough --ignore tests/acceptance
	$(BIN)/python -m pytest -q -n 3 --dist worksteal -m "not alone" tests/acceptance
	$(BIN)/python -m pytest -q -m alone tests/acceptance

check: $(CHECKERS)  ## What a machine can see in the code and the documents without running the product.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/test_deploy.py tests/test_docs.py tests/test_prose.py tests/config/test_schema.py
	$(SITE)

bench: $(READY)  ## Ratios measured side by side in one run; fails when a mark is missed.
	$(BIN)/python -m tests.benchmarks $(BENCH)

chaos: $(READY)  ## The real program under load and blows, SIGKILL first: no acknowledged lead is lost or doubled.
	$(BIN)/python -m tests.chaos $(CHAOS)

docs: $(CHECKERS)  ## The editor's schema and the reference, generated from the code; then the site, into the folder site.
	$(BIN)/leadbridge schema > config.schema.json
	$(BIN)/python docs/configuration_page.py > docs/configuration.md
	$(BIN)/python docs/reference_pages.py > docs/extend/signatures.md
	$(SITE)

lock: $(READY)  ## Pin the newest versions that pyproject.toml allows; `make lock UPGRADE=` changes no more than it must.
	$(BIN)/pip install --quiet uv
	$(COMPILE) $(UPGRADE) pyproject.toml --extra opentelemetry -o requirements.lock
	$(COMPILE) $(UPGRADE) pyproject.toml --group dev -o requirements-dev.lock
	$(COMPILE) $(UPGRADE) --group check -c requirements-dev.lock -o requirements-check.lock
	$(COMPILE) $(UPGRADE) --group audit -o requirements-audit.lock

audit: .audit/.ready  ## Ask PyPI's and OSV's lists of known holes about every pinned package; fails on a finding. Needs the net.
	$(AUDIT)/pip-audit --strict --require-hashes --disable-pip -r requirements.lock
	$(AUDIT)/pip-audit --strict --require-hashes --disable-pip -r requirements-dev.lock
	$(AUDIT)/pip-audit --strict --require-hashes --disable-pip -r requirements-check.lock
	$(AUDIT)/pip-audit --strict --require-hashes --disable-pip -r requirements-build.lock

sbom: .audit/.ready  ## Write sbom.cdx.json: every Python package of the image, with its hashes (CycloneDX).
	$(AUDIT)/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible -o sbom.cdx.json requirements.lock

release: $(CHECKERS) .audit/.ready  ## Build wheel, sdist, image, SBOM and site into dist/, try the wheel alone; publishes nothing.
	.ci/release

base:  ## Pin the image that the Dockerfile begins with to today's digest of its tag. Needs docker and the net.
	digest=$$(docker buildx imagetools inspect $(BASE) --format '{{.Manifest.Digest}}') \
	  && sed -i -E "s|^FROM $(BASE)(@sha256:[0-9a-f]{64})?|FROM $(BASE)@$$digest|" Dockerfile && grep ^FROM Dockerfile

clean:
	rm -rf .venv .audit dist site .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(READY): requirements-dev.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(PIP_INSTALL) --no-compile --no-deps --require-hashes -r requirements-dev.lock
	$(PIP_INSTALL) --no-deps --no-build-isolation -e .
	touch $@

$(CHECKERS): requirements-check.lock $(READY)
	$(PIP_INSTALL) --no-compile --no-deps --require-hashes -r requirements-check.lock
	touch $@

.audit/.ready: requirements-audit.lock
	$(PYTHON) -m venv .audit
	$(AUDIT)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-audit.lock
	touch $@
