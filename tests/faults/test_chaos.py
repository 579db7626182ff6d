"""The quick form of `make chaos`: troubles of Redis strike a served service under load."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import numpy as np
import psutil
import pytest

from ranker.scoring.model import OnnxModel
from ranker.vectors.stored.encoding import encode
from tests.faults.chaos import report as reports
from tests.faults.chaos.load import Outcome
from tests.faults.chaos.report import Conditions, Strike
from tests.faults.chaos.run import chaos
from tests.faults.chaos.troubles import ALL, WORKER, Scene, Trouble, processes
from tests.faults.chaos.truth import DEFAULTS, STALE_S, Truth, Version
from tests.faults.chaos.whole import samples
from tests.service.conftest import ONNX, PRODUCTS, SCHEMA
from tests.support.redis_process import Server

QUICK = (
    "Redis killed",
    "Redis suspended",
    "rights revoked",
    "replies cut in the middle",
    "garbage",
    "refused, then odd replies",
    "odd pushes to the listener",
    "listener and readers split",
)


@pytest.mark.timeout(300)  # 65 s where others work, too
@pytest.mark.slow
def test_trouble_of_redis_costs_no_answer_and_no_ranking_is_wrong(short_path: Path) -> None:
    troubles = {name: ALL[name] for name in QUICK}
    # Much slack, for the machine may be busy with something else; `make chaos` measures.
    report = asyncio.run(
        chaos(short_path, 0, troubles, seed=1, longest_s=1.2, settle_s=1.0, slack_s=8.0, stale_s=STALE_S + 1.0)
    )
    assert reports.failures(report) == {}, reports.render(report)
    assert set(report["troubles"]) == set(QUICK)
    assert {kind.split()[0] for kind in report["answers"]} == {"ok", "degraded"}, report["answers"]
    assert report["answers"]["ok"] > report["requests"] / 3


@asynccontextmanager
async def writes_behind_its_back(scene: Scene) -> AsyncIterator[None]:
    vector = encode(np.full((1, SCHEMA.product.width), 9, np.float32), SCHEMA.fingerprint)[0]
    with scene.server.client() as client:
        client.mset({f"product:{i}": vector for i in range(0, PRODUCTS, 10)})
    yield


@asynccontextmanager
async def writes_dropped(scene: Scene) -> AsyncIterator[None]:
    with patch.object(scene.pair, "store"):
        await asyncio.sleep(2 * STALE_S)
        yield


@asynccontextmanager
async def worker_stopped(scene: Scene) -> AsyncIterator[None]:
    """Stop the worker that has more of the callers: the other one may answer all of them."""
    max((process for name, process in processes(scene.service) if name == WORKER), key=count_callers).suspend()
    yield


def count_callers(worker: psutil.Process) -> int:
    connections = worker.net_connections("tcp")
    own = {one.laddr.port for one in connections if one.status == psutil.CONN_LISTEN}
    return sum(one.status == psutil.CONN_ESTABLISHED and one.laddr.port in own for one in connections)


@pytest.mark.timeout(300)  # for the stop waits for the worker that stands still
@pytest.mark.slow
def test_wrong_and_stale_rankings_hangs_and_a_broken_worker_of_a_served_service_are_noticed(short_path: Path) -> None:
    troubles: dict[str, Trouble] = {
        "unknown writes": writes_behind_its_back,
        "no writes": writes_dropped,
        "a worker stopped": worker_stopped,
    }
    report = asyncio.run(chaos(short_path, 0, troubles, seed=3, longest_s=0.5, settle_s=0.5, patience_s=3.0))
    assert report["wrong_rankings"] > 0
    assert report["stale_rankings"] > 0
    assert report["troubles"]["no writes"]["oldest_s"] > STALE_S
    assert report["hangs"] > 0
    (missing,) = report["failed_in"]["not_whole"]
    assert missing.startswith("a worker stopped: workers that are ready: 1, not 2"), missing


def version(value: float, begun: float, acknowledged: float, width: int) -> Version:
    return Version(np.full(width, value, np.float32), begun, acknowledged)


def answered(user: Version, product_a: Version, product_b: Version, sent: float) -> Outcome:
    """A full answer that is right if it was computed from these versions."""
    rows = np.array([np.concatenate((user.vector, each.vector)) for each in (product_a, product_b)])
    scores = OnnxModel(ONNX, SCHEMA).score(rows)
    order = np.argsort(-scores)
    body = {"ranking": [str(i) for i in order], "scores": scores[order].tolist(), "missing": []}
    return Outcome(0, (0, 1), sent, sent, sent + 0.01, "ok", body)


@pytest.fixture
def history(short_path: Path) -> tuple[Truth, list[Version], Version]:
    """Product 0 was written at 0 and at 100, at 200 without an answer, and at 300; the rest at 0."""
    writes = [version(i + 1.0, at, at + 1, SCHEMA.product.width) for i, at in enumerate((0.0, 100.0, 200.0, 300.0))]
    writes[2].acknowledged = math.inf  # nobody knows whether it happened
    other = version(-1.0, 0.0, 1.0, SCHEMA.product.width)
    truth = Truth(Server(short_path), Random(1))
    truth.versions = {"user:0": [version(0.5, 0.0, 1.0, SCHEMA.user.width)], "product:0": writes, "product:1": [other]}
    return truth, writes, other


@pytest.mark.parametrize(
    ("write", "sent", "age_s"),
    [
        (0, 50.0, 0.0),
        (1, 50.0, math.inf),  # not written yet
        (2, 150.0, math.inf),
        (1, 99.995, 0.0),  # written while it was asked for
        (0, 100.5, 0.0),  # the write at 100 was acknowledged at 101
        (0, 101.0 + 1.5, 1.5),
        (0, 101.0 + 60.0, 60.0),
        (1, 250.0, 0.0),  # for the write at 200 may not have happened
        (2, 250.0, 0.0),
        (1, 301.0 + 3.0, 3.0),
        (0, 301.0 + 3.0, 203.0),  # the first that superseded it counts
        (3, 310.0, 0.0),
    ],
)
def test_answer_is_as_old_as_what_superseded_it(
    history: tuple[Truth, list[Version], Version], write: int, sent: float, age_s: float
) -> None:
    truth, writes, other = history
    assert truth.age_s(answered(truth.versions["user:0"][0], writes[write], other, sent)) == pytest.approx(age_s)


def test_old_user_makes_an_old_answer(history: tuple[Truth, list[Version], Version]) -> None:
    truth, writes, other = history
    user = truth.versions["user:0"][0]
    truth.versions["user:0"].append(version(0.7, 304.0, 305.0, SCHEMA.user.width))
    assert truth.age_s(answered(user, writes[3], other, 310.0)) == pytest.approx(5.0)


def harmed(outcome: Outcome, harm: str) -> Outcome:
    """Do to an answer what must not happen to one."""
    answer = {name: value.copy() if isinstance(value, list) else value for name, value in outcome.answer.items()}
    match harm:
        case "swapped":
            answer["ranking"].reverse()
        case "worst first":
            answer["ranking"].reverse()
            answer["scores"].reverse()
        case "shifted":
            answer["scores"] = [score + 0.001 for score in answer["scores"]]
        case "one score shifted":
            answer["scores"][1] -= 0.001
        case "no score":
            answer["scores"] = [None, None]
        case "one short":
            del answer["ranking"][1], answer["scores"][1]
        case "a score short":
            del answer["scores"][1]
        case "one twice":
            answer["ranking"][1] = answer["ranking"][0]
        case "another product":
            answer["ranking"][1] = "7"
        case "missing":
            answer["missing"] = ["1"]
    return replace(outcome, answer=answer)


HARMS = (
    "swapped",
    "worst first",
    "shifted",
    "one score shifted",
    "no score",
    "one short",
    "a score short",
    "one twice",
    "another product",
    "missing",
)


@pytest.mark.parametrize("kind", ["ok", "degraded features_unavailable"])
@pytest.mark.parametrize("harm", HARMS)
def test_wrong_ranking_is_told(history: tuple[Truth, list[Version], Version], harm: str, kind: str) -> None:
    truth, writes, other = history
    right = replace(answered(truth.versions["user:0"][0], writes[3], other, 310.0), kind=kind)
    assert truth.age_s(right) == 0.0
    assert truth.age_s(harmed(right, harm)) == math.inf


def test_equal_scores_keep_the_order_of_the_request(history: tuple[Truth, list[Version], Version]) -> None:
    truth, _, other = history
    truth.versions["product:0"] = [other]
    right = answered(truth.versions["user:0"][0], other, other, 310.0)
    assert right.answer["ranking"] == ["0", "1"]
    assert truth.age_s(right) == 0.0
    assert truth.age_s(harmed(right, "swapped")) == math.inf


def test_degraded_answer_may_be_of_any_age_and_of_defaults_but_of_nothing_else(
    history: tuple[Truth, list[Version], Version],
) -> None:
    truth, writes, other = history
    user, default_user, default_product = truth.versions["user:0"][0], *map(_stored, DEFAULTS)
    for a_user, a_product, missing in (
        (user, writes[0], []),
        (user, default_product, ["0"]),
        (default_user, writes[3], []),
        (default_user, default_product, ["0"]),
    ):
        full = answered(a_user, a_product, other, 500.0)
        full.answer["missing"] = missing
        degraded = replace(full, kind="degraded features_unavailable")
        assert truth.age_s(degraded) == 0.0
        assert truth.age_s(harmed(degraded, "one score shifted")) == math.inf
        assert truth.age_s(full) > STALE_S


def _stored(rows: np.ndarray) -> Version:
    return Version(rows[0], 0.0, 0.0)


@pytest.mark.parametrize(
    ("ranking", "scores", "age_s"),
    [(["0", "1"], [None, None], 0.0), (["1", "0"], [None, None], math.inf), (["0", "1"], [0.5, None], math.inf)],
)
def test_answer_without_scores_keeps_the_order_of_the_request(
    history: tuple[Truth, list[Version], Version], ranking: list[str], scores: list[float | None], age_s: float
) -> None:
    body: dict[str, Any] = {"ranking": ranking, "scores": scores, "missing": []}
    assert history[0].age_s(Outcome(0, (0, 1), 5.0, 5.0, 5.1, "degraded scores_late", body)) == age_s


def test_report_counts_each_failure_by_its_kind_and_names_its_trouble(
    history: tuple[Truth, list[Version], Version],
) -> None:
    truth, writes, other = history
    user = truth.versions["user:0"][0]
    right = [answered(user, writes[3], other, at) for at in (310.0, 329.0, 339.0)]
    stale = answered(user, writes[1], other, 301.0 + STALE_S + 0.1)
    hung = replace(right[0], sent=312.0, intended=312.0, ended=327.0, kind="hung", answer={})
    lost = [Outcome(0, (0, 1), at, at, at + 0.1, "lost ServerDisconnectedError") for at in (313.0, 331.0)]
    failed = Outcome(0, (0, 1), 314.0, 314.0, 314.1, "error 500 internal_error")
    outcomes = sorted([*right, stale, harmed(right[0], "shifted"), hung, *lost, failed], key=lambda o: o.intended)
    strikes = [
        Strike("odd", 302.0, 320.0, 330.0),
        Strike("worker killed", 330.5, 332.0, 340.0, ["ranker_cache_keeping: 1.0, not 2"]),
        Strike("silent", 341.0, 342.0, 343.0),
    ]
    conditions = Conditions(1, 1.0, 1.0, 2.0, STALE_S, 2, {}, {})
    report = reports.summarize(outcomes, strikes, truth, conditions, kills=[330.5])
    assert reports.failures(report) == {
        "wrong_rankings": 1,
        "stale_rankings": 1,
        "hangs": 1,
        "lost": 1,  # the other one with the worker
        "internal_errors": 1,
        "not_recovered": 1,
        "not_whole": 1,
    }
    assert report["oldest_s"] == pytest.approx(STALE_S + 0.1)
    assert report["failed_in"]["wrong_rankings"] == {"odd": 1}
    assert report["failed_in"]["not_recovered"] == {"silent": 1}
    text = reports.render(report)
    assert text.startswith("FAILED: wrong rankings 1, stale rankings 1, hangs 1, lost answers 1, internal errors 1")
    assert "1 in or after worker killed: ranker_cache_keeping: 1.0, not 2" in text

    calm = reports.summarize(right, strikes[:1], truth, conditions)
    assert reports.failures(calm) == {}
    assert reports.render(calm).startswith("passed: ")


def test_values_of_gauges_are_read_without_those_of_labels() -> None:
    said = '# TYPE ranker_cache_keeping gauge\nranker_cache_keeping 2.0\nranker_cache_rows{entity="user"} 7.0\n'
    assert samples(said) == {"ranker_cache_keeping": 2.0}
