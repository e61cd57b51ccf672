# What a developer runs. Uses .venv if there is one, else what is on the PATH; `make venv` makes it.

BIN := $(if $(wildcard .venv/bin/python),.venv/bin/,)
PYTHON := $(BIN)python
SOURCES := runnelctl tests benchmarks topologies docs

.PHONY: help venv check lint format test soak chaos mutants bench docs
.DEFAULT_GOAL := help

help:          ## list these
	@sed -n "s|^\([a-z]*\):[^#]*## \(.*\)|make \1	\2|p" $(MAKEFILE_LIST) | expand -t 16

venv:          ## a virtual environment with everything a developer needs
	python3 -m venv .venv
	.venv/bin/pip install -q -e '.[check]'

check: lint test  ## everything that must hold before a commit

lint:          ## style, types and the direction of imports
	$(BIN)ruff check $(SOURCES)
	$(BIN)ruff format --check $(SOURCES)
	$(BIN)mypy
	$(BIN)lint-imports --no-cache

format:        ## put the sources into shape
	$(BIN)ruff check --fix $(SOURCES)
	$(BIN)ruff format $(SOURCES)

test:          ## the tests that run everywhere, in minutes
	$(PYTHON) -m pytest

soak:          ## the full-size runs: many processes, many kills, long
	$(PYTHON) -m pytest -m soak -n 0 --timeout 3600

chaos:         ## faults for hours, until 1,000 injections and 5 million events; REPORT=DIR to go on
	$(PYTHON) -m tests.chaos.soak --report $(or $(REPORT),/tmp/chaos-report)

mutants:       ## the checker on deliberate defects, a quarter of an hour
	$(PYTHON) -m tests.chaos.mutants

bench:         ## one slice beside the raw loop, on this machine
	$(PYTHON) -m benchmarks.drain

docs:          ## write docs/reference.md anew from the code
	$(PYTHON) docs/make_reference.py
