"""Load as a shop sends it: pages arrive at their own pace, however long answers take.

Run beside `make serve`:

    locust --headless --host http://127.0.0.1:3000 --users 300 --run-time 60s --products 80

Each simulated page asks once a second, so `--users` is the rate in requests per second, as long as an answer takes
less than a second. Ids come from the example that `ranker demo` wrote, or from `--bodies`, a file
with one request body a line. The run fails, with exit code 1, when a threshold is passed.
"""

import itertools
import json
import random
from pathlib import Path
from typing import Any

import gevent
from locust import FastHttpUser, constant_throughput, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment

NUMBERS = itertools.count()
EXAMPLE = Path(__file__).parent / ".ranker" / "example.json"


@events.init_command_line_parser.add_listener
def add_options(parser: LocustArgumentParser) -> None:
    """Declare what can be set beside locust's own options."""
    parser.add_argument("--bodies", default="", help="File with one request body a line.")
    parser.add_argument("--products", type=int, default=0, help="Products of a request; all of the body's by default.")
    parser.add_argument("--max-p99-ms", type=float, default=300.0, help="Fail when the 99th percentile is above.")
    parser.add_argument("--max-error-rate", type=float, default=0.0, help="Fail when more than this share fails.")


class Page(FastHttpUser):
    """One page of the shop, asking for a ranking once a second."""

    wait_time = constant_throughput(1)

    def on_start(self) -> None:
        """Read the bodies to send; seeded, so that two runs send the same."""
        options = self.environment.parsed_options
        source = Path(options.bodies) if options.bodies else EXAMPLE
        text = source.read_text()
        self.bodies: list[dict[str, Any]] = (
            [json.loads(line) for line in text.splitlines()] if options.bodies else [json.loads(text)]
        )
        self.random = random.Random(next(NUMBERS))
        self.count = options.products
        gevent.sleep(self.random.random())  # or all pages would ask in the same moment of every second

    @task
    def predict(self) -> None:
        """Ask for one ranking; a degraded answer counts as a failure."""
        body = dict(self.random.choice(self.bodies))
        if self.count:
            body["productIds"] = self.random.sample(body["productIds"], min(self.count, len(body["productIds"])))
        with self.client.post("/predict", json=body, catch_response=True) as response:
            if response.status_code != 200:
                response.failure(f"status {response.status_code}: {response.text[:200]}")
            elif response.json()["degraded"]:
                response.failure(f"degraded: {response.json()['degradedReason']}")


@events.quitting.add_listener
def judge(environment: Environment, **_: Any) -> None:
    """Say whether the thresholds held, and set the exit code."""
    total, options = environment.stats.total, environment.parsed_options
    p99_ms = total.get_response_time_percentile(0.99) or 0
    held = total.num_requests > 0 and total.fail_ratio <= options.max_error_rate and p99_ms <= options.max_p99_ms
    print(
        f"{'held' if held else 'FAILED'}: {total.num_requests} requests, {total.total_rps:.0f}/s, p99 {p99_ms:.0f} ms, "
        f"{total.fail_ratio:.2%} failed"
    )
    environment.process_exit_code = 0 if held else 1
