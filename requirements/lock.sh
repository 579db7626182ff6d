#!/usr/bin/env bash
# Locks every set of requirements, with hashes and no index named: `requirements/lock.sh .venv/bin/uv`.
# constraints.txt holds the same versions without hashes, for `pip install -c` with any of the extras.
set -euo pipefail
cd "$(dirname "$0")/.."
compile_plainly() {
  "$UV" pip compile --quiet --system-certs --universal --python-version 3.11 --no-emit-index-url --no-annotate \
    --custom-compile-command "make lock" "$@"
}
compile() { compile_plainly --generate-hashes "$@"; }
UV=$1
compile --extra otlp pyproject.toml -o requirements/serve.txt
compile --extra otlp --extra demo --group build -c requirements/serve.txt pyproject.toml -o requirements/demo.txt
compile --extra dev --group build -c requirements/demo.txt pyproject.toml -o requirements/dev.txt
compile_plainly --extra demo --extra entra --extra files --extra import --extra load --extra otlp --group tutorial \
  -c requirements/dev.txt pyproject.toml -o requirements/constraints.txt
echo 'locust>=2.40' | compile -c requirements/dev.txt - -o requirements/load.txt
echo 'mutmut>=3.8.1' | compile -c requirements/dev.txt - -o requirements/mutants.txt
printf '%s\n' 'catboost>=1.2' 'onnxscript>=0.5' 'tqdm>=4.60' 'xgboost-cpu>=3' \
  | compile -c requirements/dev.txt - -o requirements/models.txt
echo 'torch-rechub==0.9.0' | compile --no-deps - -o requirements/models-torch.txt
echo 'obp==0.4.1' | compile --no-deps - -o requirements/data.txt
echo 'uv>=0.8' | compile - -o requirements/uv.txt
