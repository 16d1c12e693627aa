# Every target does its own set-up, so that each works first thing in a fresh clone. `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

export PATH := $(CURDIR)/.venv/bin:$(PATH)
export DISTRO ?= 13
export KEEP STEP JOBS

# ansible-lint and ansible-core look here, where a link makes this clone paddock.fastapi.
export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/.collections

.PHONY: help
help: ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1|\2/p' $(MAKEFILE_LIST) | awk -F '|' '{ printf "make %-16s%s\n", $$1, $$2 }'

.PHONY: setup
setup: ## make .venv from the hashed requirements, and install missing system packages
	@tests/hosts/packages
	@tests/venv .venv .config/requirements/dev.txt

.PHONY: demo
demo: setup ## the sample app live on a throw-away systemd host, over HTTPS (DISTRO=12 or 13)
	@tests/hosts/demo

.PHONY: demo-down
demo-down: ## remove all that `make demo` made
	@tests/hosts/demo-down

.PHONY: test
test: setup ## everything: lint, docs, unit-all, sanity, importer, molecule, tutorial, test-ends
	@tests/stages lint docs unit-all sanity importer molecule tutorial test-ends

.PHONY: lint
lint: setup ## ansible-lint, yamllint, ruff, mypy, shellcheck, antsibull-docs, antsibull-changelog
	@tests/lint

.PHONY: docs
docs: setup ## the documentation as a website, in .cache/docs/build, with every link in it checked
	@tests/docs/site

.PHONY: unit
unit: setup ## the quick unit tests of the plugins, in seconds, while one edits
	@tests/run-unit quick

.PHONY: unit-all
unit-all: setup ## all unit tests: of the collection, with coverage, of the load harness and of the sample app
	@tests/hosts/packages --load
	@tests/run-unit

.PHONY: sanity
sanity: setup ## ansible-test's own checks of the collection as it is built
	@tests/sanity

.PHONY: importer
importer: setup ## what Galaxy checks before it takes a collection
	@tests/importer

.PHONY: molecule
molecule: setup ## roles and journeys on real systemd hosts (SCENARIO=name for one, STEP=converge for one step, KEEP=1)
	@molecule/run $(SCENARIO)

.PHONY: artifact
artifact: setup ## build the collection, install it elsewhere, and check that it is complete
	@tests/artifact

.PHONY: changelog
changelog: setup ## take the fragments of changelogs/ into the changelog of the version in galaxy.yml
	@tests/changelog --release

.PHONY: release-check
release-check: setup ## whether artifact, changelog and git tag agree
	@tests/release-check

.PHONY: test-ends
test-ends: setup ## unit tests, sanity and artifact with the oldest and the newest ansible-core that run here
	@tests/hosts/packages --load
	@tests/matrix --ends

.PHONY: test-matrix
test-matrix: setup ## the same with every ansible-core, and the scenario `default` with each (half an hour)
	@tests/hosts/packages --load
	@tests/matrix

.PHONY: tutorial
tutorial: setup ## every command of docs/tutorial.md, on a fresh host
	@tests/tutorial

.PHONY: metrics
metrics: setup ## what the collection is made of, in numbers
	@.venv/bin/python tests/docs/metrics.py

.PHONY: bench-rollout
bench-rollout: setup ## rollouts and rollbacks under load, every request counted (ARGS=--quick for a minute of it)
	@tests/hosts/packages --load
	@tests/venv .cache/bench bench/requirements.txt
	@.cache/bench/bin/python bench/rollout.py $(ARGS)

.PHONY: bench-reload
bench-reload: setup ## what a reload of NGINX costs clients, for each version of NGINX (ARGS="--distro 13" for one)
	@tests/venv .cache/bench bench/requirements.txt
	@.cache/bench/bin/python bench/reload.py $(ARGS)

.PHONY: bench-deploy
bench-deploy: setup ## the collection compared with a tutorial's playbook and pyinfra (ARGS=--quick for everything once)
	@tests/venv .cache/bench bench/requirements.txt
	@.cache/bench/bin/python bench/deploy.py $(ARGS)

.PHONY: bench-serve
bench-serve: setup ## serving compared with bare Uvicorn, a tutorial's set-up, Granian and NGINX alone (ARGS=--quick)
	@tests/venv .cache/bench bench/requirements.txt
	@.cache/bench/bin/python bench/serve.py $(ARGS)

.PHONY: bench-observe
bench-observe: setup ## what logs, metrics and traces cost in requests per second (ARGS=--quick)
	@tests/venv .cache/bench bench/requirements.txt
	@.cache/bench/bin/python bench/observe.py $(ARGS)

.PHONY: shell
shell: ## a shell on a test host (HOST=demo, or HOST=debian13 SCENARIO=name for one that KEEP=1 has left)
	@tests/hosts/shell "$(or $(HOST),demo)" $(SCENARIO)

.PHONY: requirements
requirements: setup ## pin and hash the development requirements anew
	@for name in $(basename $(wildcard .config/requirements/*.in)) bench/requirements bench/serve_app/requirements molecule/failures/app/requirements molecule/proxy/app/requirements molecule/observability/app/requirements; do \
	    python=$$(sed -n 's/^# Python //p' "$$name.in"); \
	    uv pip compile --quiet --upgrade --universal --no-strip-extras --python-version "$${python:-3.11}" --generate-hashes --no-config \
	        --no-emit-index-url --no-header --output-file "$$name.txt" "$$name.in"; \
	done
