"""`/metrics` over the files of processes that live and died; prometheus_client's own collector is the oracle."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.parser import text_string_to_metric_families

from ranker.http.pages.scrape import SHARE, Scrape
from ranker.telemetry.metrics.dead import NOBODY, merge_dead
from ranker.telemetry.metrics.exposition import Exposition
from tests.support.sample import run

WRITE = """
import os, sys
from prometheus_client import Counter, Gauge, Histogram, Summary
n = int(sys.argv[1])
counter = Counter("asked", 'What was "asked"\\nor not \\\\', ["who"])
counter.labels('a "b"\\n\\\\c').inc(n)
counter.labels(f"caller {n}").inc(2 ** 40 + 0.25)
seconds = Histogram("took_seconds", "Took.", ["way"], buckets=(0.001, 0.5, 1, 2.5, 1e6))
for value in (0.0005, 0.4, 0.4, 1.7, 3, 1e9):
    seconds.labels(f"way {n % 2}").observe(value * n)
Histogram("plain", "No labels.").observe(n)
Histogram("never", "Nothing was observed.", ["way"])
Summary("size", "Size.").observe(n)
for mode in ("all", "liveall", "min", "livemin", "max", "livemax", "sum", "livesum"):
    Gauge(f"now_{mode}", "Now.", ["what"], multiprocess_mode=mode).labels("x").set(n - 2.5)
print(os.getpid())
"""


def write(folder: Path, number: int) -> int:
    """Have a process write one of each kind, and end; return its id."""
    env = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", WRITE, str(number)], env=env, capture_output=True, text=True, check=True, timeout=60
    )
    return int(done.stdout)


def families(text: bytes) -> dict[str, tuple[Any, ...]]:
    """What a scraper reads, without order."""

    def read(family: Metric) -> tuple[Any, ...]:
        samples = {(s.name, *sorted(s.labels.items())): s.value for s in family.samples}
        assert len(samples) == len(family.samples)
        return family.type, family.documentation, samples

    return {family.name: read(family) for family in text_string_to_metric_families(text.decode())}


def oracle(folder: Path) -> dict[str, tuple[Any, ...]]:
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))
    return families(generate_latest(registry))


def counted(folder: Path) -> dict[str, tuple[Any, ...]]:
    """The kinds that only grow."""
    return {name: family for name, family in families(Exposition(folder).render()).items() if family[0] != "gauge"}


def test_shows_what_prometheus_client_shows_whoever_comes(tmp_path: Path) -> None:
    exposition = Exposition(tmp_path)
    assert exposition.render() == b""
    for number in (1, 2, 5):
        write(tmp_path, number)
        assert families(exposition.render()) == oracle(tmp_path)
    assert families(exposition.render())["took_seconds"][2]["took_seconds_count", ("way", "way 1")] == 12


def test_values_that_change_are_read_again(tmp_path: Path) -> None:
    exposition = Exposition(tmp_path)
    write(tmp_path, 1)
    exposition.render()
    for path in tmp_path.glob("*.db"):
        values = MmapedDict(str(path))
        for number, (key, value, _) in enumerate(list(values.read_all_values())):
            values.write_value(key, value + number, 0.0)
        values.close()
    assert families(exposition.render()) == oracle(tmp_path)


def test_series_are_gone_with_their_file(tmp_path: Path) -> None:
    exposition = Exposition(tmp_path)
    write(tmp_path, 1)
    exposition.render()
    for path in tmp_path.glob("gauge_*.db"):
        path.unlink()
    assert families(exposition.render()) == oracle(tmp_path)


def test_file_that_was_just_made_holds_nothing(tmp_path: Path) -> None:
    write(tmp_path, 1)
    before = Exposition(tmp_path).render()
    (tmp_path / "counter_99999.db").touch()  # a process that was killed before it wrote
    assert Exposition(tmp_path).render() == before
    merge_dead(tmp_path, [])
    assert not (tmp_path / "counter_99999.db").exists()


def test_the_dead_are_counted_in_one_file_and_no_total_changes(tmp_path: Path) -> None:
    living = write(tmp_path, 3)
    write(tmp_path, 2)
    before, exposition = counted(tmp_path), Exposition(tmp_path)
    exposition.render()
    merge_dead(tmp_path, [living])
    assert counted(tmp_path) == before
    assert families(exposition.render()) == families(Exposition(tmp_path).render()) == oracle(tmp_path)
    for number in (4, 5, 6):
        write(tmp_path, number)
        before = counted(tmp_path)
        merge_dead(tmp_path, [living])
        assert counted(tmp_path) == before
    speaking_for_the_dead = ("gauge_min", "gauge_max", "gauge_sum")
    files = [path for path in tmp_path.glob("*.db") if not path.name.startswith(speaking_for_the_dead)]
    assert {int(path.stem.rpartition("_")[2]) for path in files} == {living, NOBODY}
    assert len([path for path in files if path.stem.endswith(f"_{NOBODY}")]) == 3  # counter, histogram, summary


def test_gauges_of_the_dead_are_gone(tmp_path: Path) -> None:
    write(tmp_path, 2)
    living = write(tmp_path, 3)
    merge_dead(tmp_path, [living])
    shown = families(Exposition(tmp_path).render())
    assert shown["now_livesum"][2] == {("now_livesum", ("what", "x")): 0.5}
    assert shown["now_liveall"][2] == {("now_liveall", ("pid", str(living)), ("what", "x")): 0.5}


def until(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_a_scrape_beside_a_burial_sees_each_count_once(tmp_path: Path) -> None:
    for number in range(1, 7):
        write(tmp_path, number)
    before, seen, ended = counted(tmp_path), [], threading.Event()

    def scrape() -> None:
        exposition = Exposition(tmp_path)
        while not ended.is_set():
            seen.append(exposition.render())

    thread = threading.Thread(target=scrape)
    thread.start()
    until(lambda: bool(seen))
    pids = sorted(int(path.stem.split("_")[1]) for path in tmp_path.glob("counter_*.db"))
    for i in range(len(pids)):
        merge_dead(tmp_path, pids[i + 1 :])
    scraped = len(seen)
    until(lambda: len(seen) > scraped)
    ended.set()
    thread.join(30)
    for text in seen:
        assert {name: family for name, family in families(text).items() if family[0] != "gauge"} == before


def test_a_file_that_goes_while_the_dead_are_buried_is_no_error(tmp_path: Path) -> None:
    """A service that ends removes its folder; a dangling link is listed like a file, and gone like one when read."""
    (tmp_path / "counter_99999.db").symlink_to(tmp_path / "gone")
    merge_dead(tmp_path, [])


class Slow:
    """A page that takes its time, and says how often it was made."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.flushed = self.made = 0

    def flush(self) -> None:
        self.flushed += 1

    def render(self) -> bytes:
        time.sleep(self._seconds)
        self.made += 1
        return b"%d" % self.flushed


async def ask(scrape: Scrape) -> bytes:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await scrape({}, None, send)  # type: ignore[arg-type]  # it has no use for what a caller sends
    assert sent[0]["status"] == 200
    body: bytes = sent[1]["body"]
    return body


def test_many_who_ask_at_once_share_one_rendering() -> None:
    async def test() -> None:
        page = Slow(0.0)
        scrape = Scrape(page, page.flush)
        assert await asyncio.gather(*(ask(scrape) for _ in range(50))) == [b"1"] * 50
        assert page.made == 1

    run(test)


def test_scrapers_in_a_loop_leave_the_event_loop_to_others() -> None:
    async def test() -> None:
        page = Slow(0.002)
        scrape = Scrape(page, page.flush)
        began = time.perf_counter()

        async def scraper() -> None:
            while time.perf_counter() - began < 0.5:
                await ask(scrape)

        await asyncio.gather(*(scraper() for _ in range(3)))
        assert page.made >= 2
        assert page.made * 0.002 <= SHARE * (time.perf_counter() - began) + 2 * 0.002

    run(test)


def test_what_was_written_before_a_scrape_is_in_it_whoever_else_asks() -> None:
    async def test() -> None:
        page = Slow(0.001)
        scrape = Scrape(page, page.flush)
        for _ in range(5):
            others = [asyncio.create_task(ask(scrape)) for _ in range(3)]
            await asyncio.sleep(0)
            before = page.flushed
            assert int(await ask(scrape)) > before
            await asyncio.gather(*others)

    run(test)


def test_scraper_who_hangs_up_takes_nobody_elses_answer() -> None:
    async def test() -> None:
        page = Slow(0.001)
        scrape = Scrape(page, page.flush)
        await ask(scrape)
        gone, there = asyncio.create_task(ask(scrape)), asyncio.create_task(ask(scrape))
        await asyncio.sleep(0)
        gone.cancel()
        assert await there == b"2"
        with pytest.raises(asyncio.CancelledError):
            await gone

    run(test)
