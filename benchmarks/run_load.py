"""`make load`: locust's own limit first, then a constant rate against a served ranker; a report and a verdict.

    python -m benchmarks.run_load [--host 127.0.0.1] [--port 3000] [--rate 300] [--seconds 60] [locust's options]

Where nothing answers on this machine, the example shop is served for the run, on a free port. Exit code: 0 when the
thresholds of `locustfile.py` held, 1 when not or when there is nothing to load.
"""

from __future__ import annotations

import argparse
import ipaddress
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.harness.nothing import nothing
from benchmarks.harness.surroundings import PROJECT
from ranker.demo.ports import free_port
from ranker.errors import LoadTestError, TargetUnreachable
from ranker.loadtest.target import Target

REPORT = PROJECT / "reports" / "load.html"
RATE_PER_USER = 10.0
LIMIT_USERS, LIMIT_RAMP, LIMIT_S = 500, 10, 30
"""Up to 5,000 requests a second, 100 more each second, for so long at most."""
START_TIMEOUT_S = 300.0
"""The first start of the shop trains its model."""
STOP_TIMEOUT_S = 60.0
POLL_S = 0.2


def main() -> int:
    """Load, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=3000)
    parser.add_argument("--rate", type=float, default=300.0)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--report", type=Path, default=REPORT)
    parser.add_argument("--token-env", help="Environment variable whose value is sent as a bearer token.")
    options, for_locust = parser.parse_known_args()
    token = os.environ.get(options.token_env) if options.token_env else None
    if options.token_env:
        if not token:
            parser.error(f"The environment variable {options.token_env} is not set.")
        for_locust += ["--token-env", options.token_env]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that what was started is stopped
    try:
        with ExitStack() as stack:
            target = Target.parse(f"http://{_bracketed(options.host)}:{options.port}", token)
            try:
                model = target.probe()
            except TargetUnreachable:
                if not _is_local(options.host):
                    raise
                print(f"Nothing answers at {target.url}, so the example shop is served for this run.", flush=True)
                target = stack.enter_context(_shop())
                model = target.probe()
            limit = find_limit(model, for_locust)
            print(f"locust alone manages {limit:.0f} requests a second on this machine.", flush=True)
            return run(target.url, options.rate, options.seconds, options.report, limit, for_locust)
    except LoadTestError as err:
        print(f"Error: {err}", file=sys.stderr)
        return 1


def find_limit(model: str, for_locust: Sequence[str]) -> float:
    """Return how many of the same requests a second locust manages against a service that does nothing.

    Raises:
        RuntimeError: locust ended without saying.
    """
    with nothing(model) as port:
        command = [*_locust(f"http://127.0.0.1:{port}", LIMIT_USERS, LIMIT_RAMP, LIMIT_S), *for_locust]
        done = subprocess.run([*command, "--find-limit"], cwd=PROJECT, capture_output=True, text=True, check=False)
    if found := re.search(r"^limit: (\d+)", done.stdout, re.MULTILINE):
        return float(found[1])
    raise RuntimeError(f"locust ended with {done.returncode}: {(done.stderr or done.stdout)[-1000:]}")


def run(url: str, rate: float, seconds: int, report: Path, limit: float, for_locust: Sequence[str]) -> int:
    """Load a service, write the report, and return locust's exit code."""
    users = max(round(rate / RATE_PER_USER), 1)
    report.parent.mkdir(parents=True, exist_ok=True)
    command = [*_locust(url, users, users, seconds), "--rate-per-user", f"{rate / users:g}"]
    command += ["--own-limit", f"{limit:g}", "--html", str(report), *for_locust]
    print(f"Sending {rate:g} requests a second to {url} for {seconds} s.", flush=True)
    code = subprocess.run([*command, "--skip-log-setup"], cwd=PROJECT, check=False).returncode
    if report.exists():
        print(f"Report: {report}")
    return code


def _locust(url: str, users: int, ramp: int, seconds: int) -> list[str]:
    command = [sys.executable, "-m", "locust", "--headless", "--only-summary", "--host", url, "--users", str(users)]
    return [*command, "--spawn-rate", str(ramp), "--run-time", f"{seconds}s"]


@contextmanager
def _shop() -> Iterator[Target]:
    """Serve the example shop on a free port until the block ends."""
    port = free_port()
    target = Target.parse(f"http://127.0.0.1:{port}")
    command = [sys.executable, "-m", "ranker", "demo", "--serve", "--port", str(port)]
    with tempfile.TemporaryFile("w+") as log:
        service = subprocess.Popen(command, cwd=PROJECT, stdout=log, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + START_TIMEOUT_S
            while True:
                try:
                    target.probe()
                    break
                except LoadTestError as err:
                    if service.poll() is not None or time.monotonic() > deadline:
                        log.seek(0)
                        raise TargetUnreachable(target.url, f"the shop did not start: {log.read()[-1000:]}") from err
                time.sleep(POLL_S)
            yield target
        finally:
            service.send_signal(signal.SIGTERM)
            try:
                service.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                service.kill()
                service.wait()


def _is_local(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


if __name__ == "__main__":
    sys.exit(main())
