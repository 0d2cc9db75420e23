# make figures | make test | make lab; the README says more.
PYTHON ?= python3
BACKBONE ?= auto
NOTEBOOKS := visualize_channels_CNN lucid_iv3 gradcam_plus RCVs_analysis
RESULTS := interpretability_results

VENV := .venv
RUN := $(VENV)/bin/python
# The environment's own kernel, whatever kernels the user has installed elsewhere.
export JUPYTER_PATH := $(CURDIR)/$(VENV)/share/jupyter
export PYTHONPATH := $(CURDIR)
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.PHONY: figures finetune test lab clean

figures: $(VENV)/installed
	@started=$$SECONDS; \
	backbone=$$($(RUN) -m utils.finetune --backbone $(BACKBONE)); \
	mkdir -p $(RESULTS)/notebooks/$$backbone; \
	touch $(VENV)/figures-started; \
	for name in $(NOTEBOOKS); do \
		begun=$$SECONDS; \
		echo "== $$name.ipynb, $$backbone"; \
		$(RUN) -m papermill $$name.ipynb $(RESULTS)/notebooks/$$backbone/$$name.ipynb \
			-p BACKBONE $$backbone --no-log-output; \
		echo "   done in $$((SECONDS - begun)) s"; \
	done; \
	echo; echo "Figures and tables of this run:"; \
	find $(RESULTS) -newer $(VENV)/figures-started -type f | sort; \
	echo "$$(find $(RESULTS) -newer $(VENV)/figures-started -type f | wc -l) files" \
		"in $(RESULTS)/, $$((SECONDS - started)) s"

finetune: $(VENV)/installed
	@$(RUN) -m utils.finetune --backbone $(BACKBONE)

test: $(VENV)/installed-dev
	$(RUN) -m pytest

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
