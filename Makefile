# krakked: the whole vocabulary of the project. `make help` lists it.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CORE := $(VENV)/.built
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo test lint build fast rust-test types wheel bench torture soak peers-check fmt clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade "pip>=25.1"
	$(BIN)/python -m pip install -q --group dev
	touch $@

RUST_SOURCES := $(shell find rust -name '*.rs' -o -name Cargo.toml) Cargo.toml Cargo.lock

$(CORE): $(STAMP) $(RUST_SOURCES) pyproject.toml
	VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/maturin develop --release --locked --extras sandbox -q
	touch $@

build: $(CORE) ## environment and extension, ready to use

demo: build ## the main job, end to end, against the local sandbox
	$(BIN)/krakked demo

fast: build ## the quick part of the test suite (plain pytest)
	$(BIN)/python -m pytest -q

lint: build ## format, ruff, import contracts, clippy
	$(BIN)/ruff format --check python tests benches
	$(BIN)/ruff check python tests benches
	cargo fmt --check
	$(BIN)/lint-imports --no-logo
	cargo clippy --workspace --all-targets --locked -q -- -D warnings

types: build ## mypy strict, and the stub held against the extension
	$(BIN)/mypy
	MYPYPATH=python $(BIN)/python -m mypy.stubtest krakked._core

rust-test: ## Rust unit, property and doc tests
	cargo test --locked -q -p krakked-core

test: lint types rust-test ## everything: lint, types, Rust tests, all of pytest
	$(BIN)/python -m pytest -q -m "not live"

wheel: $(STAMP) ## build the release wheel into dist/
	VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/maturin build --release --locked -o dist

peers-check: build ## unmodified ccxt and python-kraken-sdk against the sandbox
	$(BIN)/python benches/peers_check.py

fmt: $(STAMP) ## format everything
	$(BIN)/ruff format python tests benches
	$(BIN)/ruff check --fix -q python tests benches || true
	cargo fmt

clean: ## remove what the targets made
	rm -rf $(VENV) target dist
