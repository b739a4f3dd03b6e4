# Everything a person or a machine does with this repository. `make help` lists it.
# PYTHON=/path/to/python3.12 chooses the interpreter (3.11, 3.12 or 3.13) that .venv is made with.

SHELL := /bin/sh
BIN := .venv/bin
PYTHON ?=
export PYTHON

# Tests of whole systems of processes: one after the other, for each wants the machine to itself. All others share its cores, also
# those beside them that are on virtual time or need no process of their own.
LIGHT := $(addprefix tests/coordination/group/test_,founding.py packing.py simulated.py storing.py) \
	$(addprefix tests/deploy/test_,cert.py founding.py layout.py orders.py proxy.py watching.py) \
	$(addprefix tests/edge/group/,admin/test_checks.py repair/test_lacking.py repair/test_replacing.py test_values.py)
HEAVY := $(wildcard $(foreach each,coordination/group deploy edge/group edge/group/*,tests/$(each)/test_*.py))
ALONE := tests/e2e tests/examples tests/bench $(filter-out $(LIGHT),$(HEAVY))

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev demo test again sim nightly check format bench protos clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r target text; do printf '%-10s %s\n' "$$target" "$$text"; done

setup: ## make .venv and install what running needs
	@deploy/setup.sh runtime

setup-dev: ## that, and what tests and checks need
	@deploy/setup.sh dev

demo: setup ## run the main job: cloud, two sites, eight agents, a cut link, a report
	@$(BIN)/tiercel demo

test: setup-dev ## the tests, 15 minutes at most
	@failed=0; $(BIN)/python -m pytest -n 2 --dist worksteal $(foreach each,$(ALONE),--ignore=$(each)) || failed=1; \
	$(BIN)/python -m pytest $(ALONE) || failed=1; exit $$failed

again: setup-dev ## once more, the tests that failed the last time
	$(BIN)/python -m pytest --last-failed --last-failed-no-failures none

sim: setup-dev ## one seed of the simulated system again: make sim SEED=42
	$(BIN)/python -m tests.sim $(or $(SEED),42) $(if $(WORLD),--world $(WORLD))

nightly: setup-dev ## the long tests
	$(BIN)/python -m pytest -m nightly --timeout 7200

check: setup-dev ## style, types, architecture; a minute at most
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/test_architecture.py tests/test_protos.py tests/test_packaging.py

format: setup-dev ## put the code in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup ## the measurements, one JSON line each
	$(BIN)/python -m bench steps --runs 2000 --tasks 10
	$(BIN)/python -m bench latency --runs 100 --tasks 10
	$(BIN)/python -m bench fanout --tasks 1000
	$(BIN)/python -m bench recovery --runs 500 --kill edge
	$(BIN)/python -m bench recovery --runs 500 --kill site
	$(BIN)/python -m bench idle --runs 5000
	$(BIN)/python -m bench engine
	$(BIN)/python -m bench sync
	$(BIN)/python -m bench consensus
	$(BIN)/python -m bench failover
	$(BIN)/python -m bench auction

protos: setup-dev ## generate the stubs in sdk/tiercel/v1 again
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m grpc_tools.protoc -Iprotos \
		--python_out=sdk --grpc_python_out=sdk --mypy_out=sdk --mypy_grpc_out=sdk protos/tiercel/v1/*.proto

clean: ## remove .venv, caches and builds; the data in .tiercel stays
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist sdk/build sdk/dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
