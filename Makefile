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
test: setup ## everything: lint, unit, molecule, artifact
	@tests/stages lint unit molecule artifact

.PHONY: lint
lint: setup ## ansible-lint, yamllint, ruff, mypy, shellcheck
	@tests/lint

.PHONY: unit
unit: setup ## unit tests of the collection, of the load harness and of the sample app
	@tests/hosts/packages --load
	@tests/run-unit

.PHONY: molecule
molecule: setup ## roles and journeys on real systemd hosts (SCENARIO=name for one, STEP=converge for one step, KEEP=1)
	@molecule/run $(SCENARIO)

.PHONY: artifact
artifact: setup ## build the collection, install it elsewhere, and check that it is complete
	@tests/artifact

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

.PHONY: shell
shell: ## a shell on a test host (HOST=demo, or HOST=debian13 SCENARIO=name for one that KEEP=1 has left)
	@tests/hosts/shell "$(or $(HOST),demo)" $(SCENARIO)

.PHONY: requirements
requirements: setup ## pin and hash the development requirements anew
	@for name in .config/requirements/dev bench/requirements molecule/failures/app/requirements molecule/proxy/app/requirements; do \
	    uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-config \
	        --no-emit-index-url --no-header --output-file "$$name.txt" "$$name.in"; \
	done
