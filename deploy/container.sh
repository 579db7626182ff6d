#!/usr/bin/env bash
# `make container` and `make container-test`: build | test.
#
# build: the Bento of RANKER_MODEL, or of the example shop, as an image (IMAGE, by default ranker:VERSION).
# test: the same under a name of its own, run and looked at by tests/container, and removed.
set -Eeuo pipefail
cd "$(dirname "$0")/.."
. deploy/engine.sh

TASK=${1:?build or test}
BIN=$PWD/.venv/bin
LIMIT_S=540
if [ -z "${CONTAINER_TIMED:-}" ]; then # once more, with an end: a build can hang on a network
  CONTAINER_TIMED=1 exec timeout --signal=TERM --kill-after=30 "$LIMIT_S" "$0" "$@"
fi
# BentoML writes what they say, an index with its password too, into the Bento and so into the image.
unset "${!UV_@}" "${!PIP_@}"
export BENTOML_DO_NOT_TRACK=True ORT_DISABLE_TELEMETRY=1 PATH="$BIN:$PATH"

WORK=$(mktemp -d /tmp/ranker-container.XXXXXX)
IMAGE=${IMAGE:-ranker:$("$BIN/python" -c 'import ranker; print(ranker.__version__)')}
[ "$TASK" = build ] || IMAGE=localhost/ranker-test:$$

finish() {
  local code=$?
  trap - EXIT
  if [ "$TASK" = test ] && [ -n "${ENGINE:-}" ]; then "$ENGINE" rmi -f "$IMAGE" >/dev/null 2>&1 || true; fi
  [ -z "${ENGINE:-}" ] || "$ENGINE" rmi -f "localhost/ranker-bento:$$" >/dev/null 2>&1 || true
  stop_engine "$WORK"
  rm -rf "$WORK"
  exit "$code"
}
trap finish EXIT
trap 'exit 143' TERM
trap 'exit 130' INT

lap() { printf '%-28s %4d s\n' "$1" $((SECONDS - began)); began=$SECONDS; }
quietly() { "$@" >"$WORK/log" 2>&1 || { tail -40 "$WORK/log" >&2; return 1; }; }
began=$SECONDS

prepare_engine "$WORK" "$BIN/uv"
lap "engine and base image ($KIND)"

if [ "$TASK" = test ]; then
  export BENTOML_HOME=$WORK/bentoml
  FEATURES=$WORK/features
else
  FEATURES=dist/features
fi
if [ "$TASK" = test ] || [ -z "${RANKER_MODEL:-}" ]; then
  RANKER_MODEL=$("$BIN/python" -m deploy.shop "$FEATURES")
  lap "model $RANKER_MODEL"
fi
BENTO=$(env RANKER_MODEL="$RANKER_MODEL" "$BIN/bentoml" build --output tag 2>"$WORK/log" | tail -1) ||
  { tail -40 "$WORK/log" >&2; exit 1; }
BENTO=${BENTO#__tag__:}
lap "Bento $BENTO"

quietly "$BIN/bentoml" containerize "$BENTO" --backend "$ENGINE" --image-tag "localhost/ranker-bento:$$"
format=()
[ "$ENGINE" = docker ] || format=(--format docker) # OCI's has no health check
quietly "$ENGINE" build "${format[@]}" --build-arg "BENTO_IMAGE=localhost/ranker-bento:$$" --label "ranker.bento=$BENTO" \
  --label "ranker.model=$RANKER_MODEL" --label org.opencontainers.image.title=bento-ranker \
  --label "org.opencontainers.image.version=$("$BIN/python" -c 'import ranker; print(ranker.__version__)')" \
  --label org.opencontainers.image.licenses=Apache-2.0 --tag "$IMAGE" - <deploy/Dockerfile
lap "image $IMAGE, $(("$("$ENGINE" image inspect --format '{{.Size}}' "$IMAGE")" / 1000000)) MB"

running_engine "$WORK"
if [ "$TASK" = build ]; then
  if [ "$KIND" = private ]; then # its storage goes; the image stays as what `docker load` and `podman load` read
    mkdir -p dist
    "$ENGINE" save --quiet --output "$WORK/image.tar" "$IMAGE"
    mv "$WORK/image.tar" dist/ranker-image.tar
    echo "dist/ranker-image.tar (on Debian's own Python, for no registry answers here)"
  fi
  exit 0
fi
export CONTAINER_ENGINE=$ENGINE CONTAINER_IMAGE=$IMAGE CONTAINER_MODEL=$RANKER_MODEL CONTAINER_FEATURES=$FEATURES
"$BIN/pytest" -q --durations=0 --durations-min=1 tests/container
lap "tests"
