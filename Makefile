# Every target sets up what it needs on a bare machine with Python >= 3.11 and make.
export PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 3000
BIN := .venv/bin
export BENTOML_DO_NOT_TRACK := True
# Where it is set, each process that a test starts compiles the package, and each that runs tests rewrites them all.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: serve test test-slow test-models install-test container container-test chaos mutants docs lint bench bench-quick load release-check lock clean

serve: .venv/demo
	@exec $(BIN)/ranker demo --serve --host $(HOST) --port $(PORT)
load: .venv/load
	$(BIN)/python -m benchmarks.run_load --host $(HOST) --port $(PORT) --rate $(or $(RATE),300) --seconds $(or $(SECONDS),60) $(LOAD)

# What measures time wants the machine to itself; what takes minutes by nature is test-slow's. In the folders' order, for
# services take longest, and the many short tests behind them keep both cores busy until the end.
test: .venv/dev
	$(BIN)/pytest -q -m "not alone and not slow" --numprocesses auto --dist loadfile --no-loadscope-reorder
	$(BIN)/pytest -q -m "alone and not slow" $$(grep -rl --include='test_*.py' mark.alone tests)
test-slow: .venv/dev
	$(BIN)/pytest -q -m slow
# The models of examples/models, by the frameworks that export them; those of PyTorch after .venv/bin/pip install torch.
test-models: .venv/models
	$(BIN)/pytest -q -s tests/models
install-test: .venv/dev
	$(BIN)/pytest -q tests/install
container container-test: .venv/dev
	deploy/container.sh $(if $(filter %-test,$@),test,build)
chaos: .venv/dev
	FUZZ_EXAMPLES=3000 $(BIN)/pytest -q tests/faults/test_stored_bytes.py
	IDLE_S=120 $(BIN)/pytest -q tests/service/test_behind_balancers.py && $(BIN)/python -m tests.hostile.differential.run --minutes 3
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
release-check: ; .ci/release-check
lock: | .venv/uv ; requirements/lock.sh $(BIN)/uv

# demo: what serving and the example shop need; dev: the tests' and linters' packages as well.
.venv/load: .venv/demo
.venv/mutants .venv/models: .venv/dev
.venv/demo .venv/dev: requirements/data.txt pyproject.toml ranker/__init__.py | .venv/uv
.venv/models: requirements/models-torch.txt
.venv/uv .venv/demo .venv/dev .venv/load .venv/mutants .venv/models: .venv/%: requirements/%.txt
	@requirements/install.sh $*
clean:
	-test ! -x $(BIN)/ranker || $(BIN)/ranker demo --stop
	rm -rf .venv .ranker mutants reports site .pytest_cache .mypy_cache .ruff_cache
