"""Load test for locust, open loop: requests arrive at a constant rate, as at a shop, however long answers take.

    locust --host http://127.0.0.1:3000                                                # web UI at :8089
    locust --host http://127.0.0.1:3000 --headless --users 30 --run-time 60s --html report.html

Each of locust's users is a stream of `--rate-per-user` arrivals a second (10 by default), so 30 users are 300 requests
a second. Arrivals do not wait for answers: each is a greenlet of its own, and its latency counts from the moment it
should have left, not from when locust got to it. The run fails, with exit code 1, when a threshold is passed.

What locust cannot do: it is one Python process, which on one core tires at some hundreds of requests a second; then it
sends late, and its CPU time and lateness are in the verdict. Its report rounds latencies to whole milliseconds (the
verdict does not). `--processes` spreads the streams over cores; `ranker bench` sends faster from one.

Ids are those of the demo that the service serves, or of `--user-ids` and `--product-ids`.
"""

import itertools
import math
import os
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import gevent
from gevent.pool import Group
from locust import FastHttpUser, events, stats, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

from ranker.errors import RankerError
from ranker.loadtest.ids import bodies_for
from ranker.loadtest.recording import UNANSWERED, Recording
from ranker.loadtest.target import Target
from ranker.loadtest.verdict import Thresholds, is_short_of_cpu, judge
from ranker.settings.environment import DEMO_FOLDER

ANSWER_TIMEOUT_S = 10.0
MAX_CONNECTIONS_PER_USER = 1000
MAX_STREAMS = 10_000
"""The most streams of a process; so far apart are the numbers of two processes' streams."""
GOLDEN = (math.sqrt(5) - 1) / 2
"""Multiples of it, modulo 1, spread any number of streams evenly over a period."""
TOO_LATE_MS = 20.0
"""Lateness at p99 with which --find-limit takes locust to be beyond its limit, even where a core shows idle time."""
LATE_S = 3
"""Seconds in a row that end the search for the limit; one alone may be the machine's fault."""

stats.PERCENTILES_TO_CHART = [0.5, 0.99]
stats.PERCENTILES_TO_STATISTICS = [0.99, 0.999]


@events.init_command_line_parser.add_listener
def add_options(parser: LocustArgumentParser) -> None:
    """Declare what can be set beside locust's own options."""
    parser.add_argument("--rate-per-user", type=float, default=10.0, help="Requests a second of each user.")
    parser.add_argument("--products", type=int, default=0, help="Products of a request; 0: 100, or all there are.")
    parser.add_argument("--user-ids", default="", help="File of users to ask for, one id a line.")
    parser.add_argument("--product-ids", default="", help="File of products to ask for, one id a line.")
    parser.add_argument(
        "--demo-dir", default=str(Path(__file__).parent / DEMO_FOLDER), help="Where `ranker demo` keeps its record."
    )
    parser.add_argument("--token-env", default="", help="Environment variable whose value is sent as a bearer token.")
    parser.add_argument("--max-p99-ms", type=float, default=300.0, help="Fail when the 99th percentile is above.")
    parser.add_argument("--max-error-rate", type=float, default=0.0, help="Fail when more than this share fails.")
    parser.add_argument("--own-limit", type=float, default=0.0, help="What --find-limit said, for the verdict.")
    parser.add_argument(
        "--find-limit",
        action="store_true",
        include_in_web_ui=False,
        help="Stop when locust itself is too slow, and print the rate until then. Against a service that does nothing.",
    )


@cache
def prepare(
    host: str, token_env: str, user_ids: str, product_ids: str, directory: str, products: int
) -> tuple[Target, list[bytes]]:
    """Return where to send, and what; a second test of the same sends the same.

    Raises:
        RankerError: the service does not answer, or there are no ids.
        KeyError: the token's variable is not set.
    """
    target = Target.parse(host, os.environ[token_env] if token_env else None)
    files = [Path(name) if name else None for name in (user_ids, product_ids)]
    return target, bodies_for(target, *files, Path(directory), products or None)


class Test:
    """State that all streams of this process share while a test runs."""

    def __init__(self, environment: Environment) -> None:
        options = environment.parsed_options
        target, self.bodies = prepare(
            environment.host or "",
            options.token_env,
            options.user_ids,
            options.product_ids,
            options.demo_dir,
            options.products,
        )
        self.path = target.path
        self.headers = {**dict(target.headers), "Accept-Encoding": "identity"}
        self.numbers = itertools.count()
        index = environment.runner.worker_index if isinstance(environment.runner, WorkerRunner) else 0
        self.streams = itertools.count(index * MAX_STREAMS)
        self.period_s = 1 / options.rate_per_user
        self.recording = Recording()
        self.in_flight = Group()
        self.began = time.perf_counter()
        self.stopping = False


class State:
    """The test that runs, and all that was recorded of it, in this process or by its workers."""

    test: Test | None = None
    whole = Recording()
    began = 0.0
    limit = 0.0
    late_s = 0


class Stream(FastHttpUser):
    """Requests that arrive at a constant rate."""

    concurrency = MAX_CONNECTIONS_PER_USER
    network_timeout = connection_timeout = ANSWER_TIMEOUT_S

    def on_start(self) -> None:
        """Take this stream's place among the others, so that together they arrive evenly."""
        assert State.test is not None
        self.test = State.test
        phase = next(self.test.streams) * GOLDEN % 1
        now = (time.perf_counter() - self.test.began) / self.test.period_s
        self.moments: Iterator[float] = itertools.count(math.ceil(now - phase) + phase)

    @task
    def arrive(self) -> None:
        """Let a request leave at the next moment, whatever becomes of those before it."""
        intended = self.test.began + next(self.moments) * self.test.period_s
        gevent.sleep(max(intended - time.perf_counter(), 0))
        if not self.test.stopping:
            self.test.in_flight.spawn(self._ask, intended)

    def _ask(self, intended: float) -> None:
        test = self.test
        test.recording.lateness_s.append(time.perf_counter() - intended)
        body = test.bodies[next(test.numbers) % len(test.bodies)]
        with self.client.post(test.path, data=body, headers=test.headers, catch_response=True) as response:
            latency_s = time.perf_counter() - intended
            response.request_meta["response_time"] = latency_s * 1e3
            content = response.content or b""
            if response.status_code:
                if error := test.recording.answered(latency_s, response.status_code, content):
                    response.failure(f"{error}: {content[:200].decode(errors='replace')}")
            elif latency_s >= ANSWER_TIMEOUT_S:
                test.recording.unanswered(latency_s)
                response.failure(UNANSWERED)
            else:
                test.recording.errors["connection"] += 1
                response.failure(f"connection: {response.error}")


@events.test_start.add_listener
def begin(environment: Environment, **_: Any) -> None:
    """Begin anew; a test that cannot begin ends locust."""
    State.whole, State.began = Recording(), time.perf_counter()
    State.test = None if isinstance(environment.runner, MasterRunner) else _test(environment)


def _test(environment: Environment) -> Test:
    try:
        return Test(environment)
    except RankerError as err:
        sys.exit(f"Error: {err}")
    except KeyError as err:
        sys.exit(f"Error: the environment variable {err} is not set.")


@events.init.add_listener
def watch(environment: Environment, **_: Any) -> None:
    """Collect each second what was recorded, and look whether locust still keeps up where that is the question."""

    def each_second() -> None:
        while True:
            gevent.sleep(1)
            if State.test is not None and not State.test.stopping:
                _collect(environment)

    if not isinstance(environment.runner, MasterRunner | WorkerRunner):
        gevent.spawn(each_second)
        if environment.parsed_options.headless:
            _test(environment)  # prepares now what would take from the run time
    gevent.get_hub().loop.update_now()  # or the run time would begin before the imports


def _collect(environment: Environment) -> None:
    part = State.test.recording.drain()
    State.whole.extend(part)
    if not environment.parsed_options.find_limit:
        return
    second = Recording()
    second.extend(part)
    figures = second.figures(part["wall_s"])
    if is_short_of_cpu(figures) or figures.late_p99_ms > TOO_LATE_MS:
        State.late_s += 1
        if State.late_s == LATE_S:
            gevent.spawn(environment.runner.quit)
    else:
        State.limit, State.late_s = max(State.limit, figures.requests / figures.seconds), 0


@events.report_to_master.add_listener
def send_part(data: dict[str, Any], **_: Any) -> None:
    """Send what this worker recorded along with locust's own statistics."""
    if State.test is not None:
        data["ranker"] = State.test.recording.drain()


@events.worker_report.add_listener
def take_part(data: dict[str, Any], **_: Any) -> None:
    """Add what a worker recorded."""
    if "ranker" in data:
        State.whole.extend(data["ranker"])


@events.test_stopping.add_listener
def wait_for_answers(**_: Any) -> None:
    """Send no more, and wait for what is missing."""
    if State.test is not None:
        State.test.stopping = True
        State.test.in_flight.join(timeout=ANSWER_TIMEOUT_S + 1)


@events.test_stop.add_listener
def stopped(environment: Environment, **_: Any) -> None:
    """Conclude where nothing is missing any more."""
    if State.test is not None and not isinstance(environment.runner, WorkerRunner):
        _collect(environment)
        _conclude(environment)


@events.quitting.add_listener
def quitting(environment: Environment, **_: Any) -> None:
    """Conclude where workers send their last part after the test has stopped."""
    if isinstance(environment.runner, MasterRunner) and State.began:
        _conclude(environment)


def _conclude(environment: Environment) -> None:
    """Say whether the thresholds held, and set the exit code."""
    options = environment.parsed_options
    environment.process_exit_code = 0
    if options.find_limit:
        print(f"limit: {State.limit:.0f} requests a second", flush=True)
        return
    figures = State.whole.figures(time.perf_counter() - State.began)
    rate = options.rate_per_user * environment.runner.target_user_count
    thresholds = Thresholds(options.max_p99_ms, options.max_error_rate)
    verdict = judge(figures, rate, thresholds, "locust", options.own_limit)
    print(verdict.line, flush=True)
    environment.process_exit_code = 0 if verdict.held else 1
