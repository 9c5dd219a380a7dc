# Every target sets the machine up first (virtual environment, packages, ffmpeg, MongoDB); where nothing changed since
# the last time that takes a fraction of a second.

VENV := .venv/bin

# Where it is set, each of the many processes would compile the whole project anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup full-setup qwen demo demo-qwen test soak screenshots lint format bench clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Virtual environment, packages, ffmpeg, MongoDB
	@python=$$(sh scripts/python.sh) && "$$python" scripts/install.py

# with torch and transformers, which take minutes and gigabytes: only where they are needed
full-setup:
	@python=$$(sh scripts/python.sh) && "$$python" scripts/install.py qwen-tests

qwen: ## Install what Backend = qwen needs: torch, transformers and more, about 6 GB
	@python=$$(sh scripts/python.sh) && "$$python" scripts/install.py qwen
	@echo "Next: Backend = qwen and Model or ModelDir in [QwenVL] of config.ini; docs/model.md tells how to get weights."

demo: setup ## Take a handful of clips through all stages and show what came out
	@$(VENV)/python scripts/demo.py

demo-qwen: full-setup ## Describe simple clips with the tiny Qwen2-VL of the tests
	@$(VENV)/python scripts/demo_qwen.py

test: full-setup ## Run the tests
	@$(VENV)/python -m pytest -q -n 3 --dist loadfile --no-loadscope-reorder $(TESTS)
	@echo "Next: make demo shows it at work; make lint checks style and types."

soak: full-setup ## Run what takes long: thousands of videos through the sensors, twenty kills
	@$(VENV)/python -m pytest -q -s -m soak $(TESTS)

screenshots: setup ## Pictures of Dagster's page for the README, by a headless Chromium
	@$(VENV)/python -m pip install -q -c constraints.txt -e '.[screenshots]'
	@$(VENV)/python scripts/screenshots.py

lint: full-setup ## Check style and types
	$(VENV)/ruff check
	$(VENV)/ruff format --check
	$(VENV)/mypy

format: setup ## Put the code into the project's format
	$(VENV)/ruff check --fix
	$(VENV)/ruff format

bench: full-setup ## Measure against the limits and peers in benchmarks/
	$(VENV)/python -m benchmarks.scenes
	$(VENV)/python -m benchmarks.orchestration
	$(VENV)/python -m benchmarks.memory
	$(VENV)/python -m benchmarks.sweep
	$(VENV)/python -m benchmarks.growth
	$(VENV)/python -m benchmarks.sensor_tick
	$(VENV)/python -m benchmarks.ingest
	$(VENV)/python -m benchmarks.qwen

clean: ## Remove what was built and cached; data/ and settings stay
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .coverage benchmarks/out
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
