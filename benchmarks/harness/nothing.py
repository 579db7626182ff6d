"""Null service: does nothing, to measure load generators by themselves."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.harness.processes import ask
from ranker.demo.ports import free_port

ANSWER_BYTES = 4_500
"""As a ranking of 100 products has."""
START_TIMEOUT_S = 30.0
POLL_S = 0.1
APP = """
BODY = b"x" * {size}
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"{size}"), (b"x-ranker-model", b"{model}")]

async def app(scope, receive, send):
    if scope["type"] == "http":
        while (await receive()).get("more_body"):
            pass
        await send({{"type": "http.response.start", "status": 200, "headers": HEADERS}})
        await send({{"type": "http.response.body", "body": BODY}})
"""


@contextmanager
def nothing(model: str = "nothing:1") -> Iterator[int]:
    """Serve it until the block ends, as if it had a model of that tag; give the port.

    Raises:
        TimeoutError: it does not answer.
    """
    with tempfile.TemporaryDirectory(prefix="rb-", dir="/tmp") as name:
        (Path(name) / "nothing.py").write_text(APP.format(size=ANSWER_BYTES, model=model))
        port = free_port()
        serve = [sys.executable, "-m", "uvicorn", "nothing:app", "--host", "127.0.0.1", "--port", str(port)]
        service = subprocess.Popen([*serve, "--no-access-log", "--log-level", "warning"], cwd=name)
        try:
            _wait(port)
            yield port
        finally:
            service.kill()
            service.wait()


def _wait(port: int) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            ask(port, "POST", "/predict", b"{}")
            return
        except OSError:
            time.sleep(POLL_S)
    raise TimeoutError(f"the service that does nothing does not answer on port {port}")
