"""Foreground run of the service: `bentoml serve` as a child, handed signals, waited for, and seen to be ready.

Owns the child process; knows nothing of what it serves.
"""

from __future__ import annotations

import errno
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from types import FrameType

from ranker.errors import AddressUnusable
from ranker.process.shutdown import PARENT

SERVICE = "ranker.service:Ranker"
GRACE_S = 30.0
"""Grace period of a stop, in seconds; more than a service needs that does not drain."""
POLL_S = 0.1
REMEDIES = {
    errno.EADDRINUSE: "End what does, or choose another port.",
    errno.EACCES: "Choose a port from 1024 on.",
}
"""Remedies of an address that cannot be listened on; of another errno, the host is at fault."""
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def check_address(host: str, port: int) -> None:
    """Make sure the service will be able to listen.

    Raises:
        AddressUnusable: it will not.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as err:
        remedy = REMEDIES.get(
            err.errno or 0, "Choose an address of this machine, such as 127.0.0.1, or 0.0.0.0 for all."
        )
        raise AddressUnusable(host, port, err.strerror or str(err), remedy) from err


def serve(
    host: str, port: int, environ: Mapping[str, str], on_ready: Callable[[], None], grace_s: float = GRACE_S
) -> int:
    """Serve until the service ends, by itself or because this process is told to.

    Args:
        host: Where to listen.
        port: Where to listen.
        environ: The service's environment.
        on_ready: Called once it answers.
        grace_s: Seconds that the service has to finish its requests and end, before it is killed.

    Returns:
        The exit code; 0 when it ended because it was told to.
    """
    command = [sys.executable, "-m", "bentoml", "serve", SERVICE, "--host", host, "--port", str(port)]
    # In a session of its own, Ctrl-C reaches it once, through us, and a kill of its group reaches all its workers.
    env = {**environ, PARENT: str(os.getpid())}
    child = subprocess.Popen(command, env=env, start_new_session=True)
    forwarded: list[float] = []

    def forward(signum: int, _: FrameType | None) -> None:
        # A first SIGINT would be a traceback of a child that still imports; a second one ends a child that drains. And
        # it has no terminal that could hang up.
        child.send_signal(signal.SIGINT if signum == signal.SIGINT and forwarded else signal.SIGTERM)
        forwarded.append(time.monotonic())

    before = {signum: signal.signal(signum, forward) for signum in FORWARDED}
    try:
        ready = False
        while child.poll() is None:
            if not ready and not forwarded and _is_ready(host, port):
                ready = True
                on_ready()
            if forwarded and time.monotonic() - forwarded[0] > grace_s:
                os.killpg(child.pid, signal.SIGKILL)
            time.sleep(POLL_S)
        return 0 if forwarded else child.returncode
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def local_url(host: str, port: int) -> str:
    """Return where a browser on this machine finds the service."""
    name = reachable(host)
    return f"http://{f'[{name}]' if ':' in name else name}:{port}"


def reachable(host: str) -> str:
    """Return the host to connect to for a host to listen on."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)


def _is_ready(host: str, port: int) -> bool:
    # Not urllib: it would ask the proxy that the environment names.
    connection = http.client.HTTPConnection(reachable(host), port, timeout=2.0)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
