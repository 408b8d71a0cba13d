# make book   the executed book in _build/html
# make test   the tests
# Both set up .venv from requirements.lock first; only python3 and make are needed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# TORCH_INDEX=<address of PyTorch's index of CPU wheels> takes the small CPU build: the same
# versions without the CUDA libraries.
CUDA_ONLY := ^(nvidia-(?!ml-py)|cuda-|triton)
ifdef TORCH_INDEX
LOCK := $(VENV)/cpu.lock
INDEX := --extra-index-url $(TORCH_INDEX)
else
LOCK := requirements.lock
INDEX :=
endif

.PHONY: book test notebooks lab lock clean
.DELETE_ON_ERROR:

book: $(READY)
	$(BIN)/jupyter-book build . --all -W --keep-going
	@echo "open file://$(CURDIR)/_build/html/index.html"

# The tests' tensors are small: a second thread makes them wait more than it helps.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest

# The .ipynb twins of the chapters, which a test holds equal to what this writes.
notebooks: $(READY)
	$(BIN)/python book/_ext/notebooks.py

lab: $(READY)
	$(BIN)/jupyter lab book

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "GeoBasin needs Python 3.11 or newer; name one: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
ifdef TORCH_INDEX
	grep -vP '$(CUDA_ONLY)' requirements.lock > $(LOCK)
endif
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps $(INDEX) -r $(LOCK)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

# The picture of the README, which a test holds equal to what the code draws.
book/_static/staircase.svg: geobasin/figures/cantor.py geobasin/figures/style.py
	$(BIN)/python -c 'from pathlib import Path; from geobasin.figures.cantor import soft_staircase; soft_staircase(tau=0.05).save(Path("$@"))'

# New versions of everything, from an environment of their own.
lock:
	rm -rf $(VENV)-lock
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet --upgrade '.[test]'
	$(VENV)-lock/bin/python -m pip freeze --exclude geobasin \
	  | perl -pe 's/$$/ ; sys_platform == "linux"/ if /$(CUDA_ONLY)/' > requirements.lock
	rm -rf $(VENV)-lock

clean:
	rm -rf _build
