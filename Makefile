# demo, test, bench and lint set up what they need in .venv and build/. The machine provides a C++
# compiler, make, and Python >= 3.10 with venv; constraints.txt pins everything else.
PYTHON ?= python3
VENV := $(CURDIR)/.venv
BIN := $(VENV)/bin
PEERS := $(CURDIR)/.venv-peers
PIP_INSTALL := $(BIN)/python -m pip install --progress-bar off -c constraints.txt
JOBS ?= $(shell nproc)

# The folders too: their times change when a file is added or removed.
PACKAGE_SOURCES := CMakeLists.txt \
  $(shell find pywatt csrc \( -name __pycache__ -o -path csrc/tests \) -prune -o -print)
CPP_SOURCES := $(shell find csrc -name '*.cpp' -o -name '*.hpp' -o -name '*.h')

# ThreadSanitizer cannot place its shadow memory on newer kernels, which randomize addresses widely;
# setarch -R turns that off for the program, if the machine allows it.
NO_ASLR := $(shell setarch $$(uname -m) -R true 2>/dev/null && echo setarch $$(uname -m) -R)

.PHONY: help demo test core-test accuracy bench gpu-check lint format wheel wheel-test clean
.DELETE_ON_ERROR:

help:
	@echo 'make demo        print the energy of each layer of a small model trained on real data'
	@echo 'make test        run the C++ tests, also with sanitizers, then the Python tests'
	@echo 'make bench       compare speeds, and the energy of short windows, with other tools'
	@echo 'make accuracy    compare replay with the true energy of simulated GPUs, in real time'
	@echo 'make gpu-check   check pywatt on the NVIDIA GPU of this machine, if there is one'
	@echo 'make lint        check formatting, style, types, imports, and the stub of pywatt._core'
	@echo 'make format      format the sources as make lint requires'
	@echo 'make wheel-test  build sdist and wheel, and test the wheel in an empty environment'

demo: $(VENV)/package.stamp
	$(BIN)/pywatt demo

# In build/, like the tests: Python started here would import the uncompiled pywatt/.
bench: $(VENV)/package.stamp $(PEERS)/requirements.stamp
	cd build && $(BIN)/python ../benchmarks/run.py

gpu-check: $(VENV)/package.stamp
	$(BIN)/python benchmarks/gpu_check.py --append docs/accuracy.md

# pip is pinned too: older ones know neither --group nor --only-deps.
$(VENV)/requirements.stamp: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) pip
	$(PIP_INSTALL) --group build --group lint
	$(PIP_INSTALL) --no-build-isolation --only-deps '.[demo,test]'
	touch $@

# The tools that the benchmarks compare pywatt with, in an environment of their own. If one cannot
# be installed, the table gives the reason from its log, and the next run tries again.
PEER_TOOLS := carbontracker codecarbon zeus
$(PEERS)/requirements.stamp: constraints.txt
	$(PYTHON) -m venv $(PEERS)
	for tool in $(PEER_TOOLS); do \
	  echo "installing $$tool in $(notdir $(PEERS))"; \
	  $(PEERS)/bin/python -m pip install --progress-bar off -c constraints.txt $$tool \
	    >$(PEERS)/$$tool.log 2>&1 || failed=$$failed$$tool; \
	done; [ -n "$$failed" ] || touch $@

# Installed, not editable, so that the tests run what a user gets. Without build isolation, so that
# the build uses the pinned cmake, ninja and pybind11 of .venv: which variable constrains an
# isolated environment depends on pip's version. Their paths stay, so a rebuild is incremental.
$(VENV)/package.stamp: $(VENV)/requirements.stamp $(PACKAGE_SOURCES)
	$(PIP_INSTALL) --no-build-isolation --no-deps .
	touch $@

# The core and its tests, without Python: build/core, and build/core-thread and build/core-address
# under sanitizers.
CORE_BUILDS := build/core build/core-thread build/core-address
build/core-thread: SANITIZE := thread
build/core-address: SANITIZE := address,undefined

.PHONY: $(CORE_BUILDS)
$(CORE_BUILDS): $(VENV)/requirements.stamp
	$(BIN)/cmake -S . -B $@ -G Ninja -DCMAKE_MAKE_PROGRAM=$(BIN)/ninja -DCMAKE_BUILD_TYPE=Release \
	  -DPYWATT_TESTS=ON -DPYWATT_SANITIZE=$(SANITIZE) -DPython_EXECUTABLE=$(BIN)/python
	$(BIN)/cmake --build $@ -j $(JOBS)

CTEST := $(BIN)/ctest --output-on-failure --no-tests=error

core-test: $(CORE_BUILDS)
	$(CTEST) --test-dir build/core
	TSAN_OPTIONS=halt_on_error=1 $(NO_ASLR) $(CTEST) --test-dir build/core-thread
	UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 $(CTEST) --test-dir build/core-address

# The simulated NVML library of build/core replaces a driver. pytest and stubtest run in build/:
# started here, they or their child processes would import the uncompiled pywatt/.
test: export PYWATT_SIMULATED_NVML := $(CURDIR)/build/core/simulated_nvml/libnvidia-ml.so.1
test: core-test $(VENV)/package.stamp
	cd build && $(BIN)/pytest ../tests -m "not accuracy and not alone" -n $(JOBS) --dist worksteal
	cd build && $(BIN)/pytest ../tests -m "alone and not accuracy"
	cd build && $(BIN)/pytest ../tests -m gpu

# Takes minutes, in real time on the simulated GPU; the figures are in docs/accuracy.md.
accuracy: export PYWATT_SIMULATED_NVML := $(CURDIR)/build/core/simulated_nvml/libnvidia-ml.so.1
accuracy: build/core $(VENV)/package.stamp
	cd build && $(BIN)/pytest ../tests -m accuracy -s

lint: $(VENV)/package.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/clang-format --dry-run -Werror $(CPP_SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports
	cd build && $(BIN)/stubtest --mypy-config-file $(CURDIR)/pyproject.toml pywatt._core

format: $(VENV)/requirements.stamp
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/clang-format -i $(CPP_SOURCES)

# In isolation, unlike above: this checks that pyproject.toml names all build requirements.
wheel: $(VENV)/requirements.stamp
	rm -rf dist
	PIP_CONSTRAINT=$(CURDIR)/constraints.txt $(BIN)/python -m build

wheel-test: export PYWATT_SIMULATED_NVML := $(CURDIR)/build/core/simulated_nvml/libnvidia-ml.so.1
wheel-test: wheel build/core
	$(PYTHON) -m venv --clear .venv-wheel
	.venv-wheel/bin/python -m pip install --progress-bar off -c constraints.txt \
	  "$$(echo dist/pywatt-*.whl)[test]"
	cd build && ../.venv-wheel/bin/pytest ../tests -m "not accuracy"

clean:
	rm -rf build dist .venv .venv-wheel .venv-peers
