# Every target sets up what it needs on a bare machine with Python >= 3.11 and make.
PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 3000
BIN := .venv/bin
# On a terminal uv shows what it downloads and how much.
UV := $(BIN)/uv pip install $(if $(MAKE_TERMERR),,--quiet) --system-certs --compile-bytecode --python $(BIN)/python --require-hashes
export BENTOML_DO_NOT_TRACK := True
# Where it is set, each process that a test starts compiles the package, and each that runs tests rewrites them all.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: serve test test-slow test-models install-test container container-test chaos mutants docs lint bench bench-quick load release-check lock clean

serve: .venv/demo
	@exec $(BIN)/ranker demo --serve --host $(HOST) --port $(PORT)

# What measures time wants the machine to itself; what takes minutes by nature is test-slow's.
test: .venv/dev
	$(BIN)/pytest -q -m "not alone and not slow" --numprocesses auto --dist loadfile
	$(BIN)/pytest -q -m "alone and not slow" $$(grep -rl --include='test_*.py' mark.alone tests)

test-slow: .venv/dev
	$(BIN)/pytest -q -m slow

# The models of examples/models, by the frameworks that export them; those of PyTorch after .venv/bin/pip install torch.
test-models: .venv/models
	$(BIN)/pytest -q -s tests/models

container container-test: .venv/dev
	deploy/container.sh $(if $(filter %-test,$@),test,build)

install-test: .venv/dev
	$(BIN)/pytest -q tests/install

chaos: .venv/dev
	FUZZ_EXAMPLES=3000 $(BIN)/pytest -q tests/faults/test_stored_bytes.py
	IDLE_S=120 $(BIN)/pytest -q tests/service/test_behind_balancers.py
	$(BIN)/python -m tests.faults.chaos.run --minutes $(or $(CHAOS_MINUTES),10) && $(BIN)/python -m tests.faults.chaos.cluster

mutants: .venv/mutants
	nice $(BIN)/python -m tests.mutants.run --minutes $(or $(MINUTES),60) $(MODULES)

docs: .venv/dev
	$(BIN)/sphinx-build --quiet --fresh-env --fail-on-warning --keep-going docs site
	@echo "The site is in site/index.html"

lint: .venv/dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/mypy && $(BIN)/lint-imports
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive service.py ranker

bench bench-quick: .venv/dev
	$(BIN)/python -m benchmarks.run $(if $(filter %-quick,$@),--quick)

load: .venv/load
	$(BIN)/python -m benchmarks.run_load --host $(HOST) --port $(PORT) --rate $(or $(RATE),300) --seconds $(or $(SECONDS),60) $(LOAD)
release-check: ; .ci/release-check

$(BIN)/uv: requirements/uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Ranker needs Python 3.11 or newer; set PYTHON=")'
	@echo "Making .venv with what Ranker needs, some 600 MB for make serve: about a minute, once."
	@$(PYTHON) -m venv .venv || { echo "python3 cannot make a virtual environment; on Debian: apt-get install python3-venv"; exit 1; }
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

# demo: what serving and the example shop need; dev: the tests' and linters' packages as well.
.venv/demo .venv/dev: .venv/%: requirements/%.txt requirements/data.txt pyproject.toml ranker/__init__.py | $(BIN)/uv
	@echo "Installing $< into .venv"
	@$(UV) -r $<
	$(if $(filter %dev,$@),@$(UV) --no-deps -r requirements/data.txt)
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

.venv/load: .venv/demo
.venv/mutants .venv/models: .venv/dev
.venv/models: requirements/models-torch.txt
.venv/load .venv/mutants .venv/models: .venv/%: requirements/%.txt
	@echo "Installing $< into .venv"
	@$(UV) -r $<
	$(if $(filter %models,$@),@$(UV) --no-deps -r requirements/models-torch.txt)
	@touch $@

lock: | $(BIN)/uv ; requirements/lock.sh $(BIN)/uv

clean:
	-test ! -x $(BIN)/ranker || $(BIN)/ranker demo --stop
	rm -rf .venv .ranker mutants reports site .pytest_cache .mypy_cache .ruff_cache
