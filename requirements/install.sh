#!/bin/sh
# `make .venv/SET`: installs what requirements/SET.txt locks into .venv; `uv` is the first, and makes it, by $PYTHON.
set -eu
cd "$(dirname "$0")/.."
SET=$1 BIN=.venv/bin
fail() { echo "$*" >&2; exit 1; }
if [ "$SET" = uv ]; then
  "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "Ranker needs Python 3.11 or newer; set PYTHON="
  echo "Making .venv with what Ranker needs, some 650 MB for make serve: about a minute, once."
  "$PYTHON" -m venv .venv || fail "python3 cannot make a virtual environment; on Debian: apt-get install python3-venv"
  $BIN/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
  touch .venv/uv
  exit
fi

install() { $BIN/uv pip install --python $BIN/python "$@"; }
quietly=--quiet
if [ -t 2 ]; then quietly=; fi # on a terminal uv shows what it downloads and how much
locked() { install $quietly --system-certs --compile-bytecode --require-hashes "$@"; }
echo "Installing requirements/$SET.txt into .venv"
locked -r "requirements/$SET.txt"
case $SET in
  dev) locked --no-deps -r requirements/data.txt ;;
  models) locked --no-deps -r requirements/models-torch.txt ;;
esac
case $SET in
  demo | dev) install --quiet --no-deps --no-build-isolation -e . ;;
esac
touch ".venv/$SET"
