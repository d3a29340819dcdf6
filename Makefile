# Everything a developer or an operator does with a clone. `make` alone lists it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --quiet --disable-pip-version-check

# What pins and audits the dependencies lives apart from them.
TOOLS := .venv-tools
PIN := $(TOOLS)/bin/uv --quiet pip compile --universal --python-version 3.11 --generate-hashes \
	--no-header --upgrade
EXTRAS := --extra memcached --extra postgres --extra geoip --extra build

# Which load suite `make load` runs, and on what: `default` is SQLite, `production` PostgreSQL.
SUITE ?= targets
SETUP ?= default

# What the tests need from the system: a command and, after the colon, its Debian package.
# The PostgreSQL server is found where Debian puts it as well, which is not in PATH.
SYSTEM := memcached:memcached zbarimg:zbar-tools curl:curl gs:ghostscript initdb:postgresql openssl:openssl pngcheck:pngcheck
export PATH := $(PATH):/usr/sbin:$(or $(lastword $(sort $(wildcard /usr/lib/postgresql/*/bin))),/usr/bin)

.DEFAULT_GOAL := help
.PHONY: help run test lint format load bench bench-drawing bench-shares bench-analytics bench-cache \
	bench-paths bench-peers bench-growth bench-failures lock audit clean system

help: ## list what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1	/' | expand -t 24
	@echo "PYTHON=python3.12 chooses the interpreter (3.11 or later) of the environment in $(VENV)."

run: $(VENV)/.installed ## install, set up an empty data folder, and serve
	@$(BIN)/quietzone init
	@$(BIN)/quietzone serve

test: $(VENV)/.installed-dev system lint ## run every check and test, and the load suites
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal
	$(BIN)/python -m loadtests.suites smoke --setup production
	$(BIN)/python -m loadtests.suites targets

lint: $(VENV)/.installed-dev ## check style, types and who imports whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(VENV)/.installed-dev ## put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

load: $(VENV)/.installed-dev ## run a load suite: SUITE=smoke, targets, spike or soak; SETUP=production
	$(BIN)/python -m loadtests.suites $(SUITE) --setup $(SETUP) --report reports/$(SUITE)-$(SETUP)

bench: $(VENV)/.installed-dev ## run every benchmark that has a target (over an hour)
	$(BIN)/python -m loadtests.bench

bench-drawing: $(VENV)/.installed-dev ## time the drawing of codes beside other programs
	$(BIN)/python -m loadtests.drawing

bench-paths: $(VENV)/.installed-dev ## time what the hot paths cost inside of a worker
	$(BIN)/python -m loadtests.paths

bench-peers: $(VENV)/.installed-dev ## time requests beside bare Falcon, nginx, segno and qrcode
	$(BIN)/python -m loadtests.peers

bench-growth: $(VENV)/.installed-dev ## measure what grows with codes, scans, connections and sizes
	$(BIN)/python -m loadtests.growth --charts docs

bench-shares: $(VENV)/.installed-dev ## time redirects and images beside a bare Falcon
	$(BIN)/python -m loadtests.shares

bench-analytics: $(VENV)/.installed-dev ## time statistics over 10,000,000 scans
	$(BIN)/python -m loadtests.analytics

bench-cache: $(VENV)/.installed-dev ## count what the cache finds, under attack and without memcached
	$(BIN)/python -m loadtests.hits

bench-failures: $(VENV)/.installed-dev ## attack, reload, cut off and kill the service; half an hour
	$(BIN)/python -m loadtests.failures

lock: $(TOOLS)/.made ## pin all dependencies anew, with their hashes
	@$(PIN) setup.cfg $(EXTRAS) --output-file requirements.txt
	@$(PIN) setup.cfg $(EXTRAS) --extra dev --constraint requirements.txt \
		--output-file requirements-dev.txt
	@printf 'uv\npip-audit\n' | $(PIN) - --output-file requirements-tools.txt

audit: $(TOOLS)/.made ## look the pinned dependencies up among known vulnerabilities
	@$(TOOLS)/bin/pip-audit --strict --require-hashes --disable-pip --requirement requirements-dev.txt

clean: ## remove the environment and what the tools left; the data in var/ stays
	rm -rf $(VENV) $(TOOLS) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	rm -rf .import_linter_cache .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.installed: setup.cfg pyproject.toml requirements.txt | $(VENV)/.made
	@echo "Installing Quietzone into $(VENV)"
	@$(PIP) install --require-hashes --requirement requirements.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.installed-dev: setup.cfg pyproject.toml requirements-dev.txt | $(VENV)/.made
	@echo "Installing Quietzone and its development tools into $(VENV)"
	@$(PIP) install --require-hashes --requirement requirements-dev.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@ $(VENV)/.installed

$(TOOLS)/.made: requirements-tools.txt
	@$(PYTHON) -m venv --clear $(TOOLS)
	@$(TOOLS)/bin/python -m pip --quiet --disable-pip-version-check install --require-hashes \
		--requirement requirements-tools.txt
	@touch $@

# AS_ROOT becomes empty for root, `sudo -n` where that works without a password, else false.
AS_ROOT = as_root=$$([ "$$(id -u)" = 0 ] || { sudo -n true 2>/dev/null && echo "sudo -n"; } \
	|| echo false)
APT = $$as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Quietzone needs Python 3.11 or later, and $(PYTHON) is not that;" \
			"name another one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV) >/dev/null 2>&1 || { \
		$(AS_ROOT); \
		package=$$($(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'); \
		echo "$(PYTHON) cannot make environments yet; installing $$package"; \
		{ $(APT) update && $(APT) install --yes $$package >/dev/null \
			&& $(PYTHON) -m venv --clear $(VENV); } || { \
			echo "$(PYTHON) -m venv does not work; install it (Debian and Ubuntu: as root," \
				"apt install $$package), then run make again" >&2; exit 1; }; }
	@touch $@

# A drop-in keeps Debian from starting a PostgreSQL server: the tests start one of their own.
system:
	@missing=; for pair in $(SYSTEM); do \
		command -v $${pair%%:*} >/dev/null || missing="$$missing $${pair##*:}"; done; \
	[ -z "$$missing" ] && exit 0; \
	$(AS_ROOT); \
	echo "Installing for the tests:$$missing"; \
	case "$$missing" in *postgresql*) \
		$$as_root mkdir -p /etc/postgresql-common/createcluster.d && \
		echo "create_main_cluster = false" | \
			$$as_root tee /etc/postgresql-common/createcluster.d/quietzone.conf >/dev/null ;; \
	esac; \
	{ $(APT) update && $(APT) install --yes --no-install-recommends $$missing >/dev/null; } || { \
		echo "The tests need$$missing; install them (Debian and Ubuntu: as root," \
			"apt install$$missing), then run make again" >&2; exit 1; }
