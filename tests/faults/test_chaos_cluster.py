"""The quick form of `python -m tests.faults.chaos.cluster`, and what that calls a failover's window."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.faults.chaos.cluster import GRACE_S, Plan, failover, trial
from tests.faults.chaos.load import Outcome

QUICK = Plan(rate=60.0, slots=6, pause_s=0.02, returns=False, whole_s=0.0)


@pytest.mark.slow
def test_reshard_and_a_primary_killed_cost_no_answer_and_no_ranking_is_wrong(short_path: Path) -> None:
    # Much slack, for the machine may be busy with something else; `make chaos` measures.
    report = asyncio.run(trial(short_path, QUICK, "local", seed=1, hang_s=9.0))
    assert report["wrong_rankings"] == 0, report["wrong_examples"]
    assert report["hangs"] == 0
    assert report["not_recovered"] == 0
    assert {kind.split()[0] for kind in report["answers"]} == {"ok", "degraded"}, report["answers"]
    assert report["answers"]["ok"] > report["requests"] / 3
    assert report["redirections"]["MOVED"] > 0
    assert report["troubles"]["primary killed"]["during"]["degraded features_unavailable"] > 0


def outcome(intended: float, ended: float, kind: str) -> Outcome:
    return Outcome(0, (0,), intended, intended, ended, kind)


def test_answers_that_are_not_full_count_against_the_failover_by_their_whole_life() -> None:
    killed, served = 10.0, 13.0
    inside = [(9.9, 10.1), (11.0, 11.5), (13.0 + GRACE_S - 0.1, 15.0)]
    outside = [(9.0, 9.9), (13.0 + GRACE_S + 0.1, 15.0)]
    asked = [outcome(*times, "degraded features_unavailable") for times in (*inside, *outside)]
    found = failover([*asked, outcome(1.0, 2.0, "ok")], killed, served)
    assert found["not_full"] == 5
    assert found["not_full_outside"] == 2
    assert found["without_primary_s"] == 3.0
    assert found["not_full_by_second"] == {-1: 2, 1: 1, 3: 1, 4: 1}
