# make figures | make study | make test | make verify | make gallery | make lab; see the README.
PYTHON ?= python3
BACKBONE ?= auto
RESULTS ?= interpretability_results
REPLICATION ?=
FORCE ?=

VENV := .venv
RUN := $(VENV)/bin/python
# The environment's own kernel, whatever kernels the user has installed elsewhere.
export JUPYTER_PATH := $(CURDIR)/$(VENV)/share/jupyter
export PYTHONPATH := $(CURDIR)
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.PHONY: figures study gallery verify finetune test lab clean

# One finetuned network per backbone, or 3 folds by 3 seeds.
figures: finetunings = one
study: finetunings = study
study: counts = --folds 3 --seeds 3

figures study: $(VENV)/installed
	@backbone=$$($(RUN) -m utils.networks finetune --backbone $(BACKBONE) $(counts)); \
	$(RUN) -m utils.results execute --results $(RESULTS) --backbone $$backbone \
		--finetunings $(finetunings) $(if $(FORCE),--force) \
		$(if $(REPLICATION),--replication $(REPLICATION))
	@$(RUN) -m utils.results pages --results $(RESULTS)

gallery: $(VENV)/installed
	@$(RUN) -m utils.results pages --results $(RESULTS)

verify: $(VENV)/installed
	@$(RUN) -m utils.results verify --results $(RESULTS)

finetune: $(VENV)/installed
	@$(RUN) -m utils.networks finetune --backbone $(BACKBONE)

test: $(VENV)/installed-dev
	$(RUN) -m pytest -n auto --maxprocesses 4 --dist worksteal

lab: $(VENV)/installed
	$(RUN) -m jupyter lab

$(VENV)/installed: requirements.txt constraints.txt
	@echo "Installing into $(VENV) (about 2 minutes, 3 GB)"
	@$(RUN) -m pip --version > /dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@$(RUN) -m ipykernel install --sys-prefix --display-name "Python 3 (feature reuse)" > /dev/null
	@# TensorFlow's start-up messages belong in the terminal, not in the notebooks.
	@kernel=$(VENV)/share/jupyter/kernels/python3/kernel.json; \
	sed 's/"-f",/"--IPKernelApp.capture_fd_output=False", "-f",/' $$kernel > $$kernel.new; \
	mv $$kernel.new $$kernel
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed requirements-dev.txt
	@$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

clean:
	rm -rf $(VENV)
