"""Measures cold rankings: the first one after a start, and later ones of products that nothing holds.

    python -m benchmarks.cold [--profile light trees deep ids] [--starts 15]

With each profile, this project is started again and again, all four ways at once: the runner beside the API worker and
in it, the model whole and split. Each, by turns, ranks separate lists of 100 products, one after the other. CPU is that
of all processes from the request to its answer; unlike the time, it hardly depends on what else the machine does.
Printed are medians over the starts with quartiles in brackets (of later requests, over each start's median), and the
ratio split to whole of starts of one turn. Linux only.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

from benchmarks.harness.asking import asking
from benchmarks.harness.contender import CONTENDERS, WHOLE
from benchmarks.harness.processes import Running, end_when_told, running
from benchmarks.harness.surroundings import Surroundings, prepared
from benchmarks.profiles.profile import PROFILES
from benchmarks.reporting import tables

RUNNERS = ("service", "local")
LISTS = 25
PAUSE_S = 0.005
"""Seconds from an answer to the next request, in which what it left to be done is done."""
HEAD = ("profile, runner", "request", "whole, ms", "split, ms", "whole, CPU ms", "split, CPU ms", "CPU, split to whole")


class Cost(NamedTuple):
    """Cost of one request: its time until the answer, and the CPU meanwhile, in milliseconds."""

    ms: float
    cpu_ms: float


Starts = Mapping[str, Sequence[Sequence[Cost]]]
"""The requests of each start, by contender."""


def main() -> None:
    """Print a table for each profile."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", nargs="+", choices=PROFILES, default=list(PROFILES))
    parser.add_argument("--starts", type=int, default=15, help="of each runner, whole and split (%(default)s)")
    arguments = parser.parse_args()
    for name in arguments.profile:
        with prepared(PROFILES[name]) as around:
            print(make_table(name, measure(around, arguments.starts)), flush=True)


def measure(around: Surroundings, starts: int) -> Starts:
    """Start all contenders together so many times; whole and split take turns at being asked first."""
    names = [f"ranker-{runner}{whole}" for runner in RUNNERS for whole in (WHOLE, "")]
    found: dict[str, list[list[Cost]]] = {name: [] for name in names}
    around.bodies()  # of which each start asks for one, until it is ready
    for turn in range(starts):
        with started_together(names, around) as started:
            for name in names if turn % 2 else names[::-1]:
                found[name].append(rank(started[name], around.separate_bodies()[:LISTS]))
    return found


@contextmanager
def started_together(names: Sequence[str], around: Surroundings) -> Iterator[Mapping[str, Running]]:
    """Have contenders run, ready, within the block."""
    with ThreadPoolExecutor() as pool:
        contexts = {name: running(CONTENDERS[name], around) for name in names}
        begun = {name: pool.submit(context.__enter__) for name, context in contexts.items()}
        try:
            yield {name: one.result() for name, one in begun.items()}
        finally:
            for name, one in begun.items():
                if one.exception() is None:
                    pool.submit(contexts[name].__exit__, None, None, None)


def rank(started: Running, bodies: Sequence[bytes]) -> list[Cost]:
    """Ask for rankings one after the other."""
    pids, costs = [process.pid for process in started.tree()], []
    with asking(started) as timed:
        for body in bodies:
            time.sleep(PAUSE_S)
            used = cpu_ms(pids)
            ms = 1e3 * timed(body)
            costs.append(Cost(ms, cpu_ms(pids) - used))
    return costs


def cpu_ms(pids: Sequence[int]) -> float:
    """Return the milliseconds of CPU that all threads of processes have used, to the nanosecond."""
    used = 0
    for pid in pids:
        for file in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            with suppress(OSError):  # a thread has ended
                used += int(file.read_text().split()[0])
    return used / 1e6


def make_table(profile: str, found: Starts) -> str:
    """Return a Markdown table: for each runner a line of the first request, and one of the later ones."""
    lines = []
    for runner in RUNNERS:
        whole, split = found[f"ranker-{runner}{WHOLE}"], found[f"ranker-{runner}"]
        for request, of in {"first": _first, "later": _later}.items():
            one, other = [of(costs) for costs in whole], [of(costs) for costs in split]
            times = [spread([cost.ms for cost in one]), spread([cost.ms for cost in other])]
            cpu = [spread([cost.cpu_ms for cost in one]), spread([cost.cpu_ms for cost in other])]
            ratio = spread([b.cpu_ms / a.cpu_ms for a, b in zip(one, other, strict=True)])
            lines.append([f"{profile}, {runner}", request, *times, *cpu, ratio])
    return tables.table(HEAD, lines)


def spread(values: Sequence[float]) -> str:
    """Return the median of at least two values, and their quartiles."""
    low, middle, high = quantiles(values, n=4)
    return f"{middle:.2f} ({low:.2f}-{high:.2f})"


def _first(costs: Sequence[Cost]) -> Cost:
    return costs[0]


def _later(costs: Sequence[Cost]) -> Cost:
    return Cost(median(one.ms for one in costs[1:]), median(one.cpu_ms for one in costs[1:]))


if __name__ == "__main__":
    end_when_told()
    main()
