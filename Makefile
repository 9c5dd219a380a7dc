# Every target sets the machine up first (virtual environment, packages, ffmpeg, MongoDB); if nothing has changed, that
# takes a fraction of a second.

VENV := .venv/bin
PYTEST := $(VENV)/python -m pytest -q

# If set, each of the many processes would compile the whole project again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup full-setup qwen demo demo-cluster demo-qwen check test soak screenshots lint format bench docs licenses release-setup dist sbom audit clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Set up the virtual environment, packages, ffmpeg and MongoDB
	@python=$$(sh scripts/python.sh) && "$$python" scripts/install.py

# with torch and transformers, which take minutes and gigabytes
full-setup:
	@python=$$(sh scripts/python.sh) && "$$python" scripts/install.py qwen-tests

qwen: ## Install the packages of Backend = qwen: torch, transformers and more, about 6 GB
	@python=$$(sh scripts/python.sh) && "$$python" scripts/install.py qwen
	@echo "Next: set Backend = qwen and Model or ModelDir in [QwenVL] of config.ini. For the weights, see docs/model.md."

demo: setup ## Process a few sample clips through all stages and show the results
	@$(VENV)/python scripts/demo.py

demo-cluster: setup ## Share the sample clips between two workers: Redis, PostgreSQL, a replica set, all on this machine
	@$(VENV)/python scripts/demo_cluster.py

demo-qwen: full-setup ## Describe simple clips with the tiny Qwen2-VL of the tests
	@$(VENV)/python scripts/demo_qwen.py

check: lint ## Lint, types, and the tests that need neither servers nor torch (2 minutes)
	@$(PYTEST) -n 2 -m "not server and not torch and not soak" $(TESTS)
	@echo "Next: make test runs all tests."

test: full-setup ## Run all tests
	@$(PYTEST) -n 4 $(TESTS)
	@echo "Next: make demo shows vidpipe at work; make lint checks style and types."

soak: full-setup ## Run the long tests: thousands of videos through the sensors, repeated kills
	@VIDPIPE_TEST_REQUIRE_MODELS=1 $(VENV)/python -m pytest -q -s -m soak $(TESTS)

screenshots: setup ## Take the screenshots of the README with a headless Chromium
	@$(VENV)/python -m pip install -q -c constraints.txt -e '.[screenshots]'
	@$(VENV)/python scripts/screenshots.py

lint: setup ## Check style, types and the layers of packages
	$(VENV)/ruff check
	$(VENV)/ruff format --check
	$(VENV)/lint-imports --no-logo
	$(VENV)/mypy

format: setup ## Format the code
	$(VENV)/ruff check --fix
	$(VENV)/ruff format

bench: full-setup ## Run the benchmarks; see docs/benchmarks.md
	$(VENV)/python -m benchmarks.scenes
	$(VENV)/python -m benchmarks.analyses
	$(VENV)/python -m benchmarks.analyses --against b7845c3
	$(VENV)/python -m benchmarks.throughput
	$(VENV)/python -m benchmarks.orchestration
	$(VENV)/python -m benchmarks.memory
	$(VENV)/python -m benchmarks.clip_cutting
	$(VENV)/python -m benchmarks.retag
	$(VENV)/python -m benchmarks.growth
	$(VENV)/python -m benchmarks.cluster
	$(VENV)/python -m benchmarks.partitions 10000 100000
	$(VENV)/python -m benchmarks.search
	$(VENV)/python -m benchmarks.library_page
	$(VENV)/python -m benchmarks.sensor_tick
	$(VENV)/python -m benchmarks.ingest
	$(VENV)/python -m benchmarks.downloads
	$(VENV)/python -m benchmarks.line_to_tags
	$(VENV)/python -m benchmarks.qwen

licenses: full-setup ## Write docs/licenses.md from what the installed packages declare
	@$(VENV)/python scripts/licenses.py

# with what builds, checks and audits releases
release-setup:
	@python=$$(sh scripts/python.sh) && "$$python" scripts/install.py release

dist: release-setup ## Build sdist and wheel into dist/, and check them
	@rm -rf dist
	@$(VENV)/python -m build --no-isolation --outdir dist .
	@$(VENV)/python -m twine check --strict dist/*
	@$(VENV)/python scripts/check_dist.py

sbom: dist ## Write dist/vidpipe-VERSION.cdx.json, the packages of a base installation
	@$(VENV)/python scripts/sbom.py

audit: release-setup ## Check the pinned versions for known vulnerabilities; needs PyPI
	@$(VENV)/python scripts/audit.py
docs: setup ## Build the documentation as a site, in site/
	@NO_MKDOCS_2_WARNING=1 $(VENV)/mkdocs build --quiet --strict
	@echo "Built $$(find site -name '*.html' | wc -l) pages in site/. To read and search them: $(VENV)/python -m http.server -d site"

clean: ## Remove builds and caches; data/ and settings are kept
	rm -rf .venv build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .coverage
	rm -rf benchmarks/out
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
