# Everything big lives here; "make clean-cache" removes it.
SCS_OBSERVER_CACHE ?= $(HOME)/.cache/scs-observer
export SCS_OBSERVER_CACHE
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PLAYBOOK := ANSIBLE_STDOUT_CALLBACK=scs.observer.progress ansible-playbook -i inventories/lab
PYTEST := pytest
# more words for pytest or ansible-playbook, as in: make unit ARGS='-k plan -x'
ARGS ?=

help:  ## this list
	@awk -F ':.*## ' '/^[a-z_-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: preflight .venv/.up-to-date system  ## an Observer and two KaaS clusters on this machine, with proofs; needs root
	@$(PLAYBOOK) playbooks/demo.yml $(ARGS)

demo-down: .venv/.up-to-date  ## take the demo away: no process, namespace, mount, cgroup or link is left
	@$(PLAYBOOK) playbooks/lab.yml -e lab_state=absent $(ARGS)

test: .venv/.up-to-date system programs  ## lint, sanity, molecule and all suites below; ends with pytest's summary
	@tools/run-tests $(ARGS)

programs: preflight .venv/.up-to-date system
	@$(PLAYBOOK) playbooks/lab_programs.yml -e '{"lab_cluster_programs": ["prometheus_2"]}'
	@python -m tests.osism_host prepare

lint: .venv/.up-to-date  ## ruff, yamllint, shellcheck, ansible-lint (production), the collection's documentation, the changelog
	ruff check --quiet .
	ruff format --quiet --check .
	yamllint --strict .
	git ls-files -z -- tools .ci | xargs -0 grep -lZE '^#!.*\<(ba)?sh\>' | xargs -0 shellcheck
	ansible-lint --offline --profile production -q
	antsibull-docs lint-collection-docs --plugin-docs --skip-rstcheck --validate-collection-refs dependent .
	antsibull-changelog lint

sanity: .venv/.up-to-date  ## ansible-test sanity
	tools/run-sanity

unit: .venv/.up-to-date  ## logic without any service
	$(PYTEST) tests/unit $(ARGS)

build: .venv/.up-to-date  ## the tarball, installed into an empty path
	$(PYTEST) tests/build $(ARGS)

integration: .venv/.up-to-date system programs  ## against real programs: API server, Thanos, Prometheus
	$(PYTEST) tests/integration $(ARGS)

end_to_end: .venv/.up-to-date system  ## against the whole lab
	$(PYTEST) tests/end_to_end $(ARGS)

osism: .venv/.up-to-date system programs  ## the OSISM sidecar on a test host with real Docker and Prometheus
	$(PYTEST) tests/osism $(ARGS)

molecule: .venv/.up-to-date system  ## the scenarios below molecule/
	MOLECULE_GLOB='molecule/*/molecule.yml' molecule test --all

format: .venv/.up-to-date  ## let ruff put the Python code in order
	ruff check --quiet --fix . || true
	ruff format --quiet .

changelog: .venv/.up-to-date  ## take new fragments, plugins and roles into the changelog of galaxy.yml's version
	antsibull-changelog release --update-existing --reload-plugins

preflight:
	@tools/preflight

system:  ## the Debian packages that the lab and the tests need
	@tools/setup-system

venv: .venv/.up-to-date  ## the Python environment of uv.lock

.venv/.up-to-date: pyproject.toml uv.lock tools/setup-python
	@tools/setup-python

clean:  ## remove what was made in this folder
	rm -rf .venv .cache .ansible .pytest_cache .ruff_cache *.tar.gz tests/output
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

clean-cache:  ## remove the cache: built programs, Go's modules, lab images
	chmod -R u+w $(SCS_OBSERVER_CACHE) 2>/dev/null || true
	rm -rf $(SCS_OBSERVER_CACHE)

.PHONY: help demo demo-down test programs lint sanity unit build integration end_to_end osism molecule format changelog preflight system venv clean clean-cache
