# A newcomer needs only `make serve` and `make test`. Each first installs missing packages.

PYTHON ?= python3
MODEL ?= after-lstm
SERVE ?=
BENCH ?=
# Three suit two cores: tests also wait for processes, files and each other.
WORKERS ?= 3
TARGET ?= service
BIN := .venv/bin

# Images set this variable. Without it, Python keeps compiled modules, which halves the time of each start.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install serve train test test-fast lint format lock docs bench wheel image

install: .venv/installed

# pip installs uv by the hashes of the lock; uv installs the rest several times faster than pip would.
.venv/installed: requirements.lock
	$(PYTHON) -m venv .venv
	sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > .venv/uv.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement .venv/uv.txt
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

serve: install
	@ls artifacts/$(MODEL)/*/saved_model.pb >/dev/null 2>&1 || $(MAKE) train
	$(BIN)/python -m service --model $(MODEL) $(SERVE)

train: install
	$(BIN)/python -m training --name $(MODEL)

# An idle worker takes over tests of another worker.
PYTEST := $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal

test: lint .venv/kserve_client/installed .venv/perf_analyzer/installed .venv/generated_clients/installed
	$(PYTEST)

# All but the slow kinds of tests, which tests/conftest.py lists.
test-fast: .venv/kserve_client/installed
	$(PYTEST) --fast

# KServe's client has its own environment, as it needs older versions of packages that the service and training use.
.venv/kserve_client/installed: tests/kserve_client/requirements.txt .venv/installed
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(@D)
	$(BIN)/uv pip sync --quiet --python $(@D)/bin/python --require-hashes tests/kserve_client/requirements.txt
	touch $@

.venv/perf_analyzer/installed: tests/perf_analyzer/requirements.txt .venv/installed
	tests/perf_analyzer/install.sh $(BIN)/uv $(@D)
	touch $@

# Generators of TypeScript clients. A program of a package that npm installs runs only when a test starts it.
.venv/generated_clients/installed: tests/generated_clients/package-lock.json .venv/installed
	mkdir -p $(@D)
	cp $(addprefix $(<D)/,.npmrc package.json package-lock.json) $(@D)
	$(BIN)/npm ci --prefix $(@D) --ignore-scripts --no-audit --no-fund --loglevel error
	touch $@

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/oxlint service/api/page service/api/documentation examples/client.mjs
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m pytest --quiet tests/test_private_names.py

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Names, versions and hashes for every Python and platform; no download addresses.
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-annotate --no-header
lock: install
	$(LOCK) pyproject.toml --all-extras --output-file requirements.lock
	$(LOCK) tests/kserve_client/requirements.in --output-file tests/kserve_client/requirements.txt
	$(BIN)/npm update --package-lock-only --prefix tests/generated_clients

# The site of the documents, into site/.
docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# Needs wrk and util-linux' taskset; installs the peers below .venv/peers.
bench: install
	$(BIN)/python -m benchmarks.fitting
	$(BIN)/python -m benchmarks.explaining
	$(BIN)/python -m benchmarks $(BENCH)

# The version is the newest git tag's.
wheel: install
	$(BIN)/uv build --quiet --no-build-isolation --python $(BIN)/python --out-dir dist

image: install
	docker build --target $(TARGET) --build-arg VERSION="$$($(BIN)/hatchling version)" --tag attention-service .
