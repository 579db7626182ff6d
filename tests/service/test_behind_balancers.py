"""Balancers as they are: what they keep open and idle is still open when the next request comes.

`IDLE_S` is how long they idle here; `make chaos` has them idle for two minutes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from ranker.demo.ports import free_port
from tests.service.conftest import Served, Shop, serve

IDLE_S = float(os.environ.get("IDLE_S", "6.5"))
"""Longer than the 5 s after which BentoML has uvicorn hang up."""
BODY = {"requestId": "r", "userId": "3", "productIds": ["1", "2", "3"]}
HAPROXY = """
defaults
  mode http
  timeout connect 1s
  timeout client 300s
  timeout server 300s
  retries 0
frontend callers
  bind 127.0.0.1:{port}
  default_backend rankers
backend rankers
  http-reuse always
  server one 127.0.0.1:{backend} pool-purge-delay 600s
"""
NGINX = """
daemon off;
pid {folder}/pid;
error_log stderr;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  upstream rankers {{
    server 127.0.0.1:{backend};
    keepalive 8;
    keepalive_timeout 600s;
  }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://rankers;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_next_upstream off;
    }}
  }}
}}
"""


@pytest.fixture(scope="module")
def served(stocked: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    log = tmp_path_factory.mktemp("served") / "log"
    with serve(stocked.environment | {"RANKER_RUNNER": "local"}, log) as running:
        yield running


@contextmanager
def balancer(name: str, backend: int, folder: Path) -> Iterator[str]:
    """Run one until the block ends; its URL."""
    program = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        pytest.skip(f"there is no {name}")
    port, configuration = free_port(), folder / "configuration"
    text = HAPROXY if name == "haproxy" else NGINX
    configuration.write_text(text.format(port=port, backend=backend, folder=folder))
    option = "-f" if name == "haproxy" else "-c"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, option, str(configuration)], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{port}/livez", timeout=5)
                break
            except httpx.TransportError:
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def callers_of(port: int) -> set[int]:
    """The ports from which connections to a port are open, as the kernel has them."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    ends = [(line.split()[1], line.split()[2], line.split()[3]) for line in lines]
    return {int(own[9:], 16) for own, other, state in ends if int(other[9:], 16) == port and state == "01"}


@pytest.mark.timeout(IDLE_S + 120)
@pytest.mark.parametrize("name", ["haproxy", "nginx"])
def test_idle_connection_of_a_balancer_is_still_there_for_the_next_request(
    served: Served, name: str, tmp_path: Path
) -> None:
    backend = httpx.URL(served.url).port
    assert backend is not None
    with balancer(name, backend, tmp_path) as url, httpx.Client(timeout=10) as caller:
        assert caller.post(f"{url}/predict", json=BODY).status_code == 200
        kept = callers_of(backend)
        assert kept
        time.sleep(IDLE_S)  # what is tested is that nothing happens
        assert callers_of(backend) == kept
        assert caller.post(f"{url}/predict", json=BODY).status_code == 200
        assert callers_of(backend) == kept
