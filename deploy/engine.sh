# Sourced by container.sh: chooses a container engine and gives `engine`, `prepare_engine`, `running_engine`, `stop_engine`.
#
# Docker where a daemon answers (a client alone is common), else a podman that works, else, for root on Debian, a podman
# of its own: private storage, and a base image made from Debian's packages in place of python:3.11-slim. That one needs
# no registry, no daemon and no network of its own, and leaves nothing behind but the packages.

choose_engine() {
  if docker info >/dev/null 2>&1; then
    echo docker
  elif [ -z "${CI:-}" ] && podman info >/dev/null 2>&1 && podman pull -q docker.io/library/python:3.11-slim >/dev/null 2>&1; then
    echo podman
  elif [ "$(id -u)" = 0 ] && [ -f /etc/debian_version ]; then
    echo private
  else
    echo "Neither Docker nor podman works here; without them, this needs root on Debian." >&2
    return 1
  fi
}

# prepare_engine WORK UV: set ENGINE (the client's name) and the environment that every call of it needs.
prepare_engine() {
  KIND=$(choose_engine)
  case $KIND in
    docker)
      ENGINE=docker
      # From version 23 on, the client builds with a component that may not be there.
      docker buildx version >/dev/null 2>&1 || export DOCKER_BUILDKIT=0
      ;;
    podman) ENGINE=podman ;;
    private)
      ENGINE=podman
      _install podman runc mmdebstrap
      _configure "$1"
      _import_base "$1" "$2"
      ;;
  esac
}

# running_engine WORK: from now on containers are run, not built; they must not see what only a build needs.
running_engine() {
  [ "$KIND" != private ] || export CONTAINERS_CONF=$1/run.conf
}

stop_engine() {
  [ "${KIND:-}" != private ] || umount "$1/graph/overlay" 2>/dev/null || true
}

_install() {
  local need=() package
  for package; do command -v "$package" >/dev/null || need+=("$package"); done
  [ ${#need[@]} -gt 0 ] || return 0
  apt-get update -q >/dev/null
  DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${need[@]}" >"$WORK/apt.log" 2>&1 ||
    { tail -20 "$WORK/apt.log"; return 1; }
}

_configure() {
  local files
  files=$(ulimit -Hn)
  [ "$files" != unlimited ] || files=1048576
  # Authorities that only this machine knows may sign what it downloads; uv looks at its own list otherwise.
  echo 'system-certs = true' >"$1/uv.toml"
  # Host network, since a container may not make its own here; limits that a root without CAP_SYS_RESOURCE may set.
  # runc, for crun refuses cgroups in hybrid mode.
  cat >"$1/run.conf" <<END
[containers]
netns = "host"
default_ulimits = ["nofile=$files:$files", "nproc=32768:32768"]
[engine]
runtime = "runc"
events_logger = "file"
END
  sed "/^netns/a volumes = [\"/etc/ssl/certs:/etc/ssl/certs:O\", \"$1/uv.toml:/etc/uv/uv.toml:ro\"]" \
    "$1/run.conf" >"$1/build.conf"
  printf '[storage]\ndriver = "overlay"\ngraphroot = "%s"\nrunroot = "%s"\n' "$1/graph" "$1/runroot" >"$1/storage.conf"
  export CONTAINERS_CONF=$1/build.conf CONTAINERS_STORAGE_CONF=$1/storage.conf
  # podman asks systemd to call health checks, which a machine without it cannot; the test calls them itself.
  export DISABLE_HC_SYSTEMD=true
}

_import_base() {
  local suite sources=/etc/apt/sources.list.d/debian.sources
  [ -f "$sources" ] || sources=/etc/apt/sources.list
  suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
  mmdebstrap --quiet --variant=apt --include=ca-certificates,python3 --aptopt='Acquire::Languages "none"' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --customize-hook="upload $2 /usr/local/bin/uv" \
    --customize-hook='chmod 755 "$1/usr/local/bin/uv"; ln -s /usr/bin/python3 "$1/usr/local/bin/python"' \
    --customize-hook='rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*' \
    "$suite" "$1/base.tar" "$sources" 2>"$1/base.log" || { tail -20 "$1/base.log"; return 1; }
  podman import -q --change 'CMD ["python3"]' \
    --change 'ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin' \
    "$1/base.tar" docker.io/library/python:3.11-slim >/dev/null
  rm "$1/base.tar"
}
