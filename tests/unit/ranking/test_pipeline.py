import asyncio
from collections.abc import Sequence
from dataclasses import replace
from time import monotonic

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ranker.errors import DeadlineExceeded, ModelFailed, RunnerUnavailable, StoreUnavailable, UnknownUser
from ranker.ranking.answer import Answer
from ranker.ranking.context.reader import ContextReader
from ranker.ranking.job import Budget, Policy
from ranker.ranking.pipeline import Pipeline
from ranker.scheduling.batching import Call
from ranker.vectors.rows import Features, Matrix, ProductId, Reading, Rows, RowStatus, Scores, UserId
from ranker.vectors.schema import FeatureSchema
from ranker.vectors.stored.decoding import RowDecoder
from ranker.vectors.stored.encoding import encode

SCHEMA = FeatureSchema.from_mapping(
    {"user": {"features": ["age"]}, "product": {"features": [{"name": "price", "default": 5.0}]}}
)


NEVER_S = 60.0
"""Longer than any test takes, whatever else the machine does."""


class DictStore:
    """A store over a dictionary of prices; every user is 1 year old, except those called `unknown`."""

    def __init__(self, prices: dict[str, float], failure: Exception | None = None, delay_s: float = 0) -> None:
        self._prices = prices
        self._failure = failure
        self._delay_s = delay_s

    async def fetch(self, user_id: UserId | None, product_ids: Sequence[ProductId]) -> Features:
        await asyncio.sleep(self._delay_s)
        if self._failure:
            raise self._failure
        decoder = RowDecoder(1, SCHEMA.fingerprint)
        if user_id is None:
            nobody = Rows.known(SCHEMA.user.defaults[np.newaxis])
            return replace(await self.fetch(UserId("u"), product_ids), user=nobody)
        user = [None] if user_id == "unknown" else encode([[1.0]], SCHEMA.fingerprint)
        values = [
            encode([[self._prices[i]]], SCHEMA.fingerprint)[0] if i in self._prices else None for i in product_ids
        ]
        return Features(decoder.decode(user), decoder.decode(values))

    def held(self, asked: Sequence[tuple[UserId | None, Sequence[ProductId]]]) -> Sequence[Features | None]:
        return [None] * len(asked)

    def remembered(self, user_id: UserId | None, product_ids: Sequence[ProductId]) -> Features:
        return Features(Rows.missing(1, 1), Rows.missing(len(product_ids), 1))

    async def open(self) -> None: ...
    async def close(self) -> None: ...


async def price(matrix: Matrix) -> Scores:
    return matrix[:, 1]


def rank(
    store: DictStore,
    ids: str,
    user: str | None = "u",
    top_k: int | None = None,
    score: object = price,
    **policy: object,
) -> Answer:
    pipeline = Pipeline(SCHEMA, store, score, Policy(**policy))  # type: ignore[arg-type]  # all of a store that it calls

    async def bounded() -> Answer:
        async with asyncio.timeout(NEVER_S / 2):
            return await pipeline.rank(UserId(user), [ProductId(i) for i in ids], top_k)

    return asyncio.run(bounded())


PRICES = {"a": 1.0, "b": 9.0, "c": 3.0}


def test_products_come_best_first_with_their_scores() -> None:
    answer = rank(DictStore(PRICES), "abc")
    assert (answer.ranking, answer.scores.tolist()) == (["b", "c", "a"], [9, 3, 1])
    assert (answer.missing, answer.degraded_reason) == ([], None)


def test_permuting_the_products_permutes_the_answer() -> None:
    for ids in ("abc", "cba", "bca"):
        assert rank(DictStore(PRICES), ids).ranking == ["b", "c", "a"]


def test_top_k_and_a_single_product() -> None:
    assert rank(DictStore(PRICES), "abc", top_k=1).ranking == ["b"]
    assert rank(DictStore(PRICES), "abc", top_k=9).ranking == ["b", "c", "a"]
    assert rank(DictStore(PRICES), "c").ranking == ["c"]


@pytest.mark.parametrize(("policy", "ranking"), [("default", "byxca"), ("last", "bcayx"), ("drop", "bca")])
def test_missing_products_follow_the_policy(policy: str, ranking: str) -> None:
    answer = rank(DictStore(PRICES), "aybxc", missing_product=policy)
    assert "".join(answer.ranking) == ranking
    assert answer.missing == ["y", "x"]
    assert len(answer.scores) == len(ranking)


@pytest.mark.parametrize(("policy", "ranking"), [("default", "bwxyca"), ("last", "bcawyx"), ("drop", "bca")])
def test_products_whose_vectors_are_unusable_are_missing_as_those_that_have_none(policy: str, ranking: str) -> None:
    class Spoilt(DictStore):
        async def fetch(self, user_id: UserId | None, product_ids: Sequence[ProductId]) -> Features:
            found = await super().fetch(user_id, product_ids)
            unusable = {"w": RowStatus.WRONG_SCHEMA, "y": RowStatus.CORRUPT, "x": RowStatus.MISSING}
            statuses = np.array([unusable.get(i, RowStatus.FOUND) for i in product_ids], np.uint8)
            return replace(found, products=Rows(found.products.values, statuses, complete=False))

    answer = rank(Spoilt(PRICES | {"w": 99.0, "y": 98.0}), "wabycx", missing_product=policy)
    assert answer.missing == ["w", "y", "x"]
    assert sorted(answer.ranking) == sorted(ranking)
    if policy != "default":
        assert "".join(answer.ranking) == ranking
    assert set(answer.row_scores[[0, 3, 5]].tolist()) == {5}


@pytest.mark.parametrize(("policy", "ranking"), [("default", "xy"), ("last", "xy"), ("drop", "")])
def test_all_products_missing_is_an_answer(policy: str, ranking: str) -> None:
    answer = rank(DictStore({}), "xy", missing_product=policy)
    assert "".join(answer.ranking) == ranking
    assert answer.missing == ["x", "y"]


def test_unknown_user_follows_the_policy() -> None:
    assert rank(DictStore(PRICES), "abc", user="unknown").ranking == ["b", "c", "a"]
    with pytest.raises(UnknownUser, match="unknown"):
        rank(DictStore(PRICES), "abc", user="unknown", missing_user="error")


@pytest.mark.parametrize("policy", ["default", "last", "drop"])
@pytest.mark.parametrize(
    ("user", "ids", "reason"),
    [
        ("unknown", "xy", "no_features"),
        ("unknown", "ax", None),  # a product was found
        ("u", "xy", None),  # the user was
        (None, "xy", "no_features"),  # nobody has any
        (None, "ax", None),
    ],
)
def test_answer_that_rests_on_nothing_found_is_degraded(
    policy: str, user: str | None, ids: str, reason: str | None
) -> None:
    answer = rank(DictStore(PRICES), ids, user=user, missing_product=policy)
    assert (answer.missing_user, answer.degraded_reason) == (user == "unknown", reason)
    assert answer.failures == ()  # nothing failed
    if policy == "default":
        assert np.isfinite(answer.scores).all()


def test_nobody_is_no_missing_user() -> None:
    answer = rank(DictStore(PRICES), "ab", user=None, missing_user="error")
    assert (answer.ranking, answer.missing_user, answer.degraded_reason) == (["b", "a"], False, None)


@pytest.mark.parametrize("fails", [False, True])
def test_schema_without_user_features_is_asked_for_nobodys_whoever_it_is(fails: bool) -> None:
    schema = FeatureSchema.from_mapping({"product": {"features": [{"name": "price", "default": 5.0}]}})

    class Asked(DictStore):
        def held(self, asked: Sequence[tuple[UserId | None, Sequence[ProductId]]]) -> Sequence[Features | None]:
            users.extend(("held", user) for user, _ in asked)
            return [None] * len(asked)

        async def fetch(self, user_id: UserId | None, product_ids: Sequence[ProductId]) -> Features:
            users.append(("fetch", user_id))
            if fails:
                raise StoreUnavailable("down")
            found = (await super().fetch(UserId("u"), product_ids)).products
            return Features(Rows.known(np.empty((1, 0), np.float32)), found)

        def remembered(self, user_id: UserId | None, product_ids: Sequence[ProductId]) -> Features:
            users.append(("remembered", user_id))
            return Features(Rows.known(np.empty((1, 0), np.float32)), Rows.missing(len(product_ids), 1))

    async def test() -> list[Answer]:
        async def score(matrix: Matrix) -> Scores:
            return matrix[:, 0]

        pipeline = Pipeline(schema, Asked(PRICES), score, Policy(missing_user="error"))  # type: ignore[arg-type]  # all of a store that it calls
        return [await pipeline.rank(UserId("u"), [ProductId(i) for i in ids]) for ids in ("ab", "xy")]

    users: list[tuple[str, UserId | None]] = []
    known, unknown = asyncio.run(test())
    assert dict.fromkeys(users) == dict.fromkeys((do, None) for do in ("held", "fetch", *["remembered"] * fails))
    reasons = 2 * ["features_unavailable"] if fails else [None, "no_features"]
    assert [known.degraded_reason, unknown.degraded_reason] == reasons
    assert unknown.missing_user is False
    assert known.ranking == (["a", "b"] if fails else ["b", "a"])


def test_nothing_found_is_no_failure_to_raise() -> None:
    assert rank(DictStore({}), "xy", user="unknown", on_failure="error").degraded_reason == "no_features"
    with pytest.raises(UnknownUser):
        rank(DictStore({}), "xy", user="unknown", missing_user="error")


def test_features_that_could_not_be_read_are_not_called_absent() -> None:
    answer = rank(DictStore({}, StoreUnavailable("down")), "xy", user="unknown")
    assert (answer.missing_user, answer.degraded_reason) == (True, "features_unavailable")


def test_scores_that_fail_are_more_than_features_that_are_absent() -> None:
    async def score(matrix: Matrix) -> Scores:
        raise ModelFailed(len(matrix), "no such row")

    answer = rank(DictStore({}), "xy", user="unknown", score=score)
    assert (answer.missing_user, answer.degraded_reason) == (True, "scores_unavailable")


def test_nan_scores_rank_last() -> None:
    async def score(matrix: Matrix) -> Scores:
        return np.array([np.nan, 1, 2], dtype=np.float32)

    answer = rank(DictStore(PRICES), "abc", score=score)
    assert answer.ranking == ["c", "b", "a"]
    assert not answer.finite


@pytest.mark.parametrize("policy", ["default", "last", "drop"])
def test_infinite_scores_rank_as_infinity_and_are_shown_as_the_largest_number(policy: str) -> None:
    given = np.array([1, np.inf, np.nan, -np.inf, 2, np.inf], dtype=np.float32)

    async def score(matrix: Matrix) -> Scores:
        return given

    answer = rank(DictStore(dict.fromkeys("abcdef", 1.0)), "abcdef", score=score, missing_product=policy)
    assert answer.ranking == list("bfeadc")
    largest = float(np.finfo(np.float32).max)
    assert answer.scores[:-1].tolist() == [largest, largest, 2, 1, -largest]
    assert np.isnan(answer.scores[-1])
    assert answer.row_scores.tolist()[:2] == [1, np.inf]  # as the model gave them, for what compares bits
    assert (answer.finite, answer.degraded_reason) == (False, None)


def test_failures_say_what_was_raised() -> None:
    async def score(matrix: Matrix) -> Scores:
        raise ModelFailed(len(matrix), "idx=98999 must be within [-500,499]")

    failures = rank(DictStore(PRICES, StoreUnavailable("down")), "abc", score=score).failures
    assert [failure.kind for failure in failures] == ["store_unavailable", "model_failed"]
    assert "down" in failures[0].sentence
    assert "idx=98999" in failures[1].sentence
    (late,) = rank(DictStore(PRICES, delay_s=NEVER_S), "abc", deadline_s=1.0).failures
    assert late == ("deadline_exceeded", "The deadline of 1000 ms passed during fetch.")

    async def wait(matrix: Matrix) -> Scores:
        await asyncio.Event().wait()
        return matrix[:, 1]

    (late,) = rank(DictStore(PRICES), "abc", score=wait, deadline_s=0.5).failures
    assert late == ("deadline_exceeded", "The deadline of 500 ms passed during score.")
    assert rank(DictStore(PRICES), "abc").failures == ()


@pytest.mark.parametrize(
    ("store", "deadline_s", "reason", "error"),
    [
        (DictStore(PRICES, StoreUnavailable("down")), NEVER_S, "features_unavailable", StoreUnavailable),
        (DictStore(PRICES, delay_s=NEVER_S), 1.0, "features_late", DeadlineExceeded),
    ],
)
def test_failing_store_degrades_to_default_vectors_or_raises(
    store: DictStore, deadline_s: float, reason: str, error: type[Exception]
) -> None:
    answer = rank(store, "cab", deadline_s=deadline_s)
    assert (answer.ranking, answer.degraded_reason) == (["c", "a", "b"], reason)
    assert answer.scores.tolist() == [5, 5, 5]
    assert answer.missing == ["c", "a", "b"]
    assert answer.timings().total < NEVER_S / 2
    with pytest.raises(error):
        rank(store, "cab", deadline_s=deadline_s, on_failure="error")


@pytest.mark.parametrize(
    ("delay_s", "deadline_s", "reason", "error"),
    [(0, NEVER_S, "scores_unavailable", RunnerUnavailable), (NEVER_S, 1.0, "scores_late", DeadlineExceeded)],
)
def test_failing_scorer_keeps_the_callers_order_or_raises(
    delay_s: float, deadline_s: float, reason: str, error: type[Exception]
) -> None:
    async def score(matrix: Matrix) -> Scores:
        await asyncio.sleep(delay_s)
        raise RunnerUnavailable("gone")

    answer = rank(DictStore(PRICES), "cab", score=score, deadline_s=deadline_s)
    assert (answer.ranking, answer.degraded_reason) == (["c", "a", "b"], reason)
    assert np.isnan(answer.scores).all()
    assert answer.scores.dtype == answer.row_scores.dtype == np.float32
    assert answer.finite  # no score of the model's is none
    with pytest.raises(error):
        rank(DictStore(PRICES), "cab", score=score, deadline_s=deadline_s, on_failure="error")


CONTEXT_SCHEMA = FeatureSchema.from_mapping(
    SCHEMA.to_metadata()
    | {
        "context": {"features": [{"name": "hour", "default": 12}]},
        "productContext": {"features": [{"name": "discount", "default": -1}]},
    }
)


def rank_in_context(store: DictStore, ids: str, discounts: list[object], **policy: object) -> Answer:
    """Rank by price times hour, less the discount."""

    async def score(matrix: Matrix) -> Scores:
        return matrix[:, 1] * matrix[:, 2] - matrix[:, 3]

    pipeline = Pipeline(CONTEXT_SCHEMA, store, score, Policy(**policy))  # type: ignore[arg-type]  # all of a store that it calls
    context = ContextReader(CONTEXT_SCHEMA).read({"hour": 2}, {"discount": discounts}, "", len(ids))

    async def bounded() -> Answer:
        async with asyncio.timeout(NEVER_S / 2):
            return await pipeline.rank(UserId("u"), [ProductId(i) for i in ids], None, context)

    return asyncio.run(bounded())


@given(
    st.permutations("abcdefgh"),
    st.lists(st.none() | st.floats(-100, 100, width=32), min_size=8, max_size=8),
    st.sampled_from(["default", "last", "drop"]),
)
@settings(max_examples=50)
def test_permuting_products_and_their_context_together_permutes_the_scores(
    ids: list[str], discounts: list[float | None], missing: str
) -> None:
    store = DictStore({i: float(n) for n, i in enumerate("abcdef")})
    in_order = rank_in_context(store, "abcdefgh", discounts, missing_product=missing)
    permuted = [discounts["abcdefgh".index(i)] for i in ids]
    answer = rank_in_context(store, "".join(ids), permuted, missing_product=missing)
    assert dict(zip(answer.ranking, answer.scores.tolist(), strict=True)) == dict(
        zip(in_order.ranking, in_order.scores.tolist(), strict=True)
    )
    assert set(answer.missing) == {"g", "h"}


@pytest.mark.parametrize(("policy", "ranking"), [("default", "ycxa"), ("last", "cayx"), ("drop", "ca")])
def test_missing_products_keep_their_context(policy: str, ranking: str) -> None:
    answer = rank_in_context(DictStore(PRICES), "aycx", [1, 0, None, 3], missing_product=policy)
    assert "".join(answer.ranking) == ranking
    known = dict(zip(answer.ranking, answer.scores.tolist(), strict=True))
    assert known == {i: s for i, s in {"a": 1.0, "y": 10.0, "c": 7.0, "x": 7.0}.items() if i in ranking}


def test_failing_store_still_ranks_by_context() -> None:
    answer = rank_in_context(DictStore(PRICES, StoreUnavailable("down")), "cab", [3, 1, 2])
    assert (answer.ranking, answer.degraded_reason) == (["a", "b", "c"], "features_unavailable")
    assert answer.scores.tolist() == [9, 8, 7]


def test_timings_add_up_and_render_as_server_timing() -> None:
    answer = rank(DictStore(PRICES, delay_s=0.01), "abc")
    timings = answer.timings(answer.moments.ranked + 0.5)
    assert timings.fetch >= 0.01
    assert (timings.decode, timings.serialise) == (0, pytest.approx(0.5))
    assert sum(timings[:-1]) == pytest.approx(timings.total)
    assert timings.to_header().decode().startswith(f"fetch;dur={timings.fetch * 1000:.3f}, ")
    assert [part.split(";")[0].strip() for part in timings.to_header().decode().split(",")] == [
        *("fetch", "assemble", "score", "total"),  # callers may count on these being first
        *("queue", "rank"),
    ]


def test_decoding_is_a_part_of_the_fetch_and_the_rest_of_the_total_is_none() -> None:
    class Decoding(DictStore):
        async def fetch(self, user_id: UserId | None, product_ids: Sequence[ProductId]) -> Features:
            features = await super().fetch(user_id, product_ids)
            features.reading = Reading(0.004, 1, 4)
            return features

    timings = rank(Decoding(PRICES, delay_s=0.01), "abc").timings()
    assert (timings.decode, timings.serialise) == (0.004, 0)
    assert sum(timings[:-1]) - timings.decode == pytest.approx(timings.total)


def test_an_answer_names_the_call_that_scored_it() -> None:
    assert rank(DictStore(PRICES), "abc").call == Call(1, 3)

    async def fails(matrix: Matrix) -> Scores:
        raise RunnerUnavailable("gone")

    assert rank(DictStore(PRICES), "abc", score=fails).call is None


def test_what_a_request_has_waited_counts_and_its_budget_bounds_it() -> None:
    async def test() -> None:
        late = DictStore(PRICES, delay_s=NEVER_S)
        pipeline = Pipeline(SCHEMA, late, price, Policy(deadline_s=0.5))  # type: ignore[arg-type]  # all of a store that it calls
        for waited_s, allowed_s, takes_s in ((0.0, 0.1, 0.1), (0.1, 0.5, 0.2), (9.0, 0.5, 0.0)):
            began = monotonic()
            answer = await pipeline.rank(UserId("u"), [ProductId("a")], budget=Budget(began - waited_s, allowed_s))
            assert answer.degraded_reason in ("features_late", "scores_late")
            assert takes_s / 2 <= monotonic() - began < NEVER_S / 2
            assert waited_s <= answer.timings().queue < waited_s + NEVER_S / 2
            assert answer.timings().total > waited_s

    asyncio.run(test())


def test_timings_add_up_with_the_wait_for_a_turn() -> None:
    async def test() -> None:
        pipeline = Pipeline(SCHEMA, DictStore(PRICES), price, Policy())
        t = (await pipeline.rank(UserId("u"), [ProductId("a")], budget=Budget(monotonic() - 20, 60))).timings()
        assert t.fetch < 20 <= t.queue
        assert t.queue + t.fetch + t.assemble + t.score <= t.total

    asyncio.run(test())


def test_time_a_request_waited_for_its_turn_is_not_taken_from_the_fetch_alone() -> None:
    async def test() -> tuple[str | None, ...]:
        pipeline = Pipeline(SCHEMA, DictStore(PRICES, delay_s=0.3), price, Policy())
        waits = (2, 19.8)
        asked = (pipeline.rank(UserId("u"), [ProductId("a")], budget=Budget(monotonic() - s, 20)) for s in waits)
        return tuple(answer.degraded_reason for answer in await asyncio.gather(*asked))

    assert asyncio.run(test()) == (None, "features_late")  # six tenths of 18 s are left for it, and of 0.2 s


def test_features_that_are_late_leave_time_to_score_default_vectors() -> None:
    async def score(matrix: Matrix) -> Scores:
        await asyncio.sleep(0.02)
        return matrix[:, 1]

    answer = rank(DictStore(PRICES, delay_s=NEVER_S), "cab", score=score, deadline_s=1)
    assert (answer.degraded_reason, answer.scores.tolist()) == ("features_late", [5, 5, 5])


def test_matrix_has_no_prepared_columns_though_products_have_and_the_answer_names_its_model() -> None:
    class Prepared(DictStore):
        async def fetch(self, user_id: UserId | None, product_ids: Sequence[ProductId]) -> Features:
            found = await super().fetch(user_id, product_ids)
            behind = np.full((len(product_ids), 2), 77, np.float32)
            found.products.values = np.hstack([found.products.values, behind])
            return found

    async def test() -> Answer:
        pipeline = Pipeline(SCHEMA, Prepared(PRICES), price, Policy(), model="shop:1", prepared=True)  # type: ignore[arg-type]  # all of a store that it calls
        return await pipeline.rank(UserId("u"), [ProductId(i) for i in "abx"])

    answer = asyncio.run(test())
    assert answer.matrix.tolist() == [[1, 1], [1, 9], [1, 5]]
    assert (answer.ranking, answer.model) == (["b", "x", "a"], "shop:1")


def test_answer_of_a_pipeline_that_was_told_no_model_names_none() -> None:
    assert rank(DictStore(PRICES), "abc").model == ""


def test_request_that_cannot_be_answered_fails_alone() -> None:
    async def test() -> list[Answer | BaseException]:
        pipeline = Pipeline(SCHEMA, DictStore(PRICES), price, Policy())  # type: ignore[arg-type]  # all of a store that it calls
        asked = [("ab", 1), ("ba", 1.5), ("bc", None)]
        ranked = (pipeline.rank(UserId("u"), [*map(ProductId, ids)], top_k) for ids, top_k in asked)  # type: ignore[arg-type]  # 1.5 is no number of products
        return await asyncio.gather(*ranked, return_exceptions=True)

    first, wrong, last = asyncio.run(test())
    assert isinstance(wrong, TypeError)
    assert isinstance(first, Answer)
    assert isinstance(last, Answer)
    assert (first.ranking, last.ranking) == (["b"], ["b", "c"])


def test_turn_is_as_long_as_it_was_said_to_be_and_a_lone_request_takes_its_own_way() -> None:
    calls: list[str] = []

    def way(name: str, gate: asyncio.Event) -> object:
        async def score(matrix: Matrix) -> Scores:
            calls.append(f"{name} {len(matrix)}")
            await gate.wait()
            return matrix[:, 1]

        return score

    async def test() -> None:
        gate, store = asyncio.Event(), DictStore({})
        ways = way("busy", gate), way("alone", gate)
        pipeline = Pipeline(SCHEMA, store, ways[0], Policy(), max_rows=64, share=40, score_alone=ways[1])  # type: ignore[arg-type]  # as above

        def begin(rows: int) -> asyncio.Task[Answer]:
            return asyncio.create_task(pipeline.rank(UserId("u"), [ProductId(f"{i}") for i in range(rows)]))

        ranked = [begin(1)]
        while not calls:  # noqa: ASYNC110  # the model tells of calls by making them
            await asyncio.sleep(0)
        ranked += [begin(40), begin(40)]
        while pipeline.waiting < 2:  # noqa: ASYNC110  # as above
            await asyncio.sleep(0)
        gate.set()
        await asyncio.gather(*ranked)

    asyncio.run(test())
    assert calls == ["alone 1", "busy 40", "alone 40"]  # a second turn of 40 does not fit into 64
