"""Serve random models of random shops, and compare each answer with ONNX Runtime's for the values as written.

    python -m tests.hostile.differential.run [--minutes 10] [--cases N] [--seed 0]

Types, absent values and what stands in for them, stored forms, Feast's among them, groups under keys of their own,
texts of requests, histories, their side information, inputs of all types, lists, trees, classes and formulas; whole and
split, in both shapes, with one worker or two, cached or not, with a canary or a shadow; while rows change. Prints a
line for each case, then one of JSON, and ends with an error if an answer was another.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import httpx
import numpy as np
from redis import Redis

from ranker.demo.redis import EmbeddedRedis
from ranker.vectors.schema import FeatureSchema
from tests.hostile.differential.asks import Body, Expected, draw_body
from tests.hostile.differential.graphs import Graph, draw_graph
from tests.hostile.differential.shop import Shop
from tests.service.conftest import environment, import_model, serve

ROUNDS = 12
CALLERS = 4
EXPLAINED = 7
"""Products of a request that is explained; one at a time is, so not all are."""
SEEN_S = 3.0
"""Seconds within which a change of a row has to be seen."""


class Case:
    """A shop, its two models, and a service for them.

    Args:
        seed: Draws all of it.
        url: An empty Redis.
        home: An empty folder.
    """

    def __init__(self, seed: int, url: str, home: Path) -> None:
        random = self._random = np.random.default_rng(seed)
        self._url, self._home = url, home
        self._shop = Shop(random)
        self._graphs: dict[str, Graph] = {}
        for name in ("one", "two"):
            graph = draw_graph(random, self._shop.graph_slots, self._shop.plain and name == "one")
            schema = FeatureSchema.from_mapping(self._shop.mapping(shuffled=name == "two") | graph.said)
            self._graphs[import_model(home, graph.content, schema, name, split=bool(random.random() < 0.6))] = graph
        self._missing = str(random.choice(["default", "default", "last", "drop"]))
        self._settings = self._draw_settings()
        self.answers = 0

    def __str__(self) -> str:
        forms = ", ".join(f"{group} {form}" for group, form in self._shop.forms.items())
        sides = ", ".join(slot.reference for slot in self._shop.sides)
        return f"{' | '.join(graph.shows for graph in self._graphs.values())}; {forms}; {sides}; {self._settings}"

    def _draw_settings(self) -> dict[str, str]:
        random, (one, two) = self._random, self._graphs
        second = {"RANKER_CANARY_MODEL": two, "RANKER_CANARY_PERCENT": "50"}
        if random.random() < 0.4:
            second = {"RANKER_SHADOW_MODEL": two, "RANKER_SHADOW_PERCENT": "100"}
        return {
            "RANKER_MODEL": one,
            "RANKER_RUNNER": str(random.choice(["local", "service"])),
            "RANKER_WORKERS": str(random.choice([1, 1, 2])),
            "RANKER_CACHE_MB": str(random.choice([0, 64, 64])),
            "RANKER_MISSING_PRODUCT": self._missing,
            "RANKER_MAX_BATCH_ROWS": str(random.choice([7, 2048])),
            **second,
        }

    def run(self) -> list[str]:
        """Serve it, ask, and change rows; return what was wrong."""
        random, shop = self._random, self._shop
        shop.write(self._url, shop.everything())
        found: list[str] = []
        log = self._home / "log"
        with (
            serve(environment(self._home, RANKER_REDIS_URL=self._url, **self._settings), log) as served,
            httpx.Client(base_url=served.url, timeout=30) as http,
            ThreadPoolExecutor(CALLERS) as callers,
        ):
            for turn in range(ROUNDS):
                if turn % 3 == 2:
                    drawn = {group: random.choice([*ids], 4).tolist() for group, ids in shop.everything().items()}
                    shop.write(self._url, {group: [*dict.fromkeys(ids)] for group, ids in drawn.items()})
                bodies = [draw_body(random, shop) for _ in range(CALLERS)]
                for problems in callers.map(partial(self._compare, http), bodies):
                    found += problems
        if "Traceback" in log.read_text():
            found.append(f"a traceback in {log}")
        return found

    def _compare(self, http: httpx.Client, body: Body) -> list[str]:
        """Ask until the answer is right, for as long as an announcement of a change may take."""
        expected = Expected(self._shop, body)
        deadline = time.monotonic() + SEEN_S
        while True:
            path = "/explain" if len(body["productIds"]) == EXPLAINED else "/predict"
            response = http.post(path, json=body)
            if response.status_code != 200:
                return [f"{response.status_code} {response.text[:300]} for {json.dumps(body)}"]
            tag = response.headers["x-ranker-model"]
            answer = response.json()
            problems = [] if path == "/predict" else expected.shown_problems(answer)
            if path == "/predict":
                problems += expected.problems(answer, self._graphs[tag], self._missing)
            if not problems or time.monotonic() > deadline:
                self.answers += 1
                return [f"{tag} {problem} for {json.dumps(body)}" for problem in problems]


def run_case(seed: int, url: str) -> tuple[int, list[str]]:
    """Return how many answers were compared in a case, and what was wrong; keep its folder then."""
    with Redis.from_url(url) as client:
        client.flushall()
    home = Path(tempfile.mkdtemp(prefix=f"ranker-differential-{seed}-"))
    started = time.monotonic()
    case = Case(seed, url, home)
    problems = case.run()
    took = time.monotonic() - started
    print(f"{seed}: {case.answers} answers, {len(problems)} problems, {took:.1f} s: {case}", flush=True)
    if not problems:
        shutil.rmtree(home)
    return case.answers, problems


def main() -> None:
    """Run one case after another, and say what was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--cases", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    end = time.monotonic() + asked.minutes * 60
    cases = answers = 0
    wrong: dict[int, int] = {}
    with tempfile.TemporaryDirectory(prefix="ranker-", dir="/tmp") as folder:
        redis = EmbeddedRedis(Path(folder))
        redis.start()
        try:
            while cases < asked.cases and time.monotonic() < end:
                compared, problems = run_case(seed := asked.seed + cases, redis.url)
                cases, answers = cases + 1, answers + compared
                if problems:
                    wrong[seed] = len(problems)
                    print(*problems[:4], sep="\n", flush=True)
        finally:
            redis.stop()
    print(json.dumps({"cases": cases, "answers": answers, "wrong": wrong}))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
