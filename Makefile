# Needs git, make and Python 3.11 or later; everything else is installed into .venv.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= out

.PHONY: demo check test nightly test-lowest lint lint-types lint-style docs bench study measured clean
.DELETE_ON_ERROR:

$(VENV)/package: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "recon needs Python 3.11 or later")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/dev: $(VENV)/package
	$(BIN)/python -m pip install --quiet --group dev
	touch $@

$(VENV)/docs: $(VENV)/package
	$(BIN)/python -m pip install --quiet --group docs
	touch $@

# The main job on real input: a photograph blurred by a measured camera shake, and a CT slice.
demo: $(VENV)/package
	mkdir -p $(OUT)
	$(BIN)/recon simulate data/photographs/camera.png -o $(OUT)/camera-blurred.png --overwrite \
		--operator blur:psf=data/kernels/levin09_1.npy --noise 0.01
	$(BIN)/recon solve $(OUT)/camera-blurred.png -o $(OUT)/camera-restored.png --overwrite \
		--operator blur:psf=data/kernels/levin09_1.npy --noise 0.01 --figure $(OUT)/camera.png
	$(BIN)/recon solve data/ct/tcga_60-2715.dcm -o $(OUT)/ct-denoised.dcm --overwrite \
		--operator identity --noise 7HU --figure $(OUT)/ct.png
	@echo "Before and after: $(OUT)/camera.png and $(OUT)/ct.png"

# Three tiers: the quick tests, all that a change must pass, and the long campaigns, which `make test` leaves out.
PYTEST := -m pytest -n 2 --dist worksteal -q

check: $(VENV)/dev lint
	$(BIN)/python $(PYTEST) -m "not slow and not docs and not nightly"

test: $(VENV)/dev lint
	$(BIN)/python $(PYTEST) -m "not nightly"

# The modules are named, because collecting all of them takes twenty seconds.
nightly: $(VENV)/dev $(VENV)/docs
	$(BIN)/python $(PYTEST) -m nightly $$(grep -rlw nightly tests --include='test_*.py')

# The tests with the lowest releases that pyproject.toml admits, which tests/lowest.txt names; several GB of packages.
LOWEST ?= .venv-lowest

$(LOWEST)/installed: pyproject.toml tests/lowest.txt
	python3.11 -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(LOWEST)/bin/python -m pip install --quiet --constraint tests/lowest.txt --editable . --group test
	touch $@

test-lowest: $(LOWEST)/installed
	$(LOWEST)/bin/python $(PYTEST)

lint: $(VENV)/dev
	$(MAKE) --jobs 2 --keep-going lint-types lint-style

lint-types:
	$(BIN)/mypy

lint-style:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

# The documentation as a site, with its gallery, in some minutes; warnings are errors.
docs: $(VENV)/docs
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -b html -n -W --keep-going docs $(OUT)/docs
	@echo "The pages: $(OUT)/docs/index.html"

# What an unmatched back-projector does, and what helps: the figure of the documentation, in a few minutes.
study: $(VENV)/package
	$(BIN)/python tests/benchmarks/mismatch_study.py -o $(OUT)/mismatch.png

# Measured projections, all of them and few: the figure of the documentation, in five minutes; data that are not there are skipped.
measured: $(VENV)/package
	$(BIN)/python tests/benchmarks/measured.py -o $(OUT)/measured.png

# The comparisons with peers; what is beside them makes tables and figures, of data that are not here, or in hours.
BENCHMARKS := blur total_variation driver tomography ct_task training_step momentum inference dataloader startup batch_overhead sensitivity uncertainty tomography_gpu inference_gpu volume_tv large_image feedforward_bounds factorization archive learned_steps critic

bench: $(VENV)/dev
	$(BIN)/python -m pip install --quiet --group bench
	failed=; for name in $(BENCHMARKS); do $(BIN)/python tests/benchmarks/$$name.py || failed="$$failed $$name"; done; \
	if [ -n "$$failed" ]; then echo "Stopped early:$$failed" >&2; exit 1; fi

clean:
	rm -rf $(VENV) $(LOWEST) $(OUT) build dist *.egg-info docs/gallery docs/generated docs/theorems
