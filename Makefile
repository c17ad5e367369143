# wfpd: everything starts here.  A fresh Debian 12 needs `apt-get install -y make git python3` and nothing else.

PYTHON ?= /usr/bin/python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
WFPD_BUILD ?= release
export WFPD_BUILD
# Reloads under traffic.
RELOADS ?= 10000
# Tests that run at once.  Those of tests/integration run alone: some put load on the machine, under which others time out.
JOBS ?= 2
# Fresh mutations of each fuzz target, under the sanitizers.
FUZZ_RUNS ?= 5000
# Of one file one after the other: what a module makes for its tests is made once.
AT_ONCE := python -m pytest -n $(JOBS) --dist loadfile --ignore=tests/integration
# What else is run in the debug build: all that enters the compiled modules in its own process.
DEBUG_LIVE := tests/integration/dataplane tests/integration/test_loop.py
# Stubs of compiled modules, compared with the modules as they were built.  A stub has the doors that are used, no more.
STUBS := $(subst /,.,$(basename $(wildcard wfpd/*/_*.pyi)))

.PHONY: build test test-release test-debug fuzz coverage run lint man soak bench bench-suricata clean packages-run packages-test python

build: packages-run $(STAMP)
	@$(BIN)/python setup.py -q build_ext --inplace

# Every fuzz corpus and fresh runs under the sanitizers, the accounts of the debug build, then the whole suite.
test: fuzz test-debug test-release

test-release: packages-test build
	$(BIN)/$(AT_ONCE)
	$(BIN)/python -m pytest tests/integration

test-debug: packages-test build
	.ci/in_mode debug $(AT_ONCE) -q
	.ci/in_mode debug python -m pytest -q $(DEBUG_LIVE)

fuzz: packages-test build
	.ci/in_mode sanitize python tests/fuzz/replay.py --count $(FUZZ_RUNS)

# The lab says itself what is installed, why, and how long each step took.
run: python
	@bash wfpd/lab/run.sh

# Lines of .py and .pyx that the tests reach; the trace build is slow, so what runs for long is left out.
coverage: packages-test build
	.ci/in_mode trace python -m coverage run -m pytest -q tests/unit tests/property tests/integration/dataplane
	cd build/in_mode/trace && $(CURDIR)/$(BIN)/python -m coverage report --skip-covered

lint: build
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/stubtest --concise --ignore-missing-stub --ignore-disjoint-bases --allowlist tests/contracts/stubs_allowed.txt $(STUBS)
	$(BIN)/lint-imports

# The manual pages, from the same parser as --help; a test fails where they are older than it.
man: build
	$(BIN)/python -m wfpd.cli.manual docs/man

soak: packages-test build
	WFPD_SOAK_RELOADS=$(RELOADS) $(BIN)/python -m pytest -s -m soak

bench: packages-test build
	PYTHONPATH=. $(BIN)/python -m bench

# Suricata 7 drains the same queue; where it cannot be had, that is said and the target fails.
bench-suricata: packages-test build
	PYTHONPATH=. $(BIN)/python -m bench.bench_suricata

clean:
	rm -rf build dist $(VENV) *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
	find wfpd ext tests -name __pycache__ -prune -exec rm -rf {} +
	find wfpd -name '*.so' -delete
	find ext -name '*.c' -delete

# A python3 found by PATH may be another version's shim: Debian's own is named in full and checked.
python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || { \
	  echo "wrong Python: wfpd is built and tested with Debian 12's Python 3.11, and $(PYTHON) is" \
	       "$$($(PYTHON) --version 2>&1 | head -n 1)." >&2; \
	  echo "  hint: apt-get install -y python3, or make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 2; }

packages-run: python
	@.ci/packages run

packages-test: python
	@.ci/packages run test

$(STAMP): pyproject.toml | packages-run
	@echo "build: .venv, its packages and the first compilation: some minutes"
	@$(PYTHON) -m venv $(VENV)
	@log=$$(mktemp); { $(BIN)/python -m pip install -q --upgrade pip "setuptools>=77" "cython>=3.1" wheel && \
	  $(BIN)/python -m pip install -q --no-build-isolation -e '.[dev]'; } >$$log 2>&1 || { cat $$log >&2; rm -f $$log; exit 1; }; \
	  rm -f $$log
	@touch $(STAMP)
