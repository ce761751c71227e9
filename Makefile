# LesionLens in two commands: `make demo` and `make test`. Both set everything up in .venv when that is needed.
#
# Settings, from the environment or the command line:
#   PYTHON                 the Python to build .venv with, instead of the first >= 3.11 that is found
#   WORKERS                test processes (2)
#   MINUTES, KILLS, SEED   how long `make fuzz` goes on (5), how often `make kill` kills (100), and where both begin (0)
#   PIP_EXTRA_INDEX_URL    further package index, such as PyTorch's own for CPU-only builds of torch on Linux
#   LESIONLENS_NO_APT=1    never install system libraries, only name those that are missing
# Written for GNU make 3.81 and newer (macOS ships 3.81).

VENV := .venv
READY := $(VENV)/.ready
PYTHON ?=
WORKERS ?= 2
MINUTES ?= 5
KILLS ?= 100
SEED ?= 0
# What a module makes once for its tests is made in one process. The marks of xdist for groups of tests do nothing with
# pytest 9.2, and its own order, by the number of tests, would leave the slow ones for the end.
SPREAD := -n $(WORKERS) --dist loadscope --no-loadscope-reorder

# The suite of privacy: the whole flow, readings with their messages, and objects that leave as DICOM.
PRIVACY := tests/privacy tests/ui/test_privacy.py tests/io/test_identity.py tests/test_dicom_export_identity.py

.PHONY: help setup demo test test-slow test-all privacy lint format reference docs build release sbom fuzz kill clean
.DEFAULT_GOAL := help

help:
	@echo "make demo       set up, run the sample scan through the embedded bundle, show it"
	@echo "make test       set up, run the tests that take less than 20 s each, without a screen"
	@echo "make test-slow  the tests that take longer"
	@echo "make test-all   both, in less time than one after the other"
	@echo "make privacy    search everything that is written for tokens planted in every text of a DICOM series"
	@echo "make lint       ruff, format and types (mypy --strict)"
	@echo "make format     bring the code into the project's format"
	@echo "make reference  write the pages of docs/reference that are made from the program"
	@echo "make docs       build the docs site in site/, and check its links"
	@echo "make build      wheel and source archive in dist/"
	@echo "make release    both, checked: metadata, a wheel from the source archive, an empty environment; their hashes"
	@echo "make sbom       what is installed, as CycloneDX, in dist/sbom.json"
	@echo "make fuzz       read damaged files for MINUTES (5): each has to be refused or read"
	@echo "make kill       kill sessions and batches at random moments: nothing acknowledged may be lost"
	@echo "make clean      remove the environment and everything that was built"

setup: $(READY)

$(READY): pyproject.toml constraints.txt scripts/setup.sh scripts/system_libraries.py
	@PYTHON="$(PYTHON)" sh scripts/setup.sh $(VENV)
	@touch $@

demo: $(READY)
	$(VENV)/bin/lesionlens demo --out demo-output --overwrite

test: $(READY)
	sh scripts/run_tests.sh $(SPREAD) -m "not slow"

test-slow: $(READY)
	sh scripts/run_tests.sh $(SPREAD) -m slow

# In one go: test processes start and collect once, and the slow tests, which begin, run beside the others.
test-all: $(READY)
	sh scripts/run_tests.sh $(SPREAD)

privacy: $(READY)
	sh scripts/run_tests.sh $(PRIVACY)

lint: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: $(READY)
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

reference: $(READY)
	$(VENV)/bin/python scripts/command_line_reference.py
	$(VENV)/bin/python scripts/statistics_reference.py
	$(VENV)/bin/python scripts/python_names.py

# Strict: a warning of the build ends it, and so does a link or anchor that leads nowhere.
docs: $(READY)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	$(VENV)/bin/zensical build --clean --strict
	$(VENV)/bin/python scripts/check_site.py site

build: $(READY)
	$(VENV)/bin/python -m build

release: $(READY)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[release]"
	rm -rf dist
	$(VENV)/bin/python -m build --no-isolation
	$(VENV)/bin/python -m twine check --strict dist/*
	sh scripts/run_tests.sh tests/test_packaging.py tests/test_release.py
	$(VENV)/bin/python -c "import hashlib, pathlib; [print(hashlib.sha256(p.read_bytes()).hexdigest(), p) for p in sorted(pathlib.Path('dist').iterdir())]"

sbom: $(READY)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[release]"
	mkdir -p dist
	$(VENV)/bin/cyclonedx-py environment $(VENV)/bin/python --pyproject pyproject.toml --output-reproducible \
		--output-format JSON --output-file dist/sbom.json

fuzz: $(READY)
	$(VENV)/bin/python benchmarks/mutants.py --number 1000000 --minutes $(MINUTES) --seed $(SEED)

kill: $(READY)
	$(VENV)/bin/python benchmarks/killed_sessions.py --kills $(KILLS) --seed $(SEED)
	$(VENV)/bin/python benchmarks/killed_batches.py --kills $(KILLS) --seed $(SEED)

clean:
	rm -rf $(VENV) dist build site demo-output .pytest_cache .mypy_cache .ruff_cache .hypothesis
