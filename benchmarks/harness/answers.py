"""Checks a contender's answers against the scores of the model's trainer, so that nobody is fast by being wrong."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from benchmarks.harness.processes import ContenderFailed, Running
from benchmarks.harness.surroundings import Surroundings
from ranker.demo import synthetic

CHECKED = 5
"""Requests, the first of the bodies."""
TOLERANCE = 1e-5
"""Tolerance of a score, relative beyond 1; two products closer than this may come in either order."""


def check(name: str, contender: Running, around: Surroundings) -> None:
    """Ask for a few rankings and compare them.

    Raises:
        ContenderFailed: one is wrong.
    """
    user_at = {i: at for at, i in enumerate(synthetic.user_ids(len(around.users)))}
    product_at = {i: at for at, i in enumerate(synthetic.product_ids(len(around.products)))}
    with around.bodies().open("rb") as lines:
        for body in [next(lines).strip() for _ in range(CHECKED)]:
            request = json.loads(body)
            products = around.products[[product_at[i] for i in request["productIds"]]]
            scores = around.score(around.users[user_at[request["userId"]]], products)
            status, answer = contender.post(body)
            problem = f"status {status}" if status != 200 else difference(request, scores, json.loads(answer))
            if problem:
                raise ContenderFailed(f"{name} answers wrongly: {problem}")


def difference(request: dict[str, Any], expected: Any, answer: dict[str, Any]) -> str | None:
    """Say what is wrong with an answer; None when nothing is.

    Args:
        request: What was asked.
        expected: The products' scores (n,) in request order.
        answer: What came.
    """
    if answer.get("degraded") or answer.get("missing"):
        return "degraded, or products missing"
    ranking, scores = answer["ranking"], np.array(answer["scores"], dtype=np.float64)
    if sorted(ranking) != sorted(request["productIds"]) or len(scores) != len(ranking):
        return "the ranking is not a permutation of the products"
    right = dict(zip(request["productIds"], np.asarray(expected, dtype=np.float64).tolist(), strict=True))
    along = np.array([right[i] for i in ranking])
    tolerance = TOLERANCE * max(1.0, float(np.abs(along).max()))
    if not np.allclose(scores, along, rtol=0, atol=tolerance):
        return f"scores differ by up to {np.abs(scores - along).max():.2g}"
    if (np.diff(along) > tolerance).any():
        return "the ranking is not in order"
    return None
