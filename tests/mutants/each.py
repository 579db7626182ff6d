"""Runner of mutants, a plugin of pytest: collects the tests once, then forks a process for each mutant.

A fork runs tests that reach the mutant: those first that noticed others of the same function, then those of the
module's own file, those beside it, and the other files, quick ones first. The first that fails ends it, and so does
the budget: what the nearest tests do not notice wants a nearer test. The process that forks runs no test, for ONNX
Runtime and clients of Redis have threads. Owns how mutants are run and in what time; `run` makes them and says what
became of them.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import select
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass, field
from hashlib import blake2b
from operator import itemgetter
from pathlib import Path
from typing import TextIO

import psutil
import pytest
from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.trampoline import set_mutant_under_test
from mutmut.state import state
from mutmut.stats import status_by_exit_code
from mutmut.utils.file_utils import change_cwd, walk_mutatable_files
from mutmut.utils.format_utils import mangled_name_from_mutant_name

REDO = ("not checked", "survived", "no tests")
"""What is asked again: there may be a test now."""
REACHED = Path("reached.json")
"""What each test reaches, in the folder of the mutants."""
NO_TESTS, TIMED_OUT = 33, 36
"""Exit codes, as mutmut keeps them."""
SLOWER = 10.0
"""A test that takes so many times as long with a mutant as without it, and `GRACE_S` on top, has failed."""
GRACE_S = 5.0
BUDGET_S = 2.0
"""Seconds of CPU that the tests run for one mutant take without it, at most, beside those of the module's own file."""
PRINT_S = 2.0
PR_SET_CHILD_SUBREAPER = 36


@dataclass(slots=True)
class Reached:
    """What one test reaches, and how long it takes."""

    functions: list[str]
    """`module.mangled_name`, as mutmut has them."""
    seconds: float
    cpu_s: float


@dataclass(slots=True)
class Outcome:
    """What became of one fork."""

    exit_code: int
    failed: list[str]
    """Tests that failed: one, at most, with a mutant."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--mutate", action="append", default=[], metavar="MODULE", help="modules or packages; all if none")
    parser.addoption("--mutate-minutes", type=float, default=60.0)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Runner(config.getoption("mutate"), config.getoption("mutate_minutes")))


@dataclass(slots=True, eq=False)
class Runner:
    """Runs every mutant of some modules that nothing is known of, for some minutes at most.

    In a fork it hands pytest the fork's tests, and writes to `told` what they do.
    """

    modules: list[str]
    minutes: float
    told: TextIO | None = None
    fork: pytest.Session | None = None
    noticed: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """How many mutants of a function each test noticed."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        if session.testsfailed:  # tests that cannot be collected: pytest says which
            return None
        _adopt_orphans()
        gc.collect()
        gc.freeze()  # or each fork copies what it looks at
        ends = time.monotonic() + self.minutes * 60
        reached = self._reach(session)
        if reached is None:
            return None
        tests_of: defaultdict[str, set[str]] = defaultdict(set)
        for test, of in reached.items():
            for function in of.functions:
                tests_of[function].add(test)
        print(f"{len(reached)} tests reach {len(tests_of)} functions", flush=True)
        said = 0.0
        for number, of_all, data, name in _chosen(self.modules):
            if (now := time.monotonic()) > ends:
                pytest.exit("time is up", 2)
            if now > said + PRINT_S:
                said = now
                print(f"\r{number} of {of_all}: {name:110.110}", end="", flush=True)
            function = mangled_name_from_mutant_name(name)
            items = self._ordered(session.items, function, tests_of[function], reached)
            outcome = Outcome(NO_TESTS, [])
            if items:
                outcome = self._fork(session, items, name, {test: reached[test].seconds for test in tests_of[function]})
                if outcome is None:
                    return None
            if outcome.exit_code == pytest.ExitCode.INTERRUPTED:
                raise KeyboardInterrupt
            self.noticed[function].update(outcome.failed)
            data.exit_code_by_key[name] = outcome.exit_code
            with change_cwd(".."):
                data.save()
        print()
        return True

    def _reach(self, session: pytest.Session) -> dict[str, Reached] | None:
        """Run every test without a mutant, to see what each reaches; return None in the fork that does."""
        state_of_all = _digest(session.items)
        with suppress(FileNotFoundError, ValueError):
            known = json.loads(REACHED.read_text())
            if known["of"] == state_of_all:  # nothing has changed since
                return {test: Reached(*of) for test, of in known["tests"].items()}
        reached: dict[str, Reached] = {}
        outcome = self._fork(session, session.items, "stats", reached=reached)
        if outcome is None:
            return None
        if outcome.exit_code:
            pytest.exit(f"tests fail without a mutant: {', '.join(outcome.failed) or outcome.exit_code}", 1)
        REACHED.write_text(
            json.dumps({"of": state_of_all, "tests": {test: astuple(of) for test, of in reached.items()}})
        )
        return reached

    def _ordered(
        self, items: list[pytest.Item], function: str, tests: set[str], reached: dict[str, Reached]
    ) -> list[pytest.Item]:
        """Return tests in the order in which they are likely to notice a mutant soon, within the budget.

        Those of one file stay together, for they share fixtures.
        """
        package, module = function.split(".")[-3:-1]
        own, near = f"/{package}/test_{module}.py", f"/{package}/"
        noticed = self.noticed[function]
        cpu_s: Counter[str] = Counter()
        for test in tests:
            cpu_s[test.partition("::")[0]] += reached[test].cpu_s

        def order(item: pytest.Item) -> tuple[bool | float, ...]:
            file = item.nodeid.partition("::")[0]
            return -noticed[item.nodeid], not file.endswith(own), near not in file, cpu_s[file]

        chosen: list[pytest.Item] = []
        left_s = BUDGET_S
        for item in sorted((item for item in items if item.nodeid in tests), key=order):
            takes_s = 0.0 if own in item.nodeid else reached[item.nodeid].cpu_s
            if takes_s <= left_s or not chosen:
                left_s -= takes_s
                chosen.append(item)
        return chosen

    def _fork(
        self,
        session: pytest.Session,
        items: list[pytest.Item],
        mutant: str,
        seconds: dict[str, float] | None = None,
        reached: dict[str, Reached] | None = None,
    ) -> Outcome | None:
        """Run tests in a fork; return None in it, for pytest to go on, and what became of it in the process it left."""
        told = tempfile.TemporaryFile("w+")  # noqa: SIM115 (the fork writes to it until its end)
        sys.stdout.flush()
        child = os.fork()
        if not child:
            self._become(session, items, mutant, told, seconds)
            return None
        with told:
            # pytest-timeout ends a test that hangs; if it hangs in being ended, this ends the fork.
            limit_s = None if seconds is None else 2 * _limit_s(max(seconds.values()))
            exit_code = _wait(child, told, limit_s)
            told.seek(0)
            lines = [json.loads(line) for line in told]
        if reached is not None:
            reached.update({test: Reached(functions, *took) for test, failed, functions, *took in lines if not failed})
        return Outcome(exit_code, [test for test, failed, *_ in lines if failed])

    def _become(
        self,
        session: pytest.Session,
        items: list[pytest.Item],
        mutant: str,
        told: TextIO,
        seconds: dict[str, float] | None,
    ) -> None:
        """Be the fork: silent, with its tests."""
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        self.told, self.fork = told, session
        set_mutant_under_test(mutant)
        session.items = items
        session.config.option.maxfail = 1
        for item in items if seconds is not None else ():
            item.add_marker(pytest.mark.timeout(_limit_s(seconds[item.nodeid])), append=False)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        began, cpu_began = time.perf_counter(), time.process_time()
        state()._stats.clear()
        done = yield
        took = time.perf_counter() - began, time.process_time() - cpu_began
        self._tell(item.nodeid, False, sorted(state()._stats), *took)
        return done

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._tell(report.nodeid, True, [])

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        if self.fork is not None:  # nothing is left to be done but to free memory, object by object
            os._exit(int(self.fork.exitstatus))

    def _tell(self, test: str, failed: bool, functions: list[str], *took: float) -> None:
        if self.told is not None:
            print(json.dumps([test, failed, functions, *took]), file=self.told, flush=True)


def _digest(items: Iterable[pytest.Item]) -> str:
    """Return what tells these tests, and this state of the code, from others."""
    digest = blake2b("\0".join(item.nodeid for item in items).encode(), digest_size=16)
    for path in sorted(path for folder in ("ranker", "tests") for path in Path(folder).rglob("*.py")):
        digest.update(f"{path}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _adopt_orphans() -> None:
    """Become the parent of whatever outlives its own, so that nothing of a fork is left running."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "cannot adopt orphans")


def _limit_s(seconds: float) -> float:
    return SLOWER * seconds + GRACE_S


def _wait(child: int, told: TextIO, limit_s: float | None) -> int:
    """Wait for a fork, as long as it tells something within the limit; return its exit code.

    What it started ends with it: the orphans of a subreaper's descendants are its children.
    """
    watched = os.pidfd_open(child)
    ended, size = False, -1
    try:
        while not ended and (size_now := os.fstat(told.fileno()).st_size) > size:
            size = size_now
            ended = bool(select.select([watched], [], [], limit_s)[0])
    finally:
        os.close(watched)
        started = psutil.Process().children(recursive=True)
        for process in started:
            if not (ended and process.pid == child):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        _, status = os.waitpid(child, 0)
        psutil.wait_procs([process for process in started if process.pid != child])
    return os.waitstatus_to_exitcode(status) if ended else TIMED_OUT


def _chosen(modules: Sequence[str]) -> Iterator[tuple[int, int, SourceFileMutationData, str]]:
    """Return the mutants to run, counted, with where their outcomes are kept.

    First those that nothing is known of; the modules in the order in which they were named.
    """
    found: list[tuple[bool, int, SourceFileMutationData, str]] = []
    with change_cwd(".."):
        for path in walk_mutatable_files():
            module = ".".join(path.with_suffix("").parts)
            places = [at for at, named in enumerate(modules) if f"{module}.".startswith(f"{named}.")]
            if modules and not places:
                continue
            data = SourceFileMutationData(path=path)
            data.load()
            found += [
                (code is not None, min(places, default=0), data, name)
                for name, code in data.exit_code_by_key.items()
                if status_by_exit_code[code] in REDO
            ]
    found.sort(key=itemgetter(0, 1))
    for number, (_, _, data, name) in enumerate(found, 1):
        yield number, len(found), data, name
