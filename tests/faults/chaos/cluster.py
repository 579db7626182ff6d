"""A Cluster that is resharded, loses a primary and gets it back, under a constant load against a served service.

Three primaries with a replica each on this machine, `cluster-node-timeout` 2 s. Slots move in all three directions
before the primary is killed (`kill -9`), and to and from its successor once it is back as a replica. Ends with a status
other than 0 when a ranking was wrong or stale, a request hung, was lost or failed, or an answer outside the failover
window was not full: that window is from the kill until every living node serves all slots again, and `GRACE_S` for the
service to notice.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Literal

from ranker.redis.hash_slots import key_slot
from tests.faults.chaos import report as reports
from tests.faults.chaos.load import Load, Outcome
from tests.faults.chaos.pair import PASSWORD, RULES, USER
from tests.faults.chaos.report import Conditions, Strike
from tests.faults.chaos.run import DEADLINE_S, LIST, RATE, memory_mb, recovered, under_load
from tests.faults.chaos.truth import STALE_S, Truth
from tests.service.conftest import ONNX, PRODUCTS, SCHEMA, USERS, import_model
from tests.support.cluster import NODE_TIMEOUT_MS, Shards

Shape = Literal["service", "local"]
CLUSTER_RULES = (*RULES, "+cluster|info", "+cluster|slots", "+asking")
GRACE_S = 1.0
"""Probes are 0.4 s apart at most, and the nodes are asked who owns what every 0.1 s in trouble."""


@dataclass(frozen=True)
class Plan:
    """What happens, and how long it takes.

    Attributes:
        rate: Requests a second.
        slots: With keys in them, that move from one primary to another each time.
        pause_s: Before each key of a slot moves, and before the slot does: so long it is in two places.
        returns: Whether the primary that was killed comes back, and slots move once more.
        whole_s: The least time from the first request to the last.
    """

    rate: float
    slots: int
    pause_s: float
    returns: bool
    whole_s: float


FULL = Plan(rate=RATE, slots=60, pause_s=0.02, returns=True, whole_s=60.0)
CALM_S = 0.5


async def trial(
    directory: Path, plan: Plan, shape: Shape, seed: int, hang_s: float, stale_s: float = STALE_S
) -> dict[str, Any]:
    """Serve, load, reshard, kill, bring back, reshard again, and report.

    Args:
        directory: For everything that the processes need; its path must be short.
        plan: What happens.
        shape: Where scoring happens.
        seed: Of everything random.
        hang_s: A request that takes longer hung.
        stale_s: Rows may be so old.
    """
    random = Random(seed)
    shards = Shards(directory)
    try:
        importing = asyncio.create_task(asyncio.to_thread(import_model, directory, ONNX, SCHEMA, "chaos-shop"))
        await asyncio.to_thread(shards.start)
        shards.allow(USER, CLUSTER_RULES)
        truth = Truth(shards, random)
        await asyncio.to_thread(truth.stock)
        settings = {
            "RANKER_REDIS_URL": shards.url.replace("://", f"://{USER}:{PASSWORD}@"),
            "RANKER_MODEL": await importing,
            "RANKER_RUNNER": shape,
        }
        async with under_load(directory, settings, truth, random, plan.rate) as running:
            began = time.monotonic()
            memory_start = memory_mb(running.service)
            events = Events(shards, running.load, plan, random)
            await events.happen()
            await asyncio.sleep(began + plan.whole_s - time.monotonic())
        redirections = shards.redirections_of_reads()
    finally:
        shards.stop()
    conditions = Conditions(seed, plan.rate, DEADLINE_S, hang_s, stale_s, LIST, memory_start, running.memory_end)
    outcomes = running.load.outcomes
    report = await asyncio.to_thread(reports.summarize, outcomes, events.strikes, truth, conditions)
    return report | {
        "shape": shape,
        "node_timeout_ms": NODE_TIMEOUT_MS,
        "slots_moved": events.moved,
        "redirections": redirections,
        "failover": failover(outcomes, events.killed, events.served_again),
    }


class Events:
    """What happens to the Cluster, in order, and when."""

    def __init__(self, shards: Shards, load: Load, plan: Plan, random: Random) -> None:
        self._shards = shards
        self._load = load
        self._plan = plan
        self._random = random
        keys = [f"user:{i}" for i in range(USERS)] + [f"product:{i}" for i in range(PRODUCTS)]
        self._stocked = set(map(key_slot, keys))
        self.strikes: list[Strike] = []
        self.moved = 0
        self.killed = self.served_again = 0.0

    async def happen(self) -> None:
        shards = self._shards
        await asyncio.sleep(CALM_S)
        await self._reshard((0, 1), (1, 2), (2, 0))
        victim = self._random.choice(shards.primaries)
        self.killed = time.monotonic()
        shards.kill(victim)
        successor = await asyncio.to_thread(shards.wait_for_failover, victim)
        self.served_again = time.monotonic()
        await self._note("primary killed", self.killed)
        if not self._plan.returns:
            return
        began = time.monotonic()
        await asyncio.to_thread(shards.bring_back, victim)
        shards.allow(USER, CLUSTER_RULES, victim)
        await self._note("it returns as a replica", began)
        other = self._random.choice([node for node in shards.primaries if node != successor])
        await self._reshard((other, successor), (successor, other))

    async def _reshard(self, *ways: tuple[int, int]) -> None:
        """Move slots of one node to another, for each pair of them."""
        began = time.monotonic()
        for source, target in ways:
            slots = [slot for slot in self._shards.slots_of(source) if slot in self._stocked]
            for slot in self._random.sample(slots, self._plan.slots):
                await asyncio.to_thread(self._shards.move, slot, target, self._plan.pause_s)
            self.moved += self._plan.slots
        await self._note("slots move", began)

    async def _note(self, name: str, began: float) -> None:
        """Write down what is over, once answers are full again, and were for some time."""
        over = time.monotonic()
        await recovered(self._load, over)
        self.strikes.append(Strike(name, began, over, time.monotonic()))
        print(f"{name}: {over - began:.1f} s", file=sys.stderr)


def failover(outcomes: list[Outcome], killed: float, served_again: float) -> dict[str, Any]:
    """Return how long slots were without a primary, and which answers were not full when.

    A request is judged by its whole life: what was under way when the primary died is within the window.
    """
    not_full = [o for o in outcomes if not o.full]
    outside = [o for o in not_full if o.ended < killed or o.intended > served_again + GRACE_S]
    seconds = Counter(int((o.intended - killed) // 1) for o in not_full)
    return {
        "without_primary_s": served_again - killed,
        "window_s": served_again - killed + GRACE_S,
        "not_full": len(not_full),
        "not_full_first_s": min((o.intended - killed for o in not_full), default=None),
        "not_full_last_s": max((o.intended - killed for o in not_full), default=None),
        "not_full_by_second": dict(sorted(seconds.items())),
        "not_full_outside": len(outside),
        "outside_examples": [
            {"kind": o.kind, "intended_s": o.intended - killed, "took_s": o.took_s} for o in outside[:5]
        ],
    }


def render(report: dict[str, Any]) -> str:
    """Write a report for reading."""
    gone = report["failover"]
    lines = [
        f"{report['shape']}: {report['slots_moved']} slots with keys moved, redirections {report['redirections']}",
        f"primary killed: no node for its slots for {gone['without_primary_s']:.2f} s (cluster-node-timeout "
        f"{report['node_timeout_ms']} ms); window {gone['window_s']:.2f} s",
        f"answers that were not full: {gone['not_full']}, by second since the kill {gone['not_full_by_second']}, "
        f"outside the window {gone['not_full_outside']} {gone['outside_examples'] or ''}",
    ]
    if gone["not_full"]:
        lines.append(f"first {gone['not_full_first_s']:.2f} s, last {gone['not_full_last_s']:.2f} s after the kill")
    return reports.render(report) + "\n".join(lines) + "\n"


def main() -> None:
    """Run in both shapes, print and write the reports."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", nargs="+", choices=("service", "local"), default=["service", "local"])
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--report", type=Path, default=Path(".ranker/chaos"), help="the directory to write to")
    arguments = parser.parse_args()
    failed = False
    for shape in arguments.shapes:
        folder = arguments.report / f"cluster-{shape}"
        with tempfile.TemporaryDirectory(prefix="ranker-", dir="/tmp") as directory:
            report = asyncio.run(trial(Path(directory), FULL, shape, arguments.seed, hang_s=DEADLINE_S + 1.0))
            reports.write(report, folder)
            shutil.copy(Path(directory) / "log", folder / "service.log")
        print(render(report))
        failed |= bool(reports.failures(report) or report["failover"]["not_full_outside"])
    sys.exit(failed)


if __name__ == "__main__":
    main()
