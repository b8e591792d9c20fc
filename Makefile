# make demo | test | bench | dist | ...; `make` alone lists them all.
#
# Two environments, so that the absence of TensorFlow where pictures are classified is a fact:
# .venv/export holds TensorFlow and the exporter, .venv/runtime holds neither. A third, .venv/gpu, has
# onnxruntime's package for GPUs, which must not be in one with that for the CPU, and a fourth, .venv/ray,
# has Ray, of which the rest knows nothing. A fifth, .venv/docs, makes the documentation.

PYTHON ?= python3
EXPORT := .venv/export/bin
RUNTIME := .venv/runtime/bin
STANDIN := build/standin
SECONDS := 60
SEED := 1
MODULE := $(STANDIN)
ONNX := build/standin.onnx
INT8 = build/$(notdir $(ONNX:.onnx=.int8.onnx))
ROUNDS := 9
PHOTOS :=

# The versions that CI tested, on the Pythons that CI tests; PINS=no takes the newest.
PINS ?= $(shell $(PYTHON) -c 'import sys; print("yes" if sys.version_info < (3, 14) else "no")')
INSTALL = $(@D)/bin/pip install --quiet --disable-pip-version-check \
	$(if $(filter yes,$(PINS)),--constraint constraints/$(notdir $(@D)).txt)

.DEFAULT_GOAL := help
.PHONY: help demo test docs browser node gpu fuzz bench lint fixtures format dist constraints clean environments

help: ## Lists these commands.
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: build/standin.onnx .venv/runtime/.ready ## Builds a stand-in module, exports it, and classifies without TensorFlow.
	@echo; echo "== The golden probes, in an environment where TensorFlow is not installed"
	@! $(RUNTIME)/python -c 'import tensorflow' 2>/dev/null || { echo "TensorFlow is here, it must not be"; exit 1; }
	$(RUNTIME)/fungi-onnx selftest -m build/standin.onnx
	@echo; echo "== The sample pictures, in the same environment"
	$(RUNTIME)/fungi-onnx classify -m build/standin.onnx -k 3 $(STANDIN)/samples/*.jpg

test: lint browser node gpu docs .venv/ray/.ready build/standin.onnx ## Runs everything: linters, types, all tests, the README.
	$(RUNTIME)/pytest tests/runtime
	$(RUNTIME)/pytest tests/gpu
	.venv/ray/bin/pytest tests/ray
	cd export && ../$(EXPORT)/pytest ../tests/export
	$(RUNTIME)/pytest tests/whole
	$(RUNTIME)/pytest tests/node
	.venv/docs/bin/pytest tests/docs
	$(MAKE) fuzz

docs: .venv/docs/.ready ## Builds the documentation into build/site; warnings are errors.
	NO_MKDOCS_2_WARNING=1 .venv/docs/bin/mkdocs build --strict --quiet

fuzz: .venv/runtime/.ready ## Throws broken pictures at the decoders for SECONDS (60); SEED=0 for new ones.
	@if $(RUNTIME)/python -c 'import atheris' 2>/dev/null; \
	then $(RUNTIME)/python tests/fuzz/fuzz_pictures.py --seconds $(SECONDS) -seed=$(SEED); \
	else echo "== No fuzzing: there is no atheris for this kind of machine"; fi

bench: $(ONNX) .venv/runtime/.ready .venv/export/.benchmarks ## Measures all peers in ROUNDS (9); another model: MODULE=folder ONNX=its.onnx PHOTOS=folder
	@$(MAKE) --no-print-directory $(INT8) || { rm -f $(INT8); echo "== Without the int8 variant, which cannot be had here"; }
	$(EXPORT)/python benchmarks/bench.py --module $(MODULE) --onnx $(ONNX) --int8 $(INT8) --rounds $(ROUNDS) \
		$(if $(PHOTOS),--photos $(PHOTOS))

lint: environments
	$(EXPORT)/ruff check . && $(EXPORT)/ruff format --check .
	$(RUNTIME)/mypy fungi_onnx _fungi_onnx_command.py
	cd export && ../$(EXPORT)/mypy fungi_onnx_export

# The page's tests need a browser, one of the server's a sandbox. Where they cannot be had, those
# tests say so.
browser:
	@command -v chromium chromium-browser google-chrome >/dev/null && command -v bwrap >/dev/null \
	|| { echo "== Installing Chromium and bubblewrap" \
	  && apt-get update -qq && apt-get install -y -qq --no-install-recommends \
	    chromium bubblewrap fonts-dejavu-core >/dev/null; } \
	|| echo "== Without them: install chromium and bubblewrap to run all tests"

# The example in JavaScript is tested in Node; where that cannot be had, its tests say so.
node:
	@command -v node >/dev/null && command -v npm >/dev/null \
	|| { echo "== Installing Node.js and npm" \
	  && apt-get update -qq && apt-get install -y -qq --no-install-recommends nodejs npm >/dev/null; } \
	|| echo "== Without them: install node and npm to run all tests"

# What the package for GPUs says where there is none is tested with the package itself (2.5 GB), and
# with NVIDIA's driver library, which Debian has. Where they cannot be had, those tests say so.
gpu: .venv/gpu/.ready
	@test -e .venv/gpu/driver/libcuda.so.1 \
	|| sh tests/gpu/get_driver.sh .venv/gpu/driver \
	|| echo "== Without NVIDIA's driver library, which could not be fetched"

fixtures: .venv/export/.ready ## Makes the small model files of tests/data again.
	$(EXPORT)/python tests/make_fixtures.py

format: environments ## Formats the code and mends what the linter can mend.
	$(EXPORT)/ruff check --fix . ; $(EXPORT)/ruff format .

dist: .venv/runtime/.ready ## Builds both wheels and their sources, as a release has them.
	$(RUNTIME)/python -m build --no-isolation --outdir dist .
	$(RUNTIME)/python -m build --no-isolation --outdir dist export

# What passed is what is pinned: `make clean`, then `make PINS=no test`, then this.
constraints: .venv/export/.benchmarks ## Pins the versions that the environments have now.
	@for name in $(notdir $(wildcard .venv/*)); \
	do .venv/$$name/bin/pip freeze --exclude-editable > constraints/$$name.txt; done

clean: ## Removes the environments and everything built.
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

environments: .venv/runtime/.ready .venv/export/.ready

.venv/runtime/.ready: pyproject.toml constraints/runtime.txt
	@echo "== Setting up $(@D) (no TensorFlow)"
	$(PYTHON) -m venv $(@D)
	$(INSTALL) --editable '.[cpu,dev,serve-dev,release-dev]'
	@touch $@

.venv/export/.ready: pyproject.toml export/pyproject.toml constraints/export.txt
	@echo "== Setting up $(@D) (TensorFlow and the exporter)"
	$(PYTHON) -m venv $(@D)
	$(INSTALL) --editable '.[cpu]' --editable './export[dev]'
	@touch $@

.venv/gpu/.ready: pyproject.toml constraints/gpu.txt
	@echo "== Setting up $(@D) (onnxruntime with CUDA, its libraries, no TensorFlow)"
	$(PYTHON) -m venv $(@D)
	$(INSTALL) --editable '.[gpu]' \
	&& touch $@ || echo "== Without the package for GPUs, which cannot be had for this kind of machine"

.venv/ray/.ready: pyproject.toml constraints/ray.txt
	@echo "== Setting up $(@D) (Ray, no TensorFlow)"
	$(PYTHON) -m venv $(@D)
	$(INSTALL) --editable '.[cpu,ray-dev]'
	@touch $@

.venv/docs/.ready: pyproject.toml constraints/docs.txt
	@echo "== Setting up $(@D) (MkDocs)"
	$(PYTHON) -m venv $(@D)
	$(INSTALL) --editable '.[cpu,docs]'
	@touch $@

.venv/export/.benchmarks: .venv/export/.ready
	@echo "== Adding OpenVINO and matplotlib to $(@D)"
	$(INSTALL) --editable '.[cpu]' --editable './export[benchmarks]'
	@touch $@

$(STANDIN)/saved_model.pb: | .venv/export/.ready
	@echo "== A stand-in: the fungi module's form and size, with untrained weights"
	@mkdir -p build && rm -rf $(STANDIN)
	$(EXPORT)/fungi-onnx-export standin $(STANDIN)

build/standin.onnx: $(STANDIN)/saved_model.pb | .venv/export/.ready
	@echo; echo "== From the module to one self-describing ONNX file, with proof"
	$(EXPORT)/fungi-onnx-export export $(STANDIN) --labels $(STANDIN)/labels.csv -o $@

$(INT8): $(ONNX) | .venv/export/.ready
	@echo; echo "== The int8 variant"
	$(EXPORT)/fungi-onnx-export quantize $< -o $@
