# The contributor's menu. `make test` is the test command; CI calls it and the others below it.

CARGO ?= cargo
BINARY := target/release/forebay
SUITE  := tests/conformance/node_modules/http-cache-tests

.PHONY: help run test unit format clippy lint conformance consistency bench faults instructions release docs clean

help: ## Shows this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Runs the gateway from config.toml, in front of the sample backend
	$(CARGO) run --release

test: tools-test format clippy unit ## Formatting, clippy, and every test that needs no network

unit:
	$(CARGO) test --locked

format:
	$(CARGO) fmt --all --check

clippy:
	$(CARGO) clippy --locked --all-targets -- -D warnings

lint: tools-lint ## Licences, sources and doubled dependencies
	$(CARGO) deny check bans licenses sources

conformance: tools-conformance release ## The public HTTP cache test suite against the release binary
	node tests/conformance/run.mjs --binary $(BINARY) --report target/conformance.json

consistency: ## Looks for purged versions under every fault: FOREBAY_OBSERVATIONS, FOREBAY_SCENARIO, FOREBAY_SEED
	$(CARGO) test --locked --release --test consistency -- --ignored --exact --nocapture the_table

bench: release ## Against nginx and HAProxy on pinned cores: QUICK=1 for a short run
	bench/run.sh $(if $(QUICK),--quick)

faults: tools-test ## Redis and purges under faults, in the release build: a table of what clients notice
	rm -f target/faults.md target/faults.figures.md
	FOREBAY_FAULTS=target/faults.md $(CARGO) test --release --locked --test fleet -- --test-threads=1 rows:: figures
	@cat target/faults.md target/faults.figures.md

instructions: tools-instructions ## Instructions per memory hit, counted by callgrind
	bench/instructions.sh

release:
	$(CARGO) build --release --locked

docs: ## The library's documentation, warnings denied
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --locked

tools-%:
	@scripts/tools.sh $*

clean: ## Removes what was built
	$(CARGO) clean
	rm -rf tests/conformance/node_modules
