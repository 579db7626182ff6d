"""Who of BentoML's processes has died, whoever notices it first."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from circus.process import Process
from circus.watcher import Watcher

from ranker.process.supervision import Processes


@contextmanager
def running(*numbers: int) -> Iterator[Watcher]:
    """A watcher of processes that do nothing."""
    watcher = Watcher("sleepers", sys.executable)
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    for number in numbers:
        process = Process(
            "sleeper", number, sleep[0], args=sleep[1:], watcher=watcher, pipe_stdout=False, pipe_stderr=False
        )
        watcher.processes[process.pid] = process
    processes = list(watcher.processes.values())
    try:
        yield watcher
    finally:
        for process in processes:
            process.stop()
            process.wait(10)


def ended(processes: Processes, watcher: Watcher) -> list[int]:
    return [process.wid for _, process in processes.find_ended([watcher])]


def kill(process: Process) -> None:
    process._worker.kill()
    assert process._worker.wait() != 0


def test_a_dead_process_is_told_of_while_it_is_listed() -> None:
    with running(1, 2) as watcher:
        processes = Processes()
        assert ended(processes, watcher) == []
        first = next(iter(watcher.processes.values()))
        kill(first)
        assert ended(processes, watcher) == [1]
        assert ended(processes, watcher) == [1]
        del watcher.processes[first.pid]  # it was replaced
        assert ended(processes, watcher) == []


def test_a_dead_process_that_was_taken_off_the_list_is_told_of_once() -> None:
    with running(1, 2) as watcher:
        processes = Processes()
        assert ended(processes, watcher) == []
        first = next(iter(watcher.processes.values()))
        kill(first)
        del watcher.processes[first.pid]
        assert ended(processes, watcher) == [1]
        assert ended(processes, watcher) == []


@pytest.mark.parametrize("listed", [True, False])
def test_a_process_that_was_told_to_end_did_not_die(*, listed: bool) -> None:
    with running(1) as watcher:
        processes = Processes()
        assert ended(processes, watcher) == []
        (process,) = watcher.processes.values()
        process.stopping = True
        kill(process)
        if not listed:
            watcher.processes.clear()
        assert ended(processes, watcher) == []
