# make demo | test | test-fast | test-long | test-guests | test-matrix | check | lint | lock | bench | clean      (README.md says what each does)
PYTHON ?= python3
FEED ?=
SYMBOLS ?=
VENV := .venv/bin
# All tests of a file in one process: what its fixtures build is built once.
PARALLEL := -n auto --dist loadfile --no-loadscope-reorder
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo)
export PYTHON
# Ansible and ansible-lint refuse to start with an encoding other than UTF-8.
export LC_ALL := C.UTF-8
export PATH := $(CURDIR)/$(VENV):$(PATH)

.PHONY: demo test test-here test-fast test-long test-guests test-matrix check lint lock bench clean setup-host setup-dev setup-vm setup-bench

demo: setup-vm
	$(VENV)/python tools/demo.py $(if $(FEED),--feed '$(FEED)') $(if $(SYMBOLS),--symbols '$(SYMBOLS)')

# The guest is emulated and does one thing after the other: it leaves most of one CPU to the tests beside it.
test: setup-vm
	$(MAKE) --no-print-directory -j 2 guest-default-bookworm-stock test-here

test-here:
	$(VENV)/pytest tests/unit -m 'not long' $(PARALLEL)
	$(AS_ROOT) $(CURDIR)/$(VENV)/pytest tests/live
	$(VENV)/pytest tests/vm

test-guests: setup-vm
	$(MAKE) --no-print-directory -j 2 guest-default-bookworm-stock guest-short-trixie-rt

guest-%:
	tools/molecule-test $(subst -, ,$*)

# The whole scenario on each guest that testhost builds; a failure does not keep the others from running.
test-matrix: setup-vm
	@failed=; for guest in 'bookworm stock' 'bookworm rt' 'trixie stock' 'trixie rt'; do \
		tools/molecule-test default $$guest || failed="$$failed ($$guest)"; \
	done; test -z "$$failed" || { echo "failed:$$failed" >&2; exit 1; }

test-fast: setup-dev
	$(VENV)/pytest tests/unit -m 'not vm and not live and not long' $(PARALLEL)

test-long: setup-dev
	HYPOTHESIS_RANDOM=1 $(VENV)/pytest tests/unit/agent -m 'not long' $(PARALLEL)
	EXAMPLES_TIMES=20 $(VENV)/pytest $$(grep -rl 'tests.examples' tests/unit) $(PARALLEL)
	$(VENV)/pytest tests/unit tests/long -m long

check: setup-host
	@$(VENV)/hosttune check --profile trading; status=$$?; test $$status -ne 2

lint: setup-dev
	$(VENV)/python tools/lock.py --check
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	$(VENV)/mypy
	$(VENV)/cython-lint agent desk hosttune benchmarks tests
	$(VENV)/yamllint --strict .
	$(VENV)/ansible-lint --offline --profile production

lock: setup-dev
	$(VENV)/python -m pip install --quiet --group lock
	$(VENV)/python tools/lock.py

bench: setup-bench
	$(VENV)/python -m benchmarks.agent --out build/bench
	$(VENV)/python -m benchmarks.hosttune.check_startup
	$(VENV)/python -m benchmarks.desk.sync
	$(VENV)/python -m benchmarks.desk.effect
	$(VENV)/python -m benchmarks.desk.profile

setup-host:
	@tools/setup host
setup-dev:
	@tools/setup dev
setup-vm:
	@tools/setup vm
setup-bench:
	@tools/setup bench

clean:
	$(if $(wildcard .venv/bin/python),-$(VENV)/python -m testhost stop --all)
	rm -rf .venv .cache build dist
