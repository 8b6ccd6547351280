# make help lists the targets. VENV= or PYTHON= use an existing environment instead of .venv.
VENV ?= .venv
PYTHON ?= $(VENV)/bin/python
CORES ?= $(shell nproc)
# Heavy steps (training, inference) at a time; each uses `threads` of the profile, one by default.
HEAVY ?= $(CORES)
RUN ?= $(PROFILE)
PROFILE ?= atlas
LANGS ?=
SET ?=
STAMP = $(VENV)/.installed
SNAKE = $(PYTHON) -m snakemake --cores $(CORES) --resources heavy=$(HEAVY) --nolock --rerun-incomplete --quiet rules \
	--config profile=$(PROFILE) run=$(RUN) langs="$(LANGS)" set="$(SET)"
export OMP_NUM_THREADS ?= 1

.PHONY: help book test lab smoke run plan publish bench lint clean atlas-base install
help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# A given PYTHON is used as it is; otherwise .venv is made and filled once, and again when the pins change.
ifeq ($(PYTHON),$(VENV)/bin/python)
install: $(STAMP)
$(STAMP): pyproject.toml
	test -x $(VENV)/bin/python || python3 -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet -e ".[dev]"
	touch $(STAMP)
else
install:
endif

book: install  ## run the whole method in the Atlas and render the book
	$(SNAKE)
	$(PYTHON) -m xinstruct_utils.book $(RUN)

test: install  ## run the tests
	$(PYTHON) -m pytest

lab: install  ## JupyterLab on the notebooks
	$(PYTHON) -m ipykernel install --sys-prefix --name python3 >/dev/null
	$(PYTHON) -m jupyter lab --notebook-dir=. notebooks/01_seed_data.ipynb

smoke: install  ## the whole pipeline, one language, smallest sizes
	$(MAKE) --no-print-directory run PROFILE=smoke RUN=smoke PYTHON=$(PYTHON)

run: install  ## a batch: PROFILE= RUN= LANGS= SET="key=value ..."
	$(SNAKE)

plan: install  ## what `make run` would do, with the same variables
	$(SNAKE) --dry-run

publish: install  ## refresh the committed executed notebooks: RUN=
	$(PYTHON) -m xinstruct_utils.book publish $(RUN)

bench: install  ## measure the hot paths, each beside the obvious alternative
	for script in benchmarks/*.py; do $(PYTHON) $$script; done

lint: install  ## ruff on package, tests and notebooks; notebook hygiene
	$(PYTHON) -m ruff check .
	$(PYTHON) -m pytest -q tests/test_notebooks_style.py

clean:  ## remove one run: RUN= (no run is ever removed without its name)
	@test "$(origin RUN)" = "command line" || { echo 'error: name the run to remove: make clean RUN=...' >&2; exit 2; }
	rm -rf -- "papermill_runs/$(RUN)"

atlas-base: install  ## retrain the Atlas base model (about 20 minutes on two cores)
	$(PYTHON) -m xinstruct_utils.atlas.base
