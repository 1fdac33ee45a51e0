# Everything that Hundi needs is installed by this file into .venv, from requirements.lock.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin

.PHONY: help setup run test lint types imports tests coverage demo bench bench-ledger bench-payments bench-offline sim sim-mutants \
  sim-payments sim-payments-mutants model-offline model-offline-reversals sim-offline sim-offline-mutants fuzz soak lock clean

help:  ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

setup: .venv/ready web/vendor/ready programs  ## install everything into .venv, and the programs that tests drive

web/vendor/ready: web/package-lock.json
	@web/vendor.sh

.PHONY: programs
programs:
	@ops/programs.sh

.venv/ready: requirements.lock pyproject.toml
	@echo "hundi: making .venv with $$($(PYTHON) --version), about half a minute the first time"
	@$(PYTHON) -m venv .venv
	@echo "hundi: installing $$(grep -c '==' requirements.lock) pinned packages"
	@$(BIN)/python -m pip install --disable-pip-version-check --no-input --progress-bar off \
	  --require-hashes -r requirements.lock \
	  | awk '/^Collecting|^Downloading|^  Downloading|^Using cached|^  Using cached/ {printf "."; fflush()} END {print " done"}'
	@$(BIN)/python -m pip install --disable-pip-version-check --no-input --quiet --no-deps \
	  --no-build-isolation -e .
	@touch $@

run: setup  ## start server, workers, upi-core sandbox and a shop terminal with demo people
	@$(BIN)/hundi run

test: setup lint types imports tests  ## lint, types, import contracts, tests

lint: setup
	@echo "hundi: lint"
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .

types: setup
	@echo "hundi: types"
	@$(BIN)/mypy

imports: setup
	@echo "hundi: import contracts"
	@$(BIN)/lint-imports

tests: setup
	@echo "hundi: tests"
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest -q
	@$(BIN)/coverage combine --quiet

coverage: setup  ## the gates, over the last `make test`
	@$(BIN)/coverage report --skip-covered --fail-under=80 | tail -n 3
	@for part in server_core/ledger server_core/idempotency offline; do \
	  echo "$$part: $$($(BIN)/coverage report --include="$$part/*" --fail-under=90 --format=total) %" || exit 1; \
	  $(BIN)/coverage report --include="$$part/*" --fail-under=90 > /dev/null || exit 1; done

demo: setup  ## the whole story in real processes: online, offline, double spend, settlement
	@$(BIN)/hundi demo

bench: setup  ## the figures, each against a baseline of the same run
	@$(BIN)/python -m bench.run

bench-ledger: setup  ## every figure of the ledger, its log and its webhooks; STORED=200000 for a quick one
	@$(BIN)/python -m bench.ledger_run

bench-payments: setup  ## every figure of payments: engine, GraphQL, UPI, refunds, faults; SECONDS=5 for a quick one
	@$(BIN)/python -m bench.payments_run

bench-offline: setup  ## every figure of offline payments: redemption, codes, settlement over HTTP
	@$(BIN)/python -m bench.offline_run

SEEDS ?= 500

sim: setup  ## the ledger in SEEDS random worlds against a second model of it, every law after every step
	@$(BIN)/python -m tests.sim.run --seeds $(SEEDS)

sim-mutants: setup  ## faults planted in the ledger, one at a time: the worlds must find each
	@$(BIN)/python -m tests.sim.mutants

N ?= 1000000

sim-payments: setup  ## N payments with faults through the real engine, held to the rails' own books
	@$(BIN)/python -m tests.sim_payments.run --n $(N)

sim-payments-mutants: setup  ## faults planted in the engine, one at a time: the payments must find each
	@$(BIN)/python -m tests.sim_payments.mutants

model-offline: setup  ## every state of small worlds of vouchers, by the project's own rules, every law in each
	@$(BIN)/python -m tests.model_offline.run

model-offline-reversals: setup  ## single rules of vouchers taken back: a law must break for each
	@$(BIN)/python -m tests.model_offline.reversals

sim-offline: N = 600000
sim-offline: setup  ## N redemptions by real agents on lossy lines, honest and with cheats, every law after every step
	@$(BIN)/python -m tests.sim_offline.run --n $(N)

sim-offline-mutants: setup  ## faults planted in agent, protocol and server, one at a time: the worlds must find each
	@$(BIN)/python -m tests.sim_offline.mutants

MINUTES ?= 30
SEED ?=
RATE ?= 40

fuzz: MINUTES = 10
fuzz: setup  ## mutated inputs to every decoder of OV1 for MINUTES=10, SEED= to repeat: nothing but verdicts
	@$(BIN)/python -m tests.fuzz.run --minutes $(MINUTES) --seed "$(SEED)"

soak: setup  ## the real processes under load and faults for MINUTES=30 at RATE=40 a second
	@$(BIN)/python -m tests.soak.run --minutes $(MINUTES) --rate $(RATE)

lock: setup  ## pin anew what pyproject.toml asks for
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --all-extras --no-header \
	  --no-annotate --upgrade pyproject.toml -o requirements.lock

clean:  ## remove what setup and runs made
	@rm -rf .venv .hundi .demo .tools bench/out web/vendor
