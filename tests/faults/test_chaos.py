"""The quick form of `make chaos`: troubles of Redis strike a served service under load."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from random import Random

import numpy as np
import pytest

from ranker.model import OnnxModel
from tests.faults.chaos.load import Outcome
from tests.faults.chaos.run import chaos
from tests.faults.chaos.troubles import ON_REDIS, ON_THE_WIRE
from tests.faults.chaos.truth import STALE_S, Truth, Version
from tests.faults.server import Server
from tests.service.conftest import ONNX, SCHEMA

QUICK = ("Redis killed", "Redis suspended", "rights revoked", "replies cut in the middle", "garbage")


def test_trouble_of_redis_costs_no_answer_and_no_ranking_is_wrong(short_path: Path) -> None:
    troubles = {name: trouble for name, trouble in {**ON_REDIS, **ON_THE_WIRE}.items() if name in QUICK}
    # Much slack, for the machine may be busy with something else; `make chaos` measures.
    report = asyncio.run(chaos(short_path, 0, troubles, seed=1, longest_s=1.2, settle_s=1.0, slack_s=8.0))
    assert report["wrong_rankings"] == 0, report["wrong_examples"]
    assert report["hangs"] == 0
    assert report["not_recovered"] == 0
    assert set(report["troubles"]) == set(QUICK)
    assert {kind.split()[0] for kind in report["answers"]} == {"ok", "degraded"}, report["answers"]
    assert report["answers"]["ok"] > report["requests"] / 3


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
    writes[2].acknowledged = math.inf
    other = version(-1.0, 0.0, 1.0, SCHEMA.product.width)
    truth = Truth(Server(short_path), Random(1))
    truth.versions = {"user:0": [version(0.5, 0.0, 1.0, SCHEMA.user.width)], "product:0": writes, "product:1": [other]}
    return truth, writes, other


@pytest.mark.parametrize(
    ("write", "sent", "allowed"),
    [
        (0, 50.0, True),
        (1, 50.0, False),  # not written yet
        (0, 101.0 + STALE_S - 0.1, True),
        (0, 101.0 + STALE_S + 0.1, False),  # too old
        (1, 250.0, True),  # whether the write at 200 happened, nobody knows
        (2, 250.0, True),
        (1, 301.0 + STALE_S + 0.1, False),
        (3, 310.0, True),
    ],
)
def test_ranking_is_right_for_what_redis_may_have_held(
    history: tuple[Truth, list[Version], Version], write: int, sent: float, allowed: bool
) -> None:
    truth, writes, other = history
    assert truth.allows(answered(truth.versions["user:0"][0], writes[write], other, sent)) is allowed


@pytest.mark.parametrize("harm", ["swapped", "shifted", "one short", "another product", "missing"])
def test_wrong_ranking_is_told(history: tuple[Truth, list[Version], Version], harm: str) -> None:
    truth, writes, other = history
    outcome = answered(truth.versions["user:0"][0], writes[3], other, 310.0)
    assert truth.allows(outcome)
    answer = outcome.answer
    match harm:
        case "swapped":
            answer["ranking"].reverse()
        case "shifted":
            answer["scores"] = [score + 0.001 for score in answer["scores"]]
        case "one short":
            del answer["ranking"][1], answer["scores"][1]
        case "another product":
            answer["ranking"][1] = "7"
        case "missing":
            answer["missing"] = ["1"]
    assert not truth.allows(outcome)
