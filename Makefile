# `make` alone lists the targets. Only relative paths here: $(CURDIR) breaks on a space.
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo setup test test-faults test-scale fault-page fuzz lint format bench gpu-check experiments carry wheel lock audit clean clean-all

# Stage commands say `python -m …`, so the venv comes first in PATH.
IN_VENV := PATH="$$(pwd)/.venv/bin:$$PATH"

help: ## List the targets.
	@awk -F ': .*## ' '/^[a-z-]+: .*## / { printf "make %-11s %s\n", $$1, $$2 }' Makefile

demo: ## Set up if needed, run the whole pipeline on the embedded data, show labels and metrics.
	@echo "Demo: 4 to 5 minutes on 2 cores after the set-up, and 1 GB of disk; seconds when nothing" \
		"changed. Pictures 20 s, their files 10, features 10, three networks 75, 35 and 25, their" \
		"scores 10 each, changed pictures 25, stack 15 to 40, figures and report 20."
	@sh setup.sh
	@touch .venv/.demo-start
	$(IN_VENV) dvc repro
	@[ -n "$$(find artifacts -type f -newer .venv/.demo-start ! -name inputs.json)" ] || \
		echo "Nothing to do: every result was there and up to date."
	@$(IN_VENV) python -m stage2_ensemble.summary

setup: ## Make .venv with the locked dependencies and the package.
	@sh setup.sh

test: ## Set up if needed and run all tests.
	@sh setup.sh
	$(IN_VENV) python -m pytest -n 2 --dist loadfile --no-loadscope-reorder \
		--durations=20

test-faults: ## Kill, fill up and damage every stage, again and again (20 minutes).
	@sh setup.sh
	$(IN_VENV) python -m pytest -m faults -n 2 --durations=20

test-scale: ## Whole pipelines again; clones, machines, experiments (15 minutes).
	@sh setup.sh
	$(IN_VENV) python -m pytest -m scale -n 2 --durations=20

fault-page: ## Write docs/faults.md from the marks of the tests.
	@sh setup.sh
	$(IN_VENV) python -m tests.fault_page

FUZZ_COUNT = 10000

fuzz: ## Spoil 10,000 pictures of each format, label files and shards, and read them (FUZZ_COUNT=n).
	@sh setup.sh
	FORGERYSTACK_FUZZ=$(FUZZ_COUNT) $(IN_VENV) python -m pytest -q -s \
		tests/features/pixels/test_fuzz_images.py tests/features/lists/test_fuzz_lists.py

lint: ## Check with ruff (lint, format) and mypy.
	@sh setup.sh
	$(IN_VENV) ruff check .
	$(IN_VENV) ruff format --check .
	$(IN_VENV) mypy

format: ## Let ruff mend and format the code.
	@sh setup.sh
	$(IN_VENV) ruff check --fix .
	$(IN_VENV) ruff format .

bench: ## Run every benchmark in its quick form.
	@sh setup.sh
	@$(IN_VENV); export PATH; found=no; \
	for file in benchmarks/[a-z]*.py; do \
		[ -e "$$file" ] || continue; \
		found=yes; name=$$(basename "$$file" .py); \
		echo "python -m benchmarks.$$name --quick"; \
		python -m "benchmarks.$$name" --quick || exit 1; \
	done; \
	[ $$found = yes ] || echo "There is no benchmark in benchmarks/ yet."

gpu-check: ## Check on a GPU that all is right there, and how fast.
	@sh setup.sh
	@$(IN_VENV) python -m benchmarks.gpu_check

# DVC shows a column for each of some 400 metrics; here are what ships, the mean, and settings.
SETTINGS := seed|data|split|folds|images|sampling|loss|optimizer|schedule|ema|augment|network|backbones|dump|outside|stack|gate|decision|label|perturb|report
SHOWN := Experiment|val\.(stack|mean)\.auc
DROPPED := ^(?!($(SHOWN))$$|($(SETTINGS))(\.|$$))

experiments: ## List the experiments since the last commit: AUC on val, and settings that differ.
	@$(IN_VENV) dvc exp show --only-changed --md --drop '$(DROPPED)'

CARRIED := $(if $(findstring command,$(origin OUT)),--pack "$$OUT") \
	$(if $(findstring command,$(origin IN)),--unpack "$$IN") \
	$(if $(filter 1,$(REPLACE)),--replace)

carry: ## OUT=file packs what the next session needs; IN=file unpacks it there (REPLACE=1: over others).
	@[ -n '$(strip $(CARRIED))' ] || { echo "Say which file:" \
		"make carry OUT=carry.tar packs what the next session needs (.resume, artifacts, data/demo," \
		"params.yaml, dvc.lock and what that names of DVC's cache; never decoded images or other" \
		"data), make carry IN=carry.tar unpacks it in a fresh clone, REPLACE=1 over other files." \
		>&2; exit 2; }
	@sh setup.sh
	@$(IN_VENV) python -m features.carry $(CARRIED)

wheel: ## Pack the program into dist/, for pip on machines that only label.
	@sh setup.sh
	@rm -rf build
	@$(IN_VENV) python -m pip wheel --quiet --no-deps --no-build-isolation --no-index -w dist .
	@rm -rf build
	@ls dist/*.whl

lock: ## Make requirements.lock again, with the newest versions that pyproject.toml admits.
	@sh setup.sh
	$(IN_VENV) uv pip compile --quiet --upgrade --generate-hashes --universal --python-version 3.11 \
		--extra dask --extra dev --extra faces --extra provenance --extra serve --extra train --extra video \
		--custom-compile-command "make lock" --output-file requirements.lock pyproject.toml

audit: ## List licences and known vulnerabilities of the locked packages.
	@sh setup.sh
	@sh audit.sh

clean: ## Remove artifacts, the demo's data, the image store and caches; keep .venv and .resume.
	rm -rf artifacts data/demo .store build dist *.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name .venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "Kept: .venv, .resume (stopped trainings), .dvc/cache ('dvc repro' restores from it)."

clean-all: clean ## Remove .venv, .resume, .seconds and DVC's cache as well.
	rm -rf .venv .resume .seconds .dvc/cache .dvc/tmp
