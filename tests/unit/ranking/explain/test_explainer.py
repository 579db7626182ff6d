from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from threading import Event
from time import monotonic
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from redis import Redis

from ranker.api.explain import ExplainRequest
from ranker.errors import InvalidRequest, ModelFailed, StoreUnavailable
from ranker.features.store import RedisStore
from ranker.features.uncached import UncachedStore
from ranker.http.endpoints.explain import render
from ranker.ranking.explain.ablation import MAX_CELLS, MAX_EXPLAINED, Ablation
from ranker.ranking.explain.explainer import CHUNK_ROWS, Explainer, Explanation
from ranker.ranking.job import Budget, Policy
from ranker.ranking.pipeline import Pipeline
from ranker.redis.connect import Connections
from ranker.vectors.feature.values import parse
from ranker.vectors.rows import Ask, Features, Matrix, Rows, RowStatus, Scores
from ranker.vectors.schema import FeatureSchema
from tests.support.models import schema_of_width
from tests.support.near_cache import near
from tests.support.sample import SCHEMA as REDIS_SCHEMA
from tests.support.sample import product_vector, run, user_vector
from tests.support.unread import REASON, without

WIDTH = 8
SCHEMA = schema_of_width(3, 5, user_default=1.0, product_default=-2.0)
WEIGHTS = np.arange(1, WIDTH + 1, dtype=np.float32)


class RandomStore:
    """A store that knows everybody, or fails."""

    def __init__(self, failure: Exception | None = None) -> None:
        self._failure = failure

    async def fetch(self, user_id: object, product_ids: list[str]) -> Features:
        if self._failure:
            raise self._failure
        chance = np.random.default_rng(len(product_ids))
        return Features(_found(chance.normal(size=(1, 3))), _found(chance.normal(size=(len(product_ids), 5))))

    def check(self) -> None: ...
    def held(self, asked: list[object]) -> list[None]:
        return [None] * len(asked)

    def fresh(self, user_id: object, product_ids: list[str]) -> np.ndarray:
        return np.zeros(1 + len(product_ids), dtype=np.bool_)

    def remembered(self, user_id: object, product_ids: list[str]) -> Features:

        return Features(Rows.unread(1, 3), Rows.unread(len(product_ids), 5))

    async def open(self) -> None: ...
    async def close(self) -> None: ...


def _found(values: np.ndarray) -> Any:

    return Rows(values.astype(np.float32), np.zeros(len(values), np.uint8), complete=True)


async def weigh(matrix: Matrix) -> Scores:
    return matrix @ WEIGHTS


async def explain(
    score: Any = weigh, n: int = 10, deadline_s: float = 10, store: Any = None, schema: FeatureSchema = SCHEMA
) -> Explanation:
    explainer = Explainer("m:1", schema, store or RandomStore(), score, Policy())
    request = ExplainRequest(requestId="r", userId="u", productIds=[f"p{i}" for i in range(n)])
    return await explainer.explain(request, Budget(monotonic(), deadline_s))


def test_contributions_of_a_linear_model_are_its_terms() -> None:
    explanation = run(explain)
    expected = WEIGHTS * (explanation.matrix[explanation.shown] - SCHEMA.defaults)
    assert explanation.limit is None
    np.testing.assert_allclose(explanation.contributions, expected, atol=1e-4)


def test_a_ranking_that_arrives_meanwhile_waits_for_one_chunk_at_most() -> None:
    calls: list[int] = []

    async def score(matrix: Matrix) -> Scores:
        calls.append(len(matrix))
        await asyncio.sleep(0.001)
        return matrix @ WEIGHTS

    async def test() -> None:
        store: Any = RandomStore()
        pipeline = Pipeline(SCHEMA, store, score, Policy(), max_rows=2048, share=256)
        explaining = asyncio.create_task(explain(pipeline.score, n=100))
        while len(calls) < 3:  # noqa: ASYNC110  # the pipeline tells of calls by making them
            await asyncio.sleep(0)
        begun = len(calls)
        await pipeline.score(np.zeros((100, WIDTH), np.float32))
        assert calls[begun] in (100, 100 + CHUNK_ROWS)  # the call after the one that was under way
        assert not explaining.done()
        assert (await explaining).limit is None
        await pipeline.close()

    run(test)
    assert max(calls[1:]) <= CHUNK_ROWS + 100


def test_time_that_is_up_leaves_what_was_scored_by_then() -> None:
    scored = 0

    async def score(matrix: Matrix) -> Scores:
        nonlocal scored
        if scored > 100 + 2 * CHUNK_ROWS:
            await asyncio.Event().wait()
        scored += len(matrix)
        return matrix @ WEIGHTS

    async def test() -> Explanation:
        return await explain(score, n=100, deadline_s=0.5)

    explanation = run(test)
    assert explanation.limit == "deadline"
    assert explanation.answer.degraded_reason is None
    k = len(explanation.contributions)
    assert 0 < k < 100
    assert k * WIDTH <= scored - 100
    expected = WEIGHTS * (explanation.matrix[explanation.shown[:k]] - SCHEMA.defaults)
    np.testing.assert_allclose(explanation.contributions, expected, atol=1e-4)


def test_scores_that_fail_leave_a_ranking_without_contributions() -> None:
    async def fails(matrix: Matrix) -> Scores:
        raise ModelFailed(len(matrix), "no")

    explanation = run(lambda: explain(fails))
    assert explanation.failure == "The model could not score 10 rows: no."
    assert (explanation.answer.degraded_reason, explanation.limit) == ("scores_unavailable", "scores")
    assert (explanation.contributions.shape, explanation.contributions.dtype) == ((0, WIDTH), np.float32)


def test_contributions_that_fail_say_why() -> None:
    async def score(matrix: Matrix) -> Scores:
        if len(matrix) > 10:
            raise ModelFailed(len(matrix), "a default that no embedding knows")
        return matrix @ WEIGHTS

    explanation = run(lambda: explain(score))
    assert (explanation.answer.degraded_reason, explanation.limit) == (None, "scores")
    assert "a default that no embedding knows" in str(explanation.failure)


def test_model_that_scores_lists_is_asked_for_the_list_alone_and_no_product_has_contributions() -> None:
    calls: list[int] = []

    async def score(matrix: Matrix) -> Scores:
        calls.append(len(matrix))
        return await weigh(matrix)

    lists = FeatureSchema.from_mapping(SCHEMA.to_metadata() | {"rows": "together"})
    explanation = run(lambda: explain(score, schema=lists))
    assert (calls, explanation.limit, explanation.failure) == ([10], "together", None)
    assert (explanation.contributions.shape, explanation.contributions.dtype) == ((0, WIDTH), np.float32)
    assert len(explanation.answer.ranking) == 10


def test_features_that_cannot_be_had_are_unavailable_not_missing() -> None:
    explanation = run(lambda: explain(store=RandomStore(StoreUnavailable("down"))))
    assert explanation.answer.degraded_reason == "features_unavailable"
    assert explanation.failure == "The feature store did not answer: down."
    assert set(explanation.provenances) == {("default", "unavailable")}


@pytest.mark.parametrize(("features", "told"), [(MAX_CELLS, 1), (MAX_CELLS + 1, 0), (MAX_CELLS // 3, 3)])
def test_no_more_rows_are_scored_than_the_limit(features: int, told: int) -> None:
    ablation = Ablation(
        np.ones((5, features), np.float32), np.arange(5), np.zeros(features, np.float32), [1] * features
    )
    assert (ablation.complete, len(ablation)) == (told, told * features)


@given(arrays(np.float32, (6, WIDTH), elements=st.sampled_from([0.0, 1.0, float("nan")])), st.integers(0, 60))
def test_products_are_told_whole_or_not_at_all(matrix: Matrix, scored: int) -> None:
    defaults = np.array([0, 1, np.nan, 0, 1, np.nan, 0, 1], np.float32)
    ablation = Ablation(matrix, np.arange(6), defaults, [1] * WIDTH)
    rows = [row for chunk in ablation.chunks(7) for row in chunk]
    different = [np.count_nonzero(~((row == defaults) | (np.isnan(row) & np.isnan(defaults)))) for row in matrix]
    assert len(rows) == len(ablation) == sum(different)
    ablated = np.zeros(min(scored, len(ablation)), np.float32)
    k = len(ablation.contributions(np.ones(6, np.float32), ablated))
    assert k == sum(end <= len(ablated) for end in np.cumsum(different))
    told = ablation.contributions(np.ones(6, np.float32), ablated)
    assert [np.count_nonzero(row) for row in told] == different[:k]


TYPED = FeatureSchema.from_mapping(
    {
        "user": {"features": [{"name": "taste", "shape": [2], "default": 1}, "age"]},
        "product": {
            "features": [
                {"name": "brand", "type": "category", "vocabulary": ["nike", "puma"]},
                {"name": "sold_at", "type": "int64"},
                {"name": "like", "type": "product", "length": 2},
            ]
        },
    }
)


def typed_rows(group: str, *values: dict[str, Any]) -> Rows:
    features = TYPED.groups[group].features
    return Rows(
        np.array([np.concatenate([parse(f, row[f.name]) for f in features]) for row in values]),
        np.zeros(len(values), np.uint8),
        complete=True,
    )


class TypedStore(RandomStore):
    async def fetch(self, user_id: object, product_ids: list[str]) -> Features:
        product = {"brand": "puma", "sold_at": (1 << 44) + 3, "like": [7]}
        other = {"brand": "nike", "sold_at": 0, "like": []}
        return Features(typed_rows("user", {"taste": [3, 1], "age": 5}), typed_rows("product", product, other))


def explain_typed(overrides: dict[str, Any] | None = None) -> dict[str, Any]:
    async def total(matrix: Matrix) -> Scores:
        return matrix.sum(axis=1)

    async def answered() -> bytes:
        request = ExplainRequest.model_validate(
            {"requestId": "r", "userId": "u", "productIds": ["a", "b"], "overrides": overrides}
        )
        explainer = Explainer("m:1", TYPED, TypedStore(), total, Policy())
        return render(request, await explainer.explain(request, Budget(monotonic(), 10)))

    return orjson.loads(run(answered))


def test_typed_feature_is_one_value_and_one_contribution() -> None:
    shown = explain_typed()
    assert shown["user"]["features"] == {"taste": [3, 1], "age": 5}
    first, second = shown["products"]
    assert first["features"] == {"brand": "puma", "sold_at": (1 << 44) + 3, "like": [7]}
    assert second["features"] == {"brand": "nike", "sold_at": 0, "like": []}
    assert first["contributions"] == {
        "user": {"taste": 2, "age": 5},
        "product": {"brand": 1, "sold_at": 4, "like": 8},
        "context": {},
        "productContext": {},
        "groups": {},
    }
    assert second["contributions"]["product"] == {"brand": 0, "sold_at": 0, "like": 0}


def test_typed_feature_is_overridden_by_a_value_of_its_type() -> None:
    shown = explain_typed({"user": {"taste": None}, "products": {"b": {"brand": "puma", "like": [4, 5]}}})
    assert shown["user"]["features"]["taste"] == [1, 1]
    assert [p["features"]["like"] for p in shown["products"] if p["id"] == "b"] == [[4, 5]]
    with pytest.raises(
        InvalidRequest, match=r"overrides.products.b.brand: Input should be a value of category, but 1.5"
    ):
        explain_typed({"products": {"b": {"brand": 1.5}}})


async def explain_outputs(outputs: Any, deadline_s: float = 10) -> list[dict[str, Any]]:
    """Return the products of an explanation, each with its `failure`."""
    explainer = Explainer("m:1", SCHEMA, RandomStore(), weigh, Policy(), outputs=outputs)
    request = ExplainRequest(requestId="r", userId="u", productIds=["a", "b", "c"])
    explanation = await explainer.explain(request, Budget(monotonic(), deadline_s))
    body = orjson.loads(render(request, explanation))
    return [product | {"failure": body["failure"]} for product in body["products"]]


def test_each_product_has_what_the_outputs_gave_for_its_row() -> None:
    def give(matrix: Matrix) -> dict[str, Scores]:
        return {"half": matrix @ WEIGHTS / 2, "none": matrix[:, 0] * np.nan}

    for product in run(lambda: explain_outputs(give)):
        assert product["outputs"] == {"half": pytest.approx(product["score"] / 2, rel=1e-5), "none": None}


def test_outputs_that_fail_are_left_out_and_said() -> None:
    def fail(matrix: Matrix) -> dict[str, Scores]:
        raise ModelFailed(len(matrix), "no such id")

    for product in run(lambda: explain_outputs(fail)):
        assert "no such id" in product["failure"]
        assert product["contributions"] is not None
        assert "outputs" not in product


def test_outputs_that_are_late_are_left_out_and_said() -> None:
    over = Event()

    def wait(matrix: Matrix) -> dict[str, Scores]:
        over.wait(10)
        return {"never": matrix[:, 0]}

    async def body() -> list[dict[str, Any]]:
        try:
            return await explain_outputs(wait, 0.5)
        finally:
            over.set()  # or the loop waits for the thread

    for product in run(body):
        assert "longer than the deadline" in product["failure"]
        assert "outputs" not in product


STATUSES = [*RowStatus, RowStatus.FOUND]
"""Of products; the last is in memory."""


class StatusStore(RandomStore):
    """A store of products in each state, of which what is found first and last is in memory, as the user is."""

    def _features(self) -> Features:
        statuses = np.array(STATUSES, np.uint8)
        return Features(
            _found(np.ones((1, 3))), Rows(np.ones((len(statuses), 5), np.float32), statuses, complete=False)
        )

    async def fetch(self, user_id: object, product_ids: list[str]) -> Features:
        await super().fetch(user_id, product_ids)
        return self._features()

    def fresh(self, user_id: object, product_ids: list[str]) -> np.ndarray:
        return np.array([user_id == "u", *[False] * (len(product_ids) - 1), True])

    def remembered(self, user_id: object, product_ids: list[str]) -> Features:
        assert (user_id, len(product_ids)) == ("u", len(STATUSES))
        return self._features()


@pytest.mark.parametrize("down", [False, True])
def test_each_vector_says_whence_it_came_or_why_it_is_the_default(down: bool) -> None:
    store = StatusStore(StoreUnavailable("down") if down else None)
    told = run(lambda: explain(store=store, n=len(STATUSES))).provenances
    assert told == [
        ("cache", None),
        ("cache" if down else "redis", None),
        ("default", "missing"),
        ("default", "wrong_schema"),
        ("default", "corrupt"),
        ("default", "unavailable"),
        ("cache", None),
    ]


WITHOUT_USERS = FeatureSchema.from_mapping({"product": {"features": list("abcde")}})


@pytest.mark.parametrize(("schema", "reason"), [(SCHEMA, "no_user_id"), (WITHOUT_USERS, "no_user_features")])
def test_nobodys_vector_is_the_default_and_says_why(schema: FeatureSchema, reason: str) -> None:
    class Nobodys(RandomStore):
        async def fetch(self, user_id: object, product_ids: list[str]) -> Features:
            found = await super().fetch(user_id, product_ids)
            return Features(Rows.known(schema.defaults[np.newaxis, : schema.user.width]), found.products)

    async def total(matrix: Matrix) -> Scores:
        return matrix.sum(axis=1)

    async def answered() -> Explanation:
        store: Any = Nobodys()
        request = ExplainRequest(requestId="r", productIds=["a", "b"])
        return await Explainer("m:1", schema, store, total, Policy()).explain(request, Budget(monotonic(), 10))

    assert run(answered).provenances == [("default", reason), ("redis", None), ("redis", None)]


def test_products_beyond_those_that_are_shown_are_said_to_be_a_limit() -> None:
    explanation = run(lambda: explain(n=MAX_EXPLAINED + 1))
    assert (explanation.limit, len(explanation.shown), len(explanation.ranked)) == ("products", MAX_EXPLAINED, 101)
    assert run(lambda: explain(n=MAX_EXPLAINED)).limit is None


def test_what_the_store_and_the_outputs_failed_with_is_said_together() -> None:
    def fail(matrix: Matrix) -> dict[str, Scores]:
        raise OSError("no file")

    async def answered() -> Explanation:
        store: Any = RandomStore(StoreUnavailable("down"))
        explainer = Explainer("m:1", SCHEMA, store, weigh, Policy(), outputs=fail)
        return await explainer.explain(
            ExplainRequest(requestId="r", userId="u", productIds=["a"]), Budget(monotonic(), 9)
        )

    explanation = run(answered)
    said = "The feature store did not answer: down. The single outputs could not be had: no file"
    assert explanation.failure == said
    assert explanation.outputs == {}


def test_explanation_names_its_model_and_the_time_that_it_took() -> None:
    began = monotonic()
    explanation = run(explain)
    assert (explanation.model, explanation.schema) == ("m:1", SCHEMA)
    assert 0 < explanation.explain_s <= monotonic() - began


async def explain_for(
    store: Any,
    schema: FeatureSchema = SCHEMA,
    asked: dict[str, Any] | None = None,
    budget: Budget | None = None,
    policy: Policy | None = None,
    **how: Any,
) -> Explanation:
    """Explain a ranking of a, b and c by the sums of their rows."""

    async def total(matrix: Matrix) -> Scores:
        return matrix.sum(axis=1)

    request = {"requestId": "r", "userId": "u", "productIds": list("abc")} | (asked or {})
    explainer = Explainer("m:1", schema, store, total, policy or Policy(), **how)
    return await explainer.explain(ExplainRequest(**request), budget or Budget(monotonic(), 10))


def test_as_many_products_are_explained_as_are_ranked() -> None:
    explanation = run(lambda: explain_for(RandomStore(), SCHEMA, {"topK": 2}))
    assert explanation.ranked.tolist() == np.argsort(-explanation.answer.row_scores)[:2].tolist()
    assert (len(explanation.contributions), explanation.limit) == (2, None)


def test_what_the_request_brings_and_its_groups_rows_are_explained_with_it() -> None:
    schema = FeatureSchema.from_mapping(
        {
            "user": {"features": ["age"]},
            "product": {"features": ["price"]},
            "context": {
                "features": [
                    {"name": "season", "type": "category", "vocabulary": ["dry", "wet"]},
                    {"name": "area", "from": "zipCode", "prefixes": {"1": 5}, "default": 0},
                ]
            },
            "productContext": {"features": ["shelf"]},
            "groups": {"near": {"per": "user", "key": "near:{context.area}:{context.season}", "features": ["rain"]}},
        }
    )
    asks: list[Ask] = []

    class Plain(RandomStore):
        async def fetch(self, user_id: object, product_ids: list[str]) -> Features:
            assert (user_id, product_ids) == ("u", ["a", "b", "c"])
            return Features(_found(np.full((1, 1), 30)), _found(np.full((len(product_ids), 1), 2)))

    class Rain:
        def add_held(self, asked: list[Ask], found: list[Features | None]) -> list[bool]:
            return [False] * len(asked)

        async def fetch(self, ask: Ask, fetch: Callable[[], Awaitable[Features]]) -> Features:
            asks.append(ask)
            features = await fetch()
            features.groups = {"near": _found(np.full((1, 1), 9))}
            return features

    brought = {"context": {"season": "wet"}, "productContext": {"shelf": [3, 1, 2]}, "zipCode": "10115"}
    explanation = run(lambda: explain_for(Plain(), schema, brought, groups=Rain()))
    assert explanation.matrix.tolist() == [[30, 2, 1, 5, 9, shelf] for shelf in (3, 1, 2)]
    assert explanation.answer.ranking == ["a", "c", "b"]
    texts = {"season": "wet", "area": "10115"}
    assert [(ask.user_id, ask.product_ids, ask.texts) for ask in asks] == [("u", ["a", "b", "c"], texts)]


def test_prepared_columns_of_products_are_not_explained() -> None:
    class Prepared(RandomStore):
        async def fetch(self, user_id: object, product_ids: list[str]) -> Features:
            found = await super().fetch(user_id, product_ids)
            found.products.values = np.hstack([found.products.values, np.full((len(product_ids), 2), 77, np.float32)])
            return found

    explanation = run(lambda: explain_for(Prepared(), prepared=True))
    assert explanation.matrix.shape == explanation.contributions.shape == (3, WIDTH)
    assert 77 not in explanation.matrix


def test_request_has_the_time_that_it_was_given() -> None:
    class Silent(RandomStore):
        async def fetch(self, user_id: object, product_ids: list[str]) -> Features:
            await asyncio.Event().wait()
            raise AssertionError

    explanation = run(lambda: explain(store=Silent(), deadline_s=0.2))
    assert explanation.failure == "The deadline of 200 ms passed during fetch."


def test_ranking_whose_time_was_up_before_the_model_was_asked_is_explained_as_one_without_scores() -> None:
    over = Event()

    def wait(matrix: Matrix) -> dict[str, Scores]:
        over.wait(10)
        return {"one": matrix[:, 0]}

    async def answered() -> Explanation:
        asyncio.get_running_loop().call_later(0.3, over.set)  # nobody waits for it
        assume = {"overrides": {"user": {"u0": 5}, "products": {"b": {"p4": 6}}}}
        return await explain_for(RandomStore(), SCHEMA, assume, Budget(monotonic() - 2, 1), outputs=wait)

    explanation = run(answered)
    assert (explanation.answer.degraded_reason, explanation.limit) == ("scores_late", "scores")
    assert (explanation.matrix[:, 0].tolist(), explanation.matrix[1, -1]) == ([5, 5, 5], 6)
    assert len(explanation.contributions) == 0
    assert explanation.outputs == {}
    late = "The deadline of 1000 ms passed during score. The single outputs took longer than the deadline"
    assert str(explanation.failure).startswith(late)


def test_ranking_of_no_product_lacks_no_contributions() -> None:
    class Empty(RandomStore):
        async def fetch(self, user_id: object, product_ids: list[str]) -> Features:
            return self.remembered(user_id, product_ids)

    explanation = run(lambda: explain_for(Empty(), policy=Policy(missing_product="drop")))
    assert (explanation.answer.ranking, explanation.ranked.tolist()) == ([], [])
    assert (explanation.limit, explanation.failure) == (None, None)
    assert explanation.contributions.shape == (0, WIDTH)


@pytest.mark.parametrize(("cells", "limit", "told"), [(WIDTH - 1, "rows", 0), (WIDTH, None, 1)])
def test_product_of_more_features_than_may_be_scored_is_said_to_be_a_limit(
    monkeypatch: pytest.MonkeyPatch, cells: int, limit: str | None, told: int
) -> None:
    monkeypatch.setattr("ranker.ranking.explain.ablation.MAX_CELLS", cells)
    explanation = run(lambda: explain(n=1))
    assert (explanation.limit, len(explanation.contributions)) == (limit, told)


def uncached(url: str, *, connections: Connections) -> UncachedStore:
    return UncachedStore(RedisStore(connections, REDIS_SCHEMA), REDIS_SCHEMA)


@pytest.mark.parametrize("make", [near, uncached])
def test_vector_that_one_node_does_not_give_is_unavailable_and_not_missing(
    make: Callable[..., Any], redis_url: str, redis_client: Redis
) -> None:
    redis_client.mset({"user:u": user_vector(1), "product:a": product_vector(2), "product:far": product_vector(3)})

    async def answered() -> Explanation:
        store = make(redis_url, connections=without(redis_url, "product:far"))
        await store.open()
        try:
            return await explain_for(store, REDIS_SCHEMA, {"productIds": ["a", "far", "none"]})
        finally:
            await store.close()

    explanation = run(answered)
    assert explanation.failure == f"The feature store did not answer: {REASON}."
    found, far, none = ("redis", None), ("default", "unavailable"), ("default", "missing")
    assert explanation.provenances == [found, found, far, none]


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (RowStatus.FOUND, None),
        (RowStatus.MISSING, "missing"),
        (RowStatus.CORRUPT, "corrupt"),
        (RowStatus.UNREAD, "unavailable"),
    ],
)
def test_group_says_why_it_is_the_default_whatever_the_model_failed_with(status: RowStatus, reason: str | None) -> None:
    data = SCHEMA.to_metadata()
    schema = FeatureSchema.from_mapping(
        data | {"groups": {"live": {"per": "user", "key": "live:{userId}", "features": ["clicks"]}}}
    )

    class Live:
        def add_held(self, asked: list[Ask], found: list[Features | None]) -> list[bool]:
            return [False] * len(asked)

        async def fetch(self, ask: Ask, fetch: Callable[[], Awaitable[Features]]) -> Features:
            features = await fetch()
            features.groups = {"live": Rows(np.ones((1, 1), np.float32), np.array([status], np.uint8), complete=False)}
            return features

    async def fail(matrix: Matrix) -> Scores:
        raise ModelFailed(len(matrix), "no")

    async def answered() -> bytes:
        store: Any = RandomStore()
        groups: Any = Live()
        request = ExplainRequest(requestId="r", userId="u", productIds=["a"])
        explainer = Explainer("m:1", schema, store, fail, Policy(), groups)
        return render(request, await explainer.explain(request, Budget(monotonic(), 10)))

    told = orjson.loads(run(answered))
    assert told["degradedReason"] == "scores_unavailable"
    assert (told["groups"]["live"]["source"], told["groups"]["live"]["reason"]) == (
        "default" if reason else "stored",
        reason,
    )
