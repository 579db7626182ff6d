"""Gathering with groups under keys of their own: who is read when, and what stands in the columns that a model sees."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import numpy as np
import pytest

from ranker.errors import StoreUnavailable
from ranker.ranking.answer import Answer
from ranker.ranking.job import Policy
from ranker.ranking.pipeline import Pipeline
from ranker.vectors.rows import Ask, Features, Matrix, ProductId, Rows, RowStatus, Scores, UserId
from ranker.vectors.schema import FeatureSchema
from tests.support.sample import run

SCHEMA = FeatureSchema.from_mapping(
    {
        "user": {"features": [{"name": "age", "default": 40}]},
        "product": {"features": [{"name": "price", "default": 5}]},
        "groups": {
            "live": {"per": "user", "key": "live:{userId}", "features": [{"name": "clicks", "default": 7}]},
            "seller": {"per": "product", "key": "seller:{productId}", "features": [{"name": "rating", "default": 3}]},
        },
    }
)


def rows(*values: float | None) -> Rows:
    """Return rows of one column; None for one that was not found."""
    statuses = np.array([RowStatus.MISSING if value is None else RowStatus.FOUND for value in values], np.uint8)
    column = np.array([[-99 if value is None else value] for value in values], np.float32)
    return Rows(column, statuses, complete=not statuses.any())


class Store:
    """Everybody is 1 year old, and everything costs 2; users called `read…` are not held, and `down` are not read."""

    def __init__(self) -> None:
        self.fetched: list[UserId | None] = []
        self.recalled: list[UserId | None] = []

    def held(self, asked: Sequence[tuple[UserId | None, Sequence[ProductId]]]) -> Sequence[Features | None]:
        return [None if f"{user}".startswith(("read", "down")) else self._found(ids) for user, ids in asked]

    async def fetch(self, user_id: UserId | None, product_ids: Sequence[ProductId]) -> Features:
        self.fetched.append(user_id)
        if user_id == "down":
            raise StoreUnavailable("down")
        found = self._found(product_ids)
        found.unread = "a node is down" if user_id == "read in part" else None
        return found

    def remembered(self, user_id: UserId | None, product_ids: Sequence[ProductId]) -> Features:
        self.recalled.append(user_id)
        return self._found(product_ids)

    def _found(self, product_ids: Sequence[ProductId]) -> Features:
        return Features(rows(1), rows(*[2] * len(product_ids)))


class Groups:
    """A seller's rating is the number of its product, and -1 where it is old; `late` ones are not held."""

    def __init__(self) -> None:
        self.asks: list[Ask] = []
        self.fetched: list[list[str]] = []

    def add_held(self, asked: Sequence[Ask], found: Sequence[Features | None]) -> Sequence[bool]:
        self.asks += asked
        has_all = []
        for ask, features in zip(asked, found, strict=True):
            has_all.append(features is not None and "late" not in ask.product_ids)
            if features is not None and has_all[-1]:
                self._add(ask, features)
        return has_all

    async def fetch(self, ask: Ask, fetch: Callable[[], Coroutine[Any, Any, Features]]) -> Features:
        self.fetched.append([*ask.product_ids])
        return self._add(ask, await fetch())

    def remember(self, ask: Ask, features: Features) -> Features:
        features.groups = {"live": rows(None), "seller": rows(*[-1] * len(ask.product_ids))}
        return features

    def _add(self, ask: Ask, features: Features) -> Features:
        ratings = [float(name) if name.isdigit() else None for name in ask.product_ids]
        features.groups = {"live": rows(len(ask.product_ids)), "seller": rows(*ratings)}
        return features


def rank(*asked: tuple[str, list[str]], **policy: Any) -> tuple[list[Answer], Store, Groups]:
    """Rank for users and products, all at once, by the ratings of their sellers."""
    store, groups = Store(), Groups()

    def score(matrix: Matrix) -> Scores:
        return matrix[:, 3].copy()

    async def test() -> list[Answer]:
        pipeline = Pipeline(SCHEMA, store, score, Policy(deadline_s=60, **policy), groups=groups)
        texts = {"shop": "s1"}
        return await asyncio.gather(
            *(pipeline.rank(UserId(user), [*map(ProductId, ids)], texts=texts) for user, ids in asked)
        )

    return run(test), store, groups


def test_rows_of_groups_stand_in_the_columns_of_the_request_and_of_the_product_they_are_of() -> None:
    (one, other), store, groups = rank(("a", ["4", "x", "9"]), ("b", ["5"]))
    assert one.matrix.tolist() == [[1, 2, 3, 4], [1, 2, 3, 3], [1, 2, 3, 9]]  # x has no row: the default
    assert other.matrix.tolist() == [[1, 2, 1, 5]]
    assert (one.ranking, other.ranking) == (["9", "4", "x"], ["5"])
    assert (store.fetched, groups.fetched) == ([], [])
    assert groups.asks == [Ask(UserId("a"), ["4", "x", "9"], {"shop": "s1"}), Ask(UserId("b"), ["5"], {"shop": "s1"})]


def test_only_what_is_not_held_is_read() -> None:
    (late, read, held), store, groups = rank(("a", ["4", "late"]), ("read b", ["5", "6"]), ("c", ["8"]))
    assert groups.fetched == [["4", "late"], ["5", "6"]]
    assert store.fetched == ["read b"]  # the others' own rows were held
    assert [late.ranking, read.ranking, held.ranking] == [["4", "late"], ["6", "5"], ["8"]]
    assert [answer.degraded_reason for answer in (late, read, held)] == [None, None, None]
    assert late.moments.fetched >= late.moments.began >= late.moments.arrived > 0
    assert late.moments.assembled >= late.moments.fetched
    assert held.moments.assembled >= held.moments.fetched >= held.moments.began >= held.moments.arrived > 0


def test_rows_of_groups_that_cannot_be_read_are_what_is_remembered_of_them() -> None:
    (answer,), store, groups = rank(("down", ["4", "5"]))
    assert store.recalled == ["down"]
    assert (answer.degraded_reason, groups.fetched) == ("features_unavailable", [["4", "5"]])
    assert answer.matrix.tolist() == [[1, 2, 7, -1], [1, 2, 7, -1]]
    with pytest.raises(StoreUnavailable):
        rank(("down", ["4"]), on_failure="error")


def test_features_that_could_be_read_in_part_are_a_substitute() -> None:
    (answer,), *_ = rank(("read in part", ["4"]))
    assert (answer.degraded_reason, answer.scores.tolist()) == ("features_unavailable", [4])
    assert "a node is down" in answer.failures[0].sentence
    with pytest.raises(StoreUnavailable, match="a node is down"):
        rank(("read in part", ["4"]), on_failure="error")


def test_rows_of_many_requests_of_one_round_are_each_their_own() -> None:
    answers, *_ = rank(*((f"u{n}", [f"{10 * n + i}" for i in range(n)]) for n in (2, 1, 3, 1)))
    for answer, n in zip(answers, (2, 1, 3, 1), strict=True):
        assert answer.matrix.tolist() == [[1, 2, n, 10 * n + i] for i in range(n)]


def test_rows_of_groups_stand_beside_what_the_request_brings() -> None:
    schema = FeatureSchema.from_mapping(
        SCHEMA.to_metadata()
        | {"context": {"features": ["hour"]}, "productContext": {"features": [{"name": "shelf", "default": 8}]}}
    )
    store, groups = Store(), Groups()

    def score(matrix: Matrix) -> Scores:
        return matrix[:, -1].copy()

    async def test() -> list[Answer]:
        pipeline = Pipeline(schema, store, score, Policy(deadline_s=60), groups=groups)
        context = np.array([[14, 7, 0.5, 3], [14, 7, 1.5, 3]], np.float32)
        asked = ((user, brought) for user in ("a", "read b") for brought in (context.copy(), None))
        return await asyncio.gather(
            *(pipeline.rank(UserId(user), [ProductId("4"), ProductId("x")], None, given) for user, given in asked)
        )

    brought = [[1, 2, 14, 2, 0.5, 4], [1, 2, 14, 2, 1.5, 3]]
    defaults = [[1, 2, 0, 2, 8, 4], [1, 2, 0, 2, 8, 3]]
    assert [answer.matrix.tolist() for answer in run(test)] == 2 * [brought, defaults]
    contexts = [ask.context is None for ask in groups.asks]
    assert contexts == [False, True, False, True]
