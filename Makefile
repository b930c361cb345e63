# krakked: the whole vocabulary of the project. `make help` lists it.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CORE := $(VENV)/.built
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_QUIET := 1

.PHONY: help demo test lint build fast rust-test types wheel bench bench-env bench-stream torture \
    test-pythons coverage debug-test workflows mutants field-clone truth soak blocked peers-check faces docs fmt clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade "pip>=25.1"
	$(BIN)/python -m pip install -q --group dev
	touch $@

RUST_SOURCES := $(shell find rust -name '*.rs' -o -name Cargo.toml) Cargo.toml Cargo.lock

$(CORE): $(STAMP) $(RUST_SOURCES) pyproject.toml
	VIRTUAL_ENV="$(CURDIR)/$(VENV)" $(BIN)/maturin develop --release --locked --extras sandbox -q
	touch $@

build: $(CORE) ## environment and extension, ready to use

demo: build ## the main job, end to end, against the local sandbox
	$(BIN)/krakked demo

fast: build ## the quick part of the test suite (plain pytest)
	$(BIN)/python -m pytest -q

lint: build ## format, ruff, import contracts, clippy
	$(BIN)/ruff format --check python tests benches docs/conf.py docs/_ext docs/pictures.py examples
	$(BIN)/ruff check python tests benches docs/conf.py docs/_ext docs/pictures.py examples
	cargo fmt --check
	$(BIN)/lint-imports --no-logo
	cargo clippy --workspace --all-targets --locked -q -- -D warnings

types: build ## mypy strict, the stub held against the extension, the public face wholly typed
	$(BIN)/mypy
	$(BIN)/mypy --config-file tests/mypy.ini tests
	MYPYPATH=python $(BIN)/python -m mypy.stubtest krakked._core
	set -o pipefail; PATH="$(CURDIR)/$(BIN):$$PATH" PYTHONPATH=python $(BIN)/basedpyright --verifytypes krakked \
	    --ignoreexternal | grep -E "^Type completeness score|^Symbols exported|error:"

rust-test: ## Rust unit, property and doc tests
	cargo test --locked -q -p krakked-core

test: lint types rust-test ## everything: lint, types, Rust tests, all of pytest
	$(BIN)/python -m pytest -q -m "not live" --timeout 1200

# Zig links against an old C library, so that the wheel runs where manylinux2014 does.
wheel: $(STAMP) ## build the release wheel into dist/ (on Linux: manylinux2014)
	$(BIN)/python -m pip install -q --group wheel
	VIRTUAL_ENV="$(CURDIR)/$(VENV)" PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/maturin build --release --locked -o dist \
	    $(if $(filter Linux,$(shell uname -s)),--zig --compatibility manylinux2014)

PYTHONS ?= 3.11 3.12 3.13 3.14

test-pythons: ## the quick suite on each Python from 3.11 on that this machine (or its pyenv) has
	@for version in $(PYTHONS); do \
	    for python in python$$version "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/$$version.*/bin/python$$version; do \
	        "$$python" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$$version')" 2>/dev/null || continue; \
	        echo "Python $$version:"; \
	        $(MAKE) --no-print-directory fast VENV=.venv-py$$version PYTHON="$$python" || exit 1; \
	        break; \
	    done; \
	done

# llvm-cov is not there everywhere, so the Rust core is left to its mutants.
coverage: build ## the suite with branch coverage of the package, and its floor
	$(BIN)/python -m pip install -q --group coverage
	$(BIN)/python -m pytest -q -n 2 --dist worksteal -m "not live" --cov=krakked --cov-branch --cov-report=term:skip-covered \
	    --cov-fail-under=$(FLOOR)
FLOOR ?= 90

debug-test: $(STAMP) ## the quick suite over an extension with overflow checks and debug assertions
	VIRTUAL_ENV="$(CURDIR)/$(VENV)" $(BIN)/maturin develop --locked --extras sandbox -q
	rm -f $(CORE)
	$(BIN)/python -m pytest -q

workflows: $(STAMP) ## the workflow files against their schema and a security linter, offline
	$(BIN)/python -m pip install -q --group workflows
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/zizmor --offline --quiet .github/workflows

BENCH_VENV := .venv-bench

$(BENCH_VENV)/.installed: pyproject.toml
	test -x $(BENCH_VENV)/bin/python || $(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -m pip install -q --upgrade "pip>=25.1"
	$(BENCH_VENV)/bin/python -m pip install -q --group test --group bench
	touch $@

# Peers live in an environment of their own, so that theirs and ours cannot disturb each other.
$(BENCH_VENV)/.built: $(BENCH_VENV)/.installed $(RUST_SOURCES)
	VIRTUAL_ENV="$(CURDIR)/$(BENCH_VENV)" $(BIN)/maturin develop --release --locked --extras sandbox -q
	touch $@

bench-env: build $(BENCH_VENV)/.built

bench: bench-env ## ratios beside peers: start, signing, vault, store, import, candles (about 10 min)
	$(BENCH_VENV)/bin/python benches/bench_start.py
	$(BENCH_VENV)/bin/python benches/bench_sign.py
	$(BENCH_VENV)/bin/python benches/bench_vault.py
	$(BENCH_VENV)/bin/python benches/bench_store.py
	$(BENCH_VENV)/bin/python benches/bench_import.py
	$(BENCH_VENV)/bin/python benches/bench_candles.py
	$(BENCH_VENV)/bin/python benches/bench_resample.py
	$(BENCH_VENV)/bin/python benches/bench_faces.py
	cargo bench --locked -q -p krakked-core --bench decode

bench-stream: bench-env ## ratios beside peers: the live stream, from socket to cache
	$(BENCH_VENV)/bin/python benches/bench_stream.py

torture: build ## kills, failing calls, power cuts, bit flips; RFC 6455 (about 15 min, wants root)
	$(BIN)/python tests/torture/vault_torture.py
	$(BIN)/python tests/torture/state_torture.py
	$(BIN)/python tests/torture/store_torture.py
	$(BIN)/python tests/torture/rfc6455.py
	$(BIN)/python tests/torture/stream_torture.py
	cargo test --locked --release -q -p krakked-core --test mutated_million

# cargo-mutants builds and tests the core anew for every mutant: about 8 s each.
CARGO_TOOLS := target/tools
$(CARGO_TOOLS)/bin/cargo-mutants:
	cargo install -q --locked --root $(CARGO_TOOLS) cargo-mutants

ifneq ($(SINCE)$(ALL)$(ONLY),)
MUTANTS_NEED := build $(CARGO_TOOLS)/bin/cargo-mutants
endif
mutants: $(MUTANTS_NEED) ## small mutants of the pure rules: SINCE=ref, ALL=1 or ONLY="rest.limits"
	@test -n "$(SINCE)$(ALL)$(ONLY)" || { echo 'make mutants SINCE=main | ALL=1 | ONLY="rest.limits"'; exit 2; }
	$(BIN)/python tests/torture/mutants.py $(if $(SINCE),--since $(SINCE)) --only "$(ONLY)"
ifdef SINCE
	mkdir -p target && git diff $(SINCE) -- rust/core > target/since.diff
	test ! -s target/since.diff || PATH="$(CURDIR)/$(CARGO_TOOLS)/bin:$$PATH" nice cargo mutants \
	    -p krakked-core -o target --in-diff target/since.diff --colors never
endif
ifdef ALL
	PATH="$(CURDIR)/$(CARGO_TOOLS)/bin:$$PATH" nice cargo mutants -p krakked-core -o target --colors never
endif

field-clone: build ## make test as another user, in "a dir/krakked", LANG=C, offline (about 20 min, root)
	$(BIN)/python tests/torture/field_clone.py --offline

truth: build ## no live candle is ever wrong: 1,000 seeds, 20 on sockets (about 60 min)
	$(BIN)/python tests/torture/stream_truth.py --delays

blocked: build ## prices read beside user code that blocks the loop for 20 s, twice (about 1 min)
	$(BIN)/python tests/torture/blocked_loop.py

soak: build ## 10 million messages, over 10,000 reconnects: nothing may grow (about 5 min)
	$(BIN)/python tests/torture/soak.py
	KRAKKED_SOAK=1 $(BIN)/python -m pytest -q -n0 -m slow -k fifty_drops tests/market/stream/test_endurance.py

peers-check: build ## unmodified ccxt and python-kraken-sdk against the sandbox
	$(BIN)/python benches/peers_check.py

faces: $(STAMP) ## write krakked.blocking and krakked.aio out of the trio face
	$(BIN)/python tests/generate_faces.py

docs: build ## the manual into docs/_build, warnings are errors, nothing is fetched
	$(BIN)/python -m sphinx -E -b html -W --keep-going -n -q docs docs/_build
	@echo "docs/_build/index.html"

fmt: $(STAMP) ## format everything
	$(BIN)/ruff format python tests benches docs/conf.py docs/_ext docs/pictures.py examples
	$(BIN)/ruff check --fix -q python tests benches docs/conf.py docs/_ext docs/pictures.py examples || true
	cargo fmt

clean: ## remove what the targets made
	rm -rf $(VENV) $(BENCH_VENV) .venv-peers target dist docs/_build
