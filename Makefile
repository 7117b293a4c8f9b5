# Everything a newcomer or CI types. Needs make and Python 3.11 or newer; no root, no container engine, no service.
# `make PYTHON=python3.12 test` picks the interpreter, `make PORT=9000 run` the port, `make ARGS="--workers 1" run` adds
# options of `peakgate serve`.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

# The first interpreter on PATH that is new enough.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
# The checkers of deploy/ and the maker of the documentation site have environments of their own.
DEPLOY_VENV := .venv-deploy
DOCS_VENV := .venv-docs
# What the one file is packed from: nothing but what Peakgate runs with, and the packer.
DIST_VENV := .venv-dist
MERMAID := 11.12.0
# The maker of the site tells of its successor at each build (docs/adr/0079-the-site-is-made-by-mkdocs.md).
MKDOCS := NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/mkdocs
PIP := $(BIN)/python -m pip --disable-pip-version-check
UV_COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-annotate --no-header
CODE := gateway cart checkout store primitives benchmarks tests

PORT ?= $(or $(PEAKGATE_PORT),8080)
IMAGE ?= peakgate:latest
BASE_IMAGE ?= python:3.11-slim-bookworm
ARGS ?=
# Anything: `make fresh` removes the environment as well.
WITH_VENV ?=
# Processes that tests run in; a number, or auto for one for each core.
TEST_WORKERS ?= auto
PYTEST = $(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: help
help: ## List what can be made.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-23s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- environment: stamps make the second run immediate; a changed lock file makes it install again -------------------

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or newer on PATH; name one with PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "make: $(PYTHON) is older than Python 3.11; name a newer one with PYTHON=..." >&2; exit 1; }
	@echo "Setting up $(VENV) (once)"
	@$(PYTHON) -m venv --clear $(VENV) \
		|| { echo "make: $(PYTHON) cannot make virtual environments; on Debian install python3-venv" >&2; exit 1; }

# Installs the requirements files of $(1), with a line for each package. The pipe would hide pip's failure: a file shows it.
define install
	@echo "Installing $(2) ($$(cat $(1) | grep -c ==) packages)"
	@rm -f $(VENV)/.failed; { $(PIP) install --progress-bar off --no-deps --require-hashes $(addprefix -r ,$(1)) 2>&1 || touch $(VENV)/.failed; } \
		| awk -v of="$$(cat $(1) | grep -c ==)" -f deploy/install-progress.awk; test ! -e $(VENV)/.failed
endef

$(VENV)/.run: requirements/build.txt requirements/run.txt pyproject.toml | $(BIN)/python
	$(call install,requirements/build.txt requirements/run.txt,what Peakgate runs with)
	@$(PIP) --quiet install --no-deps --no-build-isolation --config-settings editable_mode=compat --editable .
	@touch $@

$(VENV)/.aws: requirements/aws.txt $(VENV)/.run
	$(call install,requirements/aws.txt,the client library of AWS)
	@touch $@

$(VENV)/.otel: requirements/otel.txt $(VENV)/.run
	$(call install,requirements/otel.txt,the libraries of OpenTelemetry)
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.run
	$(call install,requirements/dev.txt,what Peakgate is tested with)
	@touch $@

# Installs the requirements files of $(2) into an environment of its own, $(1).
define own_environment
	@test -x $(1)/bin/python || $(PYTHON) -m venv $(1)
	@echo "Installing $(3) ($$(cat $(2) | grep -c ==) packages)"
	@$(1)/bin/python -m pip --disable-pip-version-check --quiet install --no-deps --require-hashes $(addprefix -r ,$(2))
endef

$(DEPLOY_VENV)/.made: requirements/deploy.txt | $(BIN)/python
	$(call own_environment,$(DEPLOY_VENV),requirements/deploy.txt,the checkers of deploy/)
	@touch $@

$(DOCS_VENV)/.made: requirements/docs.txt | $(BIN)/python
	$(call own_environment,$(DOCS_VENV),requirements/docs.txt,what makes the documentation site)
	@cd $(DOCS_VENV) && npm pack --silent mermaid@$(MERMAID) >/dev/null 2>&1 \
		&& tar -xzf mermaid-$(MERMAID).tgz --strip-components=2 package/dist/mermaid.min.js && rm mermaid-$(MERMAID).tgz \
		|| echo "The script of the diagrams is not to be had by npm: the site will load it from a CDN"
	@touch $@

$(DIST_VENV)/.made: requirements/build.txt requirements/run.txt requirements/dist.txt | $(BIN)/python
	$(call own_environment,$(DIST_VENV),requirements/build.txt requirements/run.txt requirements/dist.txt,what the one file is packed from)
	@touch $@

# --- run and test ----------------------------------------------------------------------------------------------------

.PHONY: run
run: $(VENV)/.run interpreted ## Serve the sample shop on port 8080, data in var/ (PORT, ARGS).
	@echo "Starting Peakgate. When it is ready it prints its address; then, in another terminal:"
	@echo "  curl -s http://localhost:$(PORT)/v1/products/85123A"
	@echo "  curl -s -X POST http://localhost:$(PORT)/v1/carts"
	@exec $(BIN)/peakgate serve --port $(PORT) --data-dir var --catalog examples/catalog.csv $(ARGS)

.PHONY: fresh
fresh: ## Remove the carts, orders and stock in var/, to start anew (WITH_VENV=1: the environment too).
	@test ! -e var/peakgate.lock || $(PYTHON) -c 'import fcntl; fcntl.flock(open("var/peakgate.lock"), fcntl.LOCK_EX | fcntl.LOCK_NB)' \
		2>/dev/null || { echo "make: a gateway runs on var/; stop it first (Ctrl-C)" >&2; exit 1; }
	@rm -rf var && echo "Removed var/: carts, orders, stock and the admin token"
	@if [ -n "$(WITH_VENV)" ]; then rm -rf $(VENV) && echo "Removed $(VENV); the next make sets it up again"; fi

.PHONY: install-aws
install-aws: $(VENV)/.aws ## Install the client library of AWS as well (the extra `aws`).

.PHONY: install-otel
install-otel: $(VENV)/.otel ## Install the libraries of OpenTelemetry as well (the extra `otel`).

.PHONY: test
test: $(VENV)/.dev interpreted ## Run every test on all cores (ARGS adds pytest options, such as one test to run).
	@$(PYTEST) $(ARGS)

.PHONY: test-fast
test-fast: $(VENV)/.dev interpreted ## Run the unit tests and the contracts, but for slow ones: in less than two minutes on two cores.
	@$(PYTEST) -m "not slow" tests/unit tests/contract $(ARGS)

.PHONY: test-chaos
test-chaos: SEED := $(or $(SEED),$(shell od -An -N2 -tu2 /dev/urandom))
test-chaos: $(VENV)/.dev ## 100,000 orders under 200 faults, within half an hour (SEED repeats faults, ORDERS, FAULTS); chaos.log has its progress.
	@echo "SEED=$(strip $(SEED)); chaos.log has the progress" && rm -f chaos.log
	@PEAKGATE_CHAOS_ORDERS=$(or $(ORDERS),100000) PEAKGATE_CHAOS_FAULTS=$(or $(FAULTS),200) PEAKGATE_CHAOS_SEED=$(strip $(SEED)) \
		$(BIN)/python -m pytest -n 2 --dist loadgroup \
		--log-file chaos.log --log-file-mode a --log-file-level INFO --log-file-format "%(asctime)s %(process)d %(message)s" tests/chaos $(ARGS)

.PHONY: compiled
compiled: $(VENV)/.dev ## Compile the hot modules in place; needs a C compiler and a minute or two.
	@echo "Compiling the hot modules with mypyc"
	@rm -rf build && PEAKGATE_COMPILE=1 $(BIN)/python setup.py --quiet build_ext --inplace --parallel 2 >build-compiled.log 2>&1 \
		|| { tail -n 40 build-compiled.log >&2; exit 1; }
	@rm -f build-compiled.log
	@$(BIN)/peakgate --version

.PHONY: interpreted
interpreted: ## Remove compiled modules, so that edited sources are the ones that run.
	@find $(CODE) -name '*.cpython-*.so' -delete; rm -f ./*__mypyc.cpython-*.so

.PHONY: test-compiled
test-compiled: compiled ## Run the unit, contract and property tests against the compiled modules.
	@$(PYTEST) tests/unit tests/contract tests/property $(ARGS)
	@$(MAKE) interpreted

.PHONY: check
check: $(VENV)/.dev $(DOCS_VENV)/.made ## Formatting, lint, types, import directions, dependencies, Dockerfile, links of the documentation.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .
	$(BIN)/hadolint Dockerfile
	@$(MAKE) docs

.PHONY: check-deploy
check-deploy: $(VENV)/.dev $(DEPLOY_VENV)/.made ## Check deploy/: templates, charts, dashboards, rules, pipelines, by their linters and by tests.
	@deploy/check

.PHONY: fix
fix: $(VENV)/.dev ## Format, and mend what the linter can mend.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# --- release ---------------------------------------------------------------------------------------------------------

.PHONY: lock
lock: $(VENV)/.dev ## Resolve the dependencies again and write requirements/*.txt (LOCK_ARGS=--upgrade for newer ones).
	echo 'setuptools>=77' | $(UV_COMPILE) $(LOCK_ARGS) --output-file requirements/build.txt -
	$(UV_COMPILE) $(LOCK_ARGS) --output-file requirements/run.txt pyproject.toml
	$(UV_COMPILE) $(LOCK_ARGS) --output-file requirements/aws.txt --extra aws \
		--constraints requirements/run.txt pyproject.toml
	$(UV_COMPILE) $(LOCK_ARGS) --output-file requirements/otel.txt --extra otel \
		--constraints requirements/aws.txt pyproject.toml
	$(UV_COMPILE) $(LOCK_ARGS) --output-file requirements/dev.txt --group dev --extra aws --extra otel \
		--constraints requirements/aws.txt --constraints requirements/otel.txt pyproject.toml
	$(UV_COMPILE) $(LOCK_ARGS) --output-file requirements/deploy.txt --group deploy
	$(UV_COMPILE) $(LOCK_ARGS) --output-file requirements/docs.txt --group docs
	$(UV_COMPILE) $(LOCK_ARGS) --output-file requirements/dist.txt --group dist
	echo 'mypy' | $(UV_COMPILE) $(LOCK_ARGS) --output-file requirements/compile.txt --constraints requirements/dev.txt -

.PHONY: docs
docs: $(VENV)/.run $(DOCS_VENV)/.made ## Build the documentation as a site into site/, with search and the reference.
	@$(MKDOCS) build >build-docs.log 2>&1 || { grep -v ^INFO build-docs.log >&2; exit 1; }
	@rm build-docs.log && echo "Built site/index.html; to read it: python3 -m http.server --directory site 8000"

.PHONY: wheels
wheels: $(VENV)/.dev ## Build two wheels into dist/: a plain one, and one of this platform with compiled modules.
	@rm -rf build && $(PIP) --quiet wheel --no-deps --no-build-isolation --wheel-dir dist .
	@rm -rf build && PEAKGATE_COMPILE=1 $(PIP) wheel --no-deps --no-build-isolation --wheel-dir dist .
	@rm -rf build && ls dist

.PHONY: dist
dist: $(DIST_VENV)/.made ## Make dist/peakgate-VERSION-linux-MACHINE, one file that needs no Python; the wheel and the SBOM beside it.
	@$(DIST_VENV)/bin/python -m pip --disable-pip-version-check --quiet wheel --no-deps --no-build-isolation --wheel-dir dist .
	@$(DIST_VENV)/bin/python -m pip --disable-pip-version-check --quiet install --no-deps --force-reinstall dist/peakgate-*-py3-none-any.whl
	@$(DIST_VENV)/bin/python deploy/dist/build
	@$(MAKE) sbom

.PHONY: audit
audit: $(DEPLOY_VENV)/.made ## Look for known vulnerabilities in all locked packages, and for secrets in the files.
	@$(DEPLOY_VENV)/bin/python deploy/dist/audit

.PHONY: sbom
sbom: $(DEPLOY_VENV)/.made ## Write dist/peakgate.cdx.json: the packages of the image as CycloneDX, with the digests of the lock files.
	@mkdir -p dist && $(DEPLOY_VENV)/bin/cyclonedx-py requirements requirements/aws.txt --mc-type application \
		--output-reproducible --output-format JSON --outfile dist/peakgate.cdx.json && echo "written to dist/peakgate.cdx.json"

.PHONY: image
image: ## Build the container image with docker, podman or buildah (IMAGE, BASE_IMAGE, ENGINE, ENGINE_ARGS).
	@IMAGE="$(IMAGE)" BASE_IMAGE="$(BASE_IMAGE)" deploy/build-image

# --- benchmarks: reports go to benchmarks/results/ -------------------------------------------------------------------

.PHONY: bench-hot-path
bench-hot-path: $(VENV)/.dev ## CPU time per request beside an empty aiohttp handler and other servers (needs wrk).
	$(BIN)/python -m benchmarks.hot_path.measure $(ARGS)

.PHONY: bench-tracing
bench-tracing: $(VENV)/.dev ## CPU time that tracing adds to a request that is sampled, and to one that is not; a minute.
	$(BIN)/python -m benchmarks.micro.tracing_cost $(ARGS)

.PHONY: bench-overload
bench-overload: $(VENV)/.dev ## Twice and three times the capacity of a worker: goodput, latency, rejections, recovery.
	$(BIN)/python -m benchmarks.scenarios.overload $(ARGS)

.PHONY: bench-failing-upstream
bench-failing-upstream: $(VENV)/.dev ## The effect of a failing upstream on other routes; ten minutes.
	$(BIN)/python -m benchmarks.scenarios.failing_upstream $(ARGS)

.PHONY: bench-slow-peers
bench-slow-peers: $(VENV)/.dev ## Pages of an upstream beside 300 clients that upload slowly or do not read; two minutes.
	$(BIN)/python -m benchmarks.scenarios.slow_peers $(ARGS)

.PHONY: bench-failover
bench-failover: $(VENV)/.dev ## A failover of the store: seconds to the first accepted order, orders lost; five minutes.
	$(BIN)/python -m benchmarks.scenarios.failover $(ARGS)

.PHONY: bench-rolling
bench-rolling: $(VENV)/.dev ## 20 rolling deploys of two gateways behind HAProxy at 80 % load: failed requests, lost orders; six minutes.
	$(BIN)/python -m benchmarks.scenarios.rolling $(ARGS)

.PHONY: bench-worker-kills
bench-worker-kills: $(VENV)/.dev ## 300 orders under 20 kills of workers: how many end; three minutes.
	$(BIN)/python -m benchmarks.scenarios.worker_kills $(ARGS)

.PHONY: bench-payments
bench-payments: $(VENV)/.dev ## 200,000 orders on a payment service that charges and hangs: nothing is charged twice; five minutes.
	$(BIN)/python -m benchmarks.scenarios.payments $(ARGS)

.PHONY: bench-upgrade
bench-upgrade: $(VENV)/.dev ## 10,000 orders of two versions of the workflow, while workers are replaced; two minutes.
	$(BIN)/python -m benchmarks.scenarios.workflow_upgrade $(ARGS)

.PHONY: bench-releases
bench-releases: $(VENV)/.dev ## Two releases on one store for ten minutes: ARGS="--earlier REVISION" names the one before (needs git).
	$(BIN)/python -m benchmarks.scenarios.releases $(ARGS)

.PHONY: bench-redrive
bench-redrive: $(VENV)/.dev ## 100,000 dead letters redriven twice, with kills in between: effects on their orders; minutes.
	$(BIN)/python -m benchmarks.scenarios.redrive $(ARGS)

.PHONY: bench-bookings
bench-bookings: $(VENV)/.dev ## 10,000 bookings at a shipping service that fails: booked once, looked up, cancelled; a minute.
	$(BIN)/python -m benchmarks.scenarios.bookings $(ARGS)

.PHONY: bench-webhooks
bench-webhooks: $(VENV)/.dev ## A receiver of webhooks that is down for six hours (of a moved clock), 10,000 messages waiting; cost of one.
	$(BIN)/python -m benchmarks.scenarios.webhook_outage $(ARGS)

.PHONY: bench-event-streams
bench-event-streams: $(VENV)/.dev ## Cost of 2,000 clients that follow their orders.
	$(BIN)/python -m benchmarks.scenarios.event_streams $(ARGS)

.PHONY: bench-console
bench-console: $(VENV)/.dev ## The console open in Chromium for ten minutes under load: memory, script errors, CPU of the control process.
	$(BIN)/python -m benchmarks.scenarios.console $(ARGS)

.PHONY: bench-checkout
bench-checkout: $(VENV)/.dev ## CPU time of an accepted order beside an empty aiohttp handler, and of a completed one (needs wrk); six minutes.
	$(BIN)/python -m benchmarks.scenarios.checkout $(ARGS)

.PHONY: bench-hot-sku
bench-hot-sku: $(VENV)/.dev ## A drop of 1,000 pieces and its crowd, beside other orders: pieces sold, cost of a refusal (needs wrk); two minutes.
	$(BIN)/python -m benchmarks.scenarios.hot_sku $(ARGS)

.PHONY: bench-queue-outage
bench-queue-outage: $(VENV)/.dev ## A queue that hangs for a minute under checkouts: their latency, orders lost (needs wrk); three minutes.
	$(BIN)/python -m benchmarks.scenarios.queue_outage $(ARGS)

.PHONY: bench-cluster
bench-cluster: $(VENV)/.dev ## CPU time of carts on a cluster beside one server, and with 1 to 3 primaries; latency while slots move; two minutes.
	$(BIN)/python -m benchmarks.micro.cluster_cost $(ARGS)
	$(BIN)/python -m benchmarks.micro.cluster_moves

.PHONY: bench-archive
bench-archive: $(VENV)/.dev ## CPU time of archiving an order in SQLite, and of its rows up to a million; three minutes.
	$(BIN)/python -m benchmarks.micro.archive_cost $(ARGS)

.PHONY: bench-audit
bench-audit: $(VENV)/.dev ## CPU time of the audit of the books with a million orders stored, at 1,000 orders a second; a quarter of an hour.
	$(BIN)/python -m benchmarks.micro.audit_cost $(ARGS)

.PHONY: bench-sqs
bench-sqs: $(VENV)/.dev ## CPU time of sending an order to SQS in full batches, beside the client library of AWS.
	$(BIN)/python -m benchmarks.micro.sqs_send $(ARGS)

.PHONY: bench-sqs-load
bench-sqs-load: $(VENV)/.dev ## The order queue on an SQS server in memory: orders a second, CPU time (needs Node.js and npm).
	$(BIN)/python -m benchmarks.scenarios.sqs_load $(ARGS)

.PHONY: bench-fairness
bench-fairness: $(VENV)/.dev ## A drop of 100,000 orders beside ordinary ones: how long these wait; fifteen minutes.
	$(BIN)/python -m benchmarks.scenarios.fairness $(ARGS)

.PHONY: bench-scaling
bench-scaling: $(VENV)/.dev $(DEPLOY_VENV)/.made ## A recorded peak against the scaling rules of deploy/aws/service.yaml, in simulation: when tasks are added.
	$(DEPLOY_VENV)/bin/python deploy/aws/scaling.py $(ARGS)

.PHONY: bench-footprint
bench-footprint: $(VENV)/.dev ## Memory: carts in Valkey, a worker at rest, idle connections; time to ready.
	$(BIN)/python -m benchmarks.scenarios.footprint $(ARGS)

.PHONY: bench-catalog
bench-catalog: $(VENV)/.dev ## A catalogue of a million products: import, pages and searches.
	$(BIN)/python -m benchmarks.scenarios.catalog_scale $(ARGS)

.PHONY: bench-cache-conformance
bench-cache-conformance: $(VENV)/.dev ## The response cache against the public suite http-cache-tests (needs Node.js and npm).
	$(BIN)/python -m benchmarks.scenarios.cache_conformance $(ARGS)

.PHONY: bench-cache-workers
bench-cache-workers: $(VENV)/.dev ## The response cache with 1, 2 and 4 workers: fetches, hits and memory.
	$(BIN)/python -m benchmarks.scenarios.cache_workers $(ARGS)

.PHONY: clean
clean: ## Remove the environment, caches and build products (never the data in var/).
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
