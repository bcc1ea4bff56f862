# One environment, .venv; reruns are instant. `make demo` first, then `make test`.
PYTHON ?= python3
BIN := .venv/bin
VIDEO ?= street:
MODEL := camvid-mobilenetv2
BUNDLE := artifacts/$(MODEL)
DEMO := artifacts/demo
NATIVE := CMakeLists.txt cmake/native_module.cmake $(wildcard */native/*)

.PHONY: demo test check docs bench gpu install clean
.DELETE_ON_ERROR:

# Build the INT8 bundle, measure it, stream through it: everything a first look needs.
demo: install
	@mkdir -p $(DEMO)
	$(BIN)/python export/build_engine.py --int8
	$(BIN)/python calibration/report.py --bundle $(BUNDLE) --data street: --split val --no-tries \
	  --html $(DEMO)/report.html --json $(DEMO)/report.json
	$(BIN)/python runtime/stream.py --camera '$(VIDEO)' --bundle $(BUNDLE) --frames 300 --headless \
	  --record $(DEMO)/stream.mp4 --json $(DEMO)/stream.json
	$(BIN)/python runtime/contact_sheet.py $(DEMO)/stream.mp4 $(DEMO)/frames.png
	@echo
	@echo "annotated video   $(DEMO)/stream.mp4"
	@echo "some of its frames  $(DEMO)/frames.png"
	@echo "accuracy report   $(DEMO)/report.html"
	@echo "next: $(BIN)/python runtime/stream.py --camera 0"

# The default suite: no GPU, camera, network or data set needed.
test: install
	$(BIN)/python -m pytest

# Style, types, import arrows, and CUDA sources where nvcc is.
check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $(wildcard */native/*.h */native/*.cpp)
	$(BIN)/python -m crf.compile_kernels
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/house tests/docs

# The guides and the API reference as pages, in build/docs; a broken link is an error.
docs: install
	$(BIN)/python docs/site/diagrams.py
	$(BIN)/python -m sphinx -q -E -W --keep-going -b html -d build/doctrees -c docs/site . build/docs
	@echo "open build/docs/index.html"

bench: install
	$(BIN)/python benchmarks/engines.py --bundle $(BUNDLE)
	$(BIN)/python benchmarks/crf.py --bundle $(BUNDLE)

# All that only a machine with an NVIDIA GPU can show (docs/gpu_checks.md). Without a network:
# make gpu WHEELS=DIR; flags for benchmarks/gpu.py: make gpu FLAGS='--part crf'
gpu: $(if $(WHEELS),,install)
	$(if $(WHEELS),$(PYTHON),$(BIN)/python) benchmarks/gpu.py $(if $(WHEELS),--wheels '$(WHEELS)') $(FLAGS)

# After editing C++, too: only what changed is compiled.
install: .venv/installed
	@$(MAKE) --no-print-directory .venv/native

.venv/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed to build and test (a device runs on 3.10): make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -e '.[window,serve,openvino,train,export,triton,ray,docs,dev]'
	@if command -v nvidia-smi >/dev/null; then $(BIN)/pip install -q -e '.[gpu,tensorrt]' || \
	  echo "the GPU extras did not install (see above): the CPU path works without them"; fi
	@touch $@ .venv/native

.venv/native: $(NATIVE)
	$(BIN)/pip install -q --no-build-isolation --no-deps -e . -C cmake.define.DEEPLAB_WARNINGS=ON
	@touch $@

# Every extra in a fresh environment of every Python that is here (docs/install.md): over an hour.
install-matrix: install
	$(BIN)/python tests/install/matrix.py

clean:
	rm -rf .venv artifacts build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
