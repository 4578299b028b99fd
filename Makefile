# The commands of the README, and what CI runs.
#
#   make demo   the whole life of a programme on this machine
#   make test   everything that can fail: formatting, lints, unit tests, third-party clients, negative controls

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup demo test lint fuzz bench bench-mint bench-credential bench-log faults

PEOPLE := $(firstword $(wildcard ../shared/data/febrl/dataset3.csv) examples/people.csv)

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: ## install what the build and the tests need (Debian packages, npm and Python packages)
	@scripts/setup.sh

demo: ## play a whole programme, from enrolment to settlement, and check every step
	@scripts/setup.sh build
	@echo "== building (release); a first build takes some minutes"
	@cargo build --release -p habeas
	@target/release/habeas demo --people $(PEOPLE)

test: lint ## all tests; a failed one fails the command
	@echo "== unit and integration tests"
	cargo test --workspace --quiet
	@$(MAKE) --no-print-directory fuzz
	@echo "== third-party clients against a running habeas"
	scripts/clients.sh

lint: setup ## formatting, clippy, the architecture's rules, licences
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --features fuzz/engine --quiet -- -D warnings
	scripts/architecture.py
	cargo deny --log-level error check bans licenses sources

fuzz: ## hostile bytes for every parser, guided by coverage; FUZZ_SECONDS=8 is the time of each, FUZZ_SEED repeats a run
	@echo "== fuzzing every parser that reads bytes from outside"
	@scripts/fuzz.sh

faults: ## the long form of the fault tests: races and kills in the numbers that the guarantees name; some ten minutes
	RACES=10000 cargo test -p mint --test races -- --nocapture
	KILLS=200 cargo test -p habeas --test kill_mint -- --nocapture
	KILLS=20 cargo test -p habeas --test kill -- --nocapture

bench: ## the figures of bench/README.md: the demonstration
	bench/demo.sh

bench-credential: ## batches, presentations, predicates and status lists beside bare signatures; what can be tied together
	bench/credential.py

bench-mint: ## our mint beside its peers (bench/peers.sh installs them); some forty minutes
	bench/mint.py

bench-log: ## appends, waits, verification and bytes of the public log, after one million entries; a minute
	cargo run --quiet --release -p log-bench
