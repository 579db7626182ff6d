"""Random faults under a constant load against a really served service, and a report.

Serves as `bentoml serve` does, with two API workers, a runner and a user of Redis that may only read; all of Redis'
traffic passes a proxy. Ends with a status other than 0 when a ranking was wrong, or staler than promised, a request
hung, was lost or failed, or a trouble's effects outlasted the watch: answers that are not full, or a worker that keeps
no rows, does not listen to the server that serves, or is not ready.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlencode

import psutil

from tests.faults.chaos import report as reports
from tests.faults.chaos.load import Load
from tests.faults.chaos.pair import PASSWORD, USER, Pair
from tests.faults.chaos.report import Conditions, Strike
from tests.faults.chaos.troubles import ALL, ON_TLS, Scene, Trouble, processes
from tests.faults.chaos.truth import STALE_S, Truth
from tests.faults.chaos.whole import Workers
from tests.service.conftest import ONNX, PRODUCTS, SCHEMA, USERS, environment, import_model, serve
from tests.support.proxy import FaultProxy
from tests.support.tls import Authority

RATE = 200.0
LIST = 20
"""Products of a request."""
WRITES_PER_S = 50.0
WORKERS = 2
DEADLINE_S = 1.0
STEADY_S = 1.5
"""Recovered is who answers everything in full for so long."""
PATIENCE_S = 30.0
"""How long to wait for that, and for workers that are whole."""
REPLACED_S = 60.0
"""How long new workers may take to be whole."""


async def chaos(
    directory: Path,
    seconds: float,
    troubles: Mapping[str, Trouble],
    *,
    seed: int,
    longest_s: float,
    settle_s: float,
    slack_s: float = 1.0,
    stale_s: float = STALE_S,
    patience_s: float = PATIENCE_S,
    tls: bool = False,
    info: bool = False,
) -> dict[str, Any]:
    """Serve, load, strike until the time is up, and report.

    Args:
        directory: For everything that the processes need; its path must be short.
        seconds: How long to strike; longer where not every trouble has struck by then.
        troubles: What may happen.
        seed: Of everything random.
        longest_s: The longest a trouble lasts; the shortest is a third of it.
        settle_s: The calm before the first.
        slack_s: A request that takes longer than the deadline and this hung.
        stale_s: Rows may be so old.
        patience_s: How long to wait for full answers, and for workers that are whole, after each trouble.
        tls: Whether the service speaks TLS.
        info: Whether its user may ask a server who it is.
    """
    random = Random(seed)
    pair = Pair(directory, *(["+info"] if info else []))
    authority = Authority.make(directory / "tls", "127.0.0.1") if tls else None
    context = authority.server_context() if authority is not None else None
    pair.start()
    try:
        truth = Truth(pair, random)
        truth.stock()
        tag = await asyncio.to_thread(import_model, directory, ONNX, SCHEMA, "chaos-shop")
        async with FaultProxy(pair.serving.socket, context) as proxy:
            settings = {
                "RANKER_REDIS_URL": redis_url(proxy, authority),
                "RANKER_MODEL": tag,
                "RANKER_WORKERS": str(WORKERS),
            }
            async with under_load(directory, settings, truth, random) as trial:
                await asyncio.sleep(settle_s)
                memory_start = memory_mb(trial.service)
                scene = Scene(pair, proxy, trial.service, random, authority)
                workers = Workers(trial.url, trial.service, WORKERS, pair)
                strikes = await _strike(scene, workers, trial.load, troubles, seconds, longest_s, patience_s)
    finally:
        pair.kill()
    hang_s = DEADLINE_S + slack_s
    conditions = Conditions(seed, RATE, DEADLINE_S, hang_s, stale_s, LIST, memory_start, trial.memory_end, tls, info)
    return await asyncio.to_thread(reports.summarize, trial.load.outcomes, strikes, truth, conditions, scene.kills)


def redis_url(proxy: FaultProxy, authority: Authority | None) -> str:
    """Return what the service is told."""
    options = "" if authority is None else f"?{urlencode(authority.trusted)}"
    return proxy.url.replace("://", f"://{USER}:{PASSWORD}@") + options


@dataclass
class Trial:
    """A service that is asked, and whose features are rewritten.

    Attributes:
        load: What asks.
        url: The service's.
        service: The process id of `bentoml serve`.
        memory_end: What its processes held when the last request had been answered, in MB.
    """

    load: Load
    url: str
    service: int
    memory_end: dict[str, float] = field(default_factory=dict)


@contextlib.asynccontextmanager
async def under_load(
    directory: Path, settings: dict[str, str], truth: Truth, random: Random, rate: float = RATE
) -> AsyncIterator[Trial]:
    """Serve, and send requests and writes until the block ends; then wait for the answers that are due."""
    settings = {"RANKER_DEADLINE_MS": f"{DEADLINE_S * 1000:g}", **settings}
    serving = serve(environment(directory, **settings), directory / "log")
    served = await asyncio.to_thread(serving.__enter__)
    try:
        load = Load(served.url, rate, lambda: (random.randrange(USERS), tuple(random.sample(range(PRODUCTS), LIST))))
        stop = asyncio.Event()
        sending = asyncio.create_task(load.run(stop))
        writing = asyncio.create_task(truth.keep_writing(WRITES_PER_S))
        trial = Trial(load, served.url, served.process.pid)
        try:
            yield trial
        finally:
            stop.set()
            await sending
            writing.cancel()
        trial.memory_end = memory_mb(served.process.pid)
    finally:
        await asyncio.to_thread(serving.__exit__, None, None, None)


async def _strike(
    scene: Scene,
    workers: Workers,
    load: Load,
    troubles: Mapping[str, Trouble],
    seconds: float,
    longest_s: float,
    patience_s: float,
) -> list[Strike]:
    strikes: list[Strike] = []
    waiting: list[str] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end or len(strikes) < len(troubles):
        if not waiting:
            waiting = scene.random.sample(list(troubles), len(troubles))
        name = waiting.pop()
        began = time.monotonic()
        async with troubles[name](scene):
            await asyncio.sleep(longest_s * scene.random.uniform(1 / 3, 1))
        healed = time.monotonic()
        await recovered(load, healed, patience_s)
        await asyncio.sleep(scene.random.uniform(0, 0.5))
        watched_until = time.monotonic()
        missing = await workers.whole(patience_s)
        strikes.append(Strike(name, began, healed, watched_until, missing))
        print(f"{name}: {healed - began:.1f} s, then watched {time.monotonic() - healed:.1f} s", file=sys.stderr)
        if missing:
            print("  not whole: " + ", ".join(missing), file=sys.stderr)
            # Or the next troubles would meet what this one left.
            scene.kills += [at async for at in workers.replaced(REPLACED_S)]
    return strikes


async def recovered(load: Load, healed: float, patience_s: float = PATIENCE_S) -> None:
    """Wait until everything that was asked for a while is answered, and in full."""
    while time.monotonic() < healed + patience_s:
        await asyncio.sleep(0.1)
        now = time.monotonic()
        recent = [o for o in load.outcomes[-int(RATE * STEADY_S * 2) :] if o.intended > now - STEADY_S]
        # The newest may be under way.
        if now > healed + STEADY_S and all(o.full for o in recent if o.ended or now - o.intended > 0.2):
            return


def memory_mb(supervisor: int) -> dict[str, float]:
    """Return the resident memory of each service; of its largest process where it has several."""
    found = {"supervisor": psutil.Process(supervisor).memory_info().rss}
    for name, process in processes(supervisor):
        found[name] = max(found.get(name, 0), process.memory_info().rss)
    return {name: round(size / 1e6, 1) for name, size in found.items()}


def main() -> None:
    """Run, print and write the report."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # or what was started would be left behind
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    for name, said in (("tls", "speak TLS with Redis"), ("info", "let the service ask a server who it is")):
        option = argparse.BooleanOptionalAction
        parser.add_argument(f"--{name}", action=option, help=f"{said}; by default, the seed decides")
    parser.add_argument("--report", type=Path, default=Path(".ranker/chaos"), help="the directory to write to")
    arguments = parser.parse_args()
    coin = Random(arguments.seed)
    tls, info = (coin.random() < 0.5 if said is None else said for said in (arguments.tls, arguments.info))
    troubles = {**ALL, **(ON_TLS if tls else {})}
    with tempfile.TemporaryDirectory(prefix="ranker-", dir="/tmp") as directory:
        running = chaos(
            Path(directory),
            arguments.minutes * 60,
            troubles,
            seed=arguments.seed,
            longest_s=4.0,
            settle_s=5.0,
            tls=tls,
            info=info,
        )
        report = asyncio.run(running)
        reports.write(report, arguments.report)
        shutil.copy(Path(directory) / "log", arguments.report / "service.log")
    print(reports.render(report))
    sys.exit(bool(reports.failures(report)))


if __name__ == "__main__":
    main()
