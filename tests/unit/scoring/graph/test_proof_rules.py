"""The rules of the proof by themselves, for scores that are functions: what is tried, allowed and doubted."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from ranker.errors import ModelFailed, ModelRejected
from ranker.scoring.graph import proof
from ranker.vectors.schema import FeatureSchema
from tests.unit.scoring.graph.test_proof import sums
from tests.unit.scoring.test_model import SCHEMA, rows

Scoring = Callable[[np.ndarray], np.ndarray]


def far(matrix: np.ndarray) -> np.ndarray:
    """Return which rows are far from the defaults."""
    found: np.ndarray = np.abs(matrix).max(axis=1) > 5
    return found


def mixed(matrix: np.ndarray) -> bool:
    """Return whether a row has others than its copies beside it."""
    return bool((matrix != matrix[0]).any())


def plus(own: Scoring, of_company: Scoring) -> Scoring:
    """Return what gives the sum of both, float32."""
    return lambda matrix: (own(matrix) + of_company(matrix)).astype(np.float32)


def largest_or_0(matrix: np.ndarray) -> np.ndarray:
    return np.maximum(matrix[:, 0], 0)


def constant(value: float) -> Scoring:
    return lambda matrix: np.full(len(matrix), value, np.float32)


@pytest.mark.parametrize(
    "score",
    [
        plus(sums, lambda matrix: sums(matrix) * (len(matrix) > 1) * 5e-5),
        plus(largest_or_0, lambda matrix: np.abs(matrix[:, 0]) * mixed(matrix) * 1e-6),
        plus(constant(0.5), lambda matrix: far(matrix) * (len(matrix) > 1) * 0.01),
        constant(np.nan),
    ],
    ids=["a ten-thousandth", "of rows as far", "as beside copies", "no number"],
)
def test_what_rounding_may_do_to_a_score_is_no_dependence(score: Scoring) -> None:
    proof.refuse_batch_effects(score, SCHEMA, "Because of this.")


@pytest.mark.parametrize(
    "score",
    [
        plus(sums, lambda matrix: np.full(len(matrix), 1e-4 * (len(matrix) > 3))),
        plus(constant(0.1), lambda matrix: far(matrix) * mixed(matrix) * 5e-5),
        plus(sums, lambda matrix: far(matrix) * mixed(matrix) * 1.0),
        plus(sums, lambda matrix: np.full(len(matrix), 1.0 * (len(matrix) > 8 and far(matrix)[0]))),
        plus(sums, lambda matrix: np.full(len(matrix), 1.0 * (len(matrix) == 4 and far(matrix)[3]))),
    ],
    ids=["near beside far", "small and far", "large and far", "behind a far one", "before a single far one"],
)
def test_a_score_that_company_moves_by_more_is_refused_with_the_cause(score: Scoring) -> None:
    with pytest.raises(ModelRejected, match=r"among (15|4), so batching would change rankings\. Because of this\.$"):
        proof.refuse_batch_effects(score, SCHEMA, "Because of this.")
    with pytest.raises(ModelRejected, match=r"would change rankings\.$"):
        proof.refuse_batch_effects(score, SCHEMA)


def test_a_difference_as_large_as_is_allowed_is_none() -> None:
    proof.refuse_difference(lambda matrix: np.full(len(matrix), 1e-5 * (len(matrix) > 1), np.float32), rows(3))


def test_each_far_row_is_tried_beside_the_near_ones_and_the_rows_are_the_same_each_time() -> None:
    def trial() -> list[np.ndarray]:
        asked: list[np.ndarray] = []

        def score(matrix: np.ndarray) -> np.ndarray:
            asked.append(matrix.copy())
            return np.zeros(len(matrix), np.float32)

        proof.refuse_batch_effects(score, SCHEMA)
        assert proof.doubts(score, SCHEMA)
        return asked

    asked, again = trial(), trial()
    assert [one.tobytes() for one in asked] == [one.tobytes() for one in again]
    beside = np.array([one for one in asked if len(one) == 4])
    assert len(beside) == 12
    assert far(beside[:, 3]).all()
    assert (beside[:, :3] == proof.near_rows(SCHEMA)).all()
    assert (proof.near_rows(SCHEMA)[0] == SCHEMA.defaults).all()


def test_far_rows_lie_to_both_sides_and_from_a_tenth_of_their_distance_to_the_whole() -> None:
    _, *blocks = np.split(proof.spread_rows(sums, SCHEMA), 4)
    for scale, block in zip(proof.SCALES, blocks, strict=True):
        distances = np.abs(block) / scale
        assert 0.1 <= distances.min() < 0.2
        assert 0.9 < distances.max() <= 1
        assert 0.2 < (block > 0).mean() < 0.8
        assert ((block > 0).any(axis=1) & (block < 0).any(axis=1)).all()


def within(least: np.ndarray, largest: np.ndarray, of_company: Scoring) -> Scoring:
    """Return what scores rows within limits alone; 1 more where company matters."""

    def score(matrix: np.ndarray) -> np.ndarray:
        if not ((matrix >= least) & (matrix <= largest)).all():
            raise ModelFailed(len(matrix), "beyond a table")
        return (np.ones(len(matrix)) + of_company(matrix) * mixed(matrix)).astype(np.float32)

    return score


ENDS = [(0, 5), (-np.inf, np.inf)]
"""An id, and a number of any size."""


@pytest.mark.parametrize(
    ("limits", "default"),
    [
        ([*ENDS], 0.0),
        ([(0, 0.5), *ENDS[1:]], 0.0),
        ([ENDS[0], (0, 2e6)], 1e6),
        ([*ENDS, *[(-2e4, np.inf)] * 30], 0.0),
        ([*ENDS, *[(-np.inf, 2e4)] * 30], 0.0),
    ],
    ids=["free", "default alone", "about its default", "down to an end", "up to an end"],
)
def test_columns_that_can_be_far_by_themselves_are_moved_and_the_others_keep_their_defaults(
    limits: list[tuple[float, float]], default: float
) -> None:
    product = [{"name": f"p{i}", "default": default if i == 0 else 0.0} for i in range(len(limits) - 1)]
    schema = FeatureSchema.from_mapping({"user": {"features": ["id"]}, "product": {"features": product}})
    least, largest = np.array(limits).T
    score = within(least, largest, lambda matrix: np.abs(matrix[:, 1] - default) > 1e5)
    with pytest.raises(ModelRejected, match=r"one got 1 alone and 2 among"):
        proof.refuse_batch_effects(score, schema)


def fails_far(own: Scoring) -> Scoring:
    def score(matrix: np.ndarray) -> np.ndarray:
        if far(matrix).any():
            raise ModelFailed(len(matrix), "beyond a table")
        return own(matrix).astype(np.float32)

    return score


def test_rows_near_the_defaults_are_enough_for_a_doubt() -> None:
    (doubt,) = proof.doubts(fails_far(constant(3)), SCHEMA)
    assert doubt.startswith("16 of 16 rows")
    assert "the same score, 3:" in doubt


def test_what_differs_near_the_defaults_is_asked_for_where_numbers_are_larger() -> None:
    def score(matrix: np.ndarray) -> np.ndarray:
        if (matrix < 0).any():
            raise ModelFailed(len(matrix), "no table has it")
        return np.minimum(matrix.sum(axis=1), 1)

    assert proof.doubts(fails_far(score), SCHEMA) == []


@pytest.mark.parametrize(
    ("spread", "nearby", "doubted"),
    [
        (["a"] * 20, [], True),
        (["a"] * 19 + ["b"], [], True),
        (["a"] * 18 + ["b"] * 2, [], False),
        (["a"] * 20, ["a"], False),
        (["a"] * 20, [*"abcdefgh"] * 2, True),
        (["a"] * 20, [*"abcdefghi", *"abcdefg"], False),
    ],
)
def test_a_model_is_doubted_for_19_equal_scores_of_20_unless_most_nearby_differ(
    spread: list[str], nearby: list[str], doubted: bool
) -> None:
    asked: list[np.ndarray] = []

    def ask(matrix: np.ndarray) -> np.ndarray:
        asked.append(matrix.copy())
        return np.zeros(len(matrix), np.float32)

    proof.doubts(ask, SCHEMA)
    singles = [one.tobytes() for one in asked if len(one) == 1]
    assert len(singles) == 64 + proof.SPREAD_ROWS
    known = dict(zip(singles, spread, strict=False)) | dict(zip(singles[64:], nearby, strict=False))

    def score(matrix: np.ndarray) -> np.ndarray:
        letters = [known.get(row.tobytes()) for row in matrix]
        if None in letters:
            raise ModelFailed(len(matrix), "beyond a table")
        return np.array([ord(letter) for letter in letters if letter], np.float32)

    assert bool(proof.doubts(score, SCHEMA)) is doubted
