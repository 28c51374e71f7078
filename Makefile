# Two commands for a fresh machine (Debian or Ubuntu with Python 3.11, make and git): make demo, make test
#   make install GPU=1   installs the CUDA libraries for NVIDIA GPUs too

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
EXTRAS := tensorflow,cellpose,tracking,remote,serve,view,jupyter,batch$(if $(GPU),$(comma)cuda)
comma  := ,
# Not compiled, which takes a minute and a half: Python compiles what is imported, when it is, and that is the smaller part.
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt

# What Python compiles it keeps, whatever the shell says: else each of the hundreds of processes of the tests, and each job of
# a run, compiles anew all that it imports (TensorFlow: 23 s of processor time in place of 8).
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install demo figures test quick lint benchmark scores notebooks gallery colab lock release clean
.DEFAULT_GOAL := help

help:
	@echo "make demo       install, and run the demo experiment through all notebooks (5 to 15 minutes)"
	@echo "make figures    draw the README's pictures anew from the demo"
	@echo "make install    only install into $(VENV); GPU=1 adds the CUDA libraries"
	@echo "make test       install what the tests need, and run them"
	@echo "make quick      the tests that neither train nor start a kernel: three minutes"
	@echo "make lint       check style, types, and that nothing is there that only tests use"
	@echo "make benchmark  measure this suite beside its peers, in an environment of their own"
	@echo "make scores     run the experiments with truth over SEEDS=5 seeds, and write their scores into the README (many hours)"
	@echo "make notebooks  write the parameters and setup cells of the notebooks anew from their classes"
	@echo "make gallery    run the demo and write its executed notebooks, with small pictures, into gallery/"
	@echo "make release    whether the tag that the notebooks install on Colab is there"
	@echo "make colab      run every notebook as on Colab, unedited on sample data, with Python 3.11, 3.12 and 3.13 (an hour or two)"

install: $(VENV)/installed-$(if $(GPU),gpu,cpu)

# pip first: that of Python 3.11 misreads what geff asks for.  Then torch, alone: left to itself, pip would choose a newer
# one.  n2v last and without its
# dependencies: its metadata forbids the csbdeep that works here.  Then napari is told to open runs and labels by the plugin.
$(VENV)/installed-cpu $(VENV)/installed-gpu: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 is missing: sudo apt-get install python3.11 python3.11-venv"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || echo "note: tested with Python 3.11; this is $$($(PYTHON) --version)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "venv is missing: sudo apt-get install python3-venv"; exit 1; }
	@echo "installing into $(VENV): a few minutes, several GB"
	@$(PIP) "pip>=26"
	@$(PIP) torch
	@$(PIP) --editable ".[$(EXTRAS)]"
	@$(PIP) --no-deps n2v
	@$(BIN)/python -m helpers.view.napari_plugin
	@touch $@

$(VENV)/installed-test: pyproject.toml constraints.txt | install
	@$(PIP) --editable ".[test,lint]"
	@touch $@

demo: install
	@$(BIN)/python -m helpers run data_manifests/demo.yaml

figures: demo
	@$(if $(DISPLAY),,xvfb-run --auto-servernum --server-args='-screen 0 1600x1024x24') $(BIN)/python notebooks/figures/make.py runs/demo

# PYTEST="tests/data -k tiff" runs a part.  Six parts go on side by side, for those of runs mostly wait for kernels to start.
# The windows have a process of their own: TensorFlow and the software OpenGL of Mesa crash in one.  Cellpose's tests share
# a network, and so a part.  Trainings on real data take as long as any other part.
PART_1 := tests/gui
PART_2 := tests/runs tests/curation
PART_3 := tests/segmentation tests/benchmarks tests/fuzz tests/analysis tests/data
PART_4 := tests/serve tests/tracking tests/view tests/models/test_cellpose.py
PART_5 := tests/notebooks/test_real_data.py
BESIDE := 1 2 3 4 5
# Threads of PyTorch that wait for one another busily, while other processes want the cores, take four times as long.
test: export OMP_WAIT_POLICY := PASSIVE
test: $(VENV)/installed-test
ifdef PYTEST
	@$(BIN)/python -m pytest $(PYTEST)
else
	@logs=$$(mktemp -d); trap 'kill $$pids' INT TERM; \
	$(foreach part,$(BESIDE),$(BIN)/python -m pytest $(PART_$(part)) >$$logs/$(part) 2>&1 & pids="$$pids $$!";) \
	$(BIN)/python -m pytest $(addprefix --ignore=,$(foreach part,$(BESIDE),$(PART_$(part)))); failed=$$?; \
	for pid in $$pids; do wait $$pid || failed=1; done; cat $$logs/*; rm -r $$logs; exit $$failed
endif

# Two halves side by side, each on a core.
QUICK_1 := tests/segmentation tests/fuzz tests/view tests/curation
quick: $(VENV)/installed-test
	@other=$$(mktemp); $(BIN)/python -m pytest -m "not slow" $(QUICK_1) >$$other 2>&1 & pid=$$!; trap "kill $$pid" INT TERM; \
	$(BIN)/python -m pytest -m "not slow" tests $(addprefix --ignore=,$(QUICK_1)); here=$$?; \
	wait $$pid; there=$$?; cat $$other; rm $$other; exit $$((here + there))

lint: $(VENV)/installed-test
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/python .ci/unused.py
	@$(BIN)/pyright

benchmark: $(VENV)/installed-test
	@test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	@.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement tests/benchmarks/peers.txt
	@test -z "$(ULTRACK)" || { test -x .venv-ultrack/bin/python || $(PYTHON) -m venv .venv-ultrack; .venv-ultrack/bin/python -m pip install --quiet ultrack==0.8.0; }
	@$(BIN)/python tests/benchmarks/run.py

# The README's scores, over seeds.  It goes on where it was interrupted.  EXPERIMENTS="demo ovule" runs some, UNTIL=04 only
# trains; FROM=05 does the steps from there on again, after a change of the code.
SEEDS ?= 5
scores: install
	@$(BIN)/python tests/benchmarks/score_runs.py --seeds $(SEEDS) $(if $(EXPERIMENTS),--experiments $(EXPERIMENTS)) \
		$(if $(FROM),--from $(FROM)) $(if $(UNTIL),--until $(UNTIL))
	@$(BIN)/python tests/benchmarks/write_scores.py

notebooks: install
	@$(BIN)/python -m helpers.runs.parameters.cells

# RUNS="runs/demo runs/mine": notebooks that the first has not executed are taken from the others, and executed where none has.
RUNS ?= runs/demo
gallery: demo
	@$(BIN)/python -m helpers gallery --execute $(RUNS)

# COLAB="--python 3.12 06 10" runs a part of it. What has passed is not run again: the same command goes on after an interruption.
colab: $(VENV)/installed-test
	@$(BIN)/python tests/notebooks/colab_matrix.py $(COLAB)

# The versions that are installed become the pins.
lock: $(VENV)/installed-test
	@$(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu$$//' | grep -v ' @ ' > constraints.txt

release:
	@.ci/release

clean:
	rm -rf $(VENV) .venv-peers .venv-ultrack runs
