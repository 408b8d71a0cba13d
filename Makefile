# make book   the executed book in _build/html
# make pdf    the same as _build/latex/geobasin.pdf, where a TeX is installed
# make test   the tests
# make benchmark   what is timed in benchmarks/
# All set up .venv from requirements.lock first; only python3 and make are needed.

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

.PHONY: book pdf tex test faults benchmark headline notebooks lab lock clean
.DELETE_ON_ERROR:

book: $(READY)
	$(BIN)/jupyter-book build . --all -W --keep-going
	@echo "open file://$(CURDIR)/_build/html/index.html"

# The builder forgets that TeX has failed, hence the look for the file.
pdf: tex $(READY)
	rm -f _build/latex/geobasin.pdf
	$(BIN)/jupyter-book build . --all -W --keep-going --builder pdflatex
	@test -f _build/latex/geobasin.pdf
	@echo "open file://$(CURDIR)/_build/latex/geobasin.pdf"

tex:
	@for program in latexmk xelatex xindy; do \
	  command -v $$program >/dev/null || { \
	    echo "error: make pdf needs $$program, which is not installed; on Debian: apt-get install latexmk texlive-xetex texlive-latex-extra texlive-fonts-recommended tex-gyre fonts-freefont-otf xindy" >&2; \
	    exit 2; \
	  }; \
	done

# The tests' tensors are small: a second thread makes them wait more than it helps, a second process
# does not. A file's tests stay together, for they share what is dear to make.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

# The long fault campaign, about ten minutes; it writes and seals the table that the book shows. The
# test that compares the two comes with the next "make test".
faults: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/faults --write-faults \
	  --ignore tests/faults/test_fault_table.py

# What steps cost next to the formula written out plainly; wants a machine with nothing else to do.
# COSTS=<folder> keeps a second run beside the first.
COSTS ?= book/runs/costs
benchmark: $(READY)
	$(BIN)/python -m pytest benchmarks/bench_*.py --results $(COSTS)/results.json
	$(BIN)/python -m geobasin seal $(COSTS)
	$(BIN)/python benchmarks/table.py

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

# The table and the picture of results in the README, which a test holds equal to what the sealed runs
# say.
headline: $(READY)
	$(BIN)/python book/_ext/headline.py

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
