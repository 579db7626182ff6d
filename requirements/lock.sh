#!/usr/bin/env bash
# Locks every set of requirements, with hashes and no index named: `requirements/lock.sh .venv/bin/uv`.
set -euo pipefail
cd "$(dirname "$0")/.."
compile() {
  "$UV" pip compile --quiet --system-certs --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
    --no-annotate --custom-compile-command "make lock" "$@"
}
UV=$1
compile pyproject.toml -o requirements/serve.txt
compile --extra demo -c requirements/serve.txt pyproject.toml -o requirements/demo.txt
compile --extra dev -c requirements/demo.txt pyproject.toml -o requirements/dev.txt
echo 'mutmut>=3.8.1' | compile -c requirements/dev.txt - -o requirements/mutants.txt
echo 'obp==0.4.1' | compile --no-deps - -o requirements/data.txt
echo 'uv>=0.8' | compile - -o requirements/uv.txt
