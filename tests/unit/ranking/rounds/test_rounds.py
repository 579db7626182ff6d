"""Requests that are ranked together, over a store that holds some of them; models are quick, slow or broken."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from math import ceil
from time import monotonic
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ranker.errors import DependencyError, ModelFailed, RunnerUnavailable
from ranker.ranking.answer import Answer
from ranker.ranking.job import Budget, Job, Policy
from ranker.ranking.pipeline import Pipeline
from ranker.ranking.rounds.entry import MOST_ENTRIES
from ranker.scheduling.batching import Call
from ranker.vectors.rows import Features, Matrix, ProductId, Rows, RowStatus, Scores, UserId
from ranker.vectors.schema import FeatureSchema
from tests.support.sample import eventually, run

SCHEMA = FeatureSchema.from_mapping(
    {
        "user": {"features": [{"name": "age", "default": 0.5}]},
        "product": {"features": [{"name": "price", "default": 5.0}]},
    }
)


class Store:
    """Everybody's age is the number in the name, and so is a product's price; those with a `?` are missing.

    Users whose name begins with `read` are not held: they are read once the gate is open.
    """

    def __init__(self) -> None:
        self.looked_up: list[int] = []
        self.reading = 0
        self.gate = asyncio.Event()

    def held(self, asked: Sequence[tuple[UserId, Sequence[ProductId]]]) -> list[Features | None]:
        self.looked_up.append(len(asked))
        return [None if user.startswith("read") else features(user, products) for user, products in asked]

    async def fetch(self, user_id: UserId, product_ids: Sequence[ProductId]) -> Features:
        self.reading += 1
        try:
            await self.gate.wait()
        finally:
            self.reading -= 1
        return features(user_id, product_ids)

    def remembered(self, user_id: UserId, product_ids: Sequence[ProductId]) -> Features:
        return Features(Rows.missing(1, 1), Rows.missing(len(product_ids), 1))


def features(user_id: str, product_ids: Sequence[str]) -> Features:
    return Features(rows_of([user_id]), rows_of(product_ids))


def rows_of(names: Sequence[str]) -> Rows:
    statuses = np.array([RowStatus.MISSING if "?" in name else RowStatus.FOUND for name in names], np.uint8)
    return Rows(np.array([[number(name)] for name in names], np.float32), statuses, not statuses.any())


def number(name: str) -> float:
    """`p12.5` is 12.5, and `p12.5/3` too: products of one price are told apart by what follows."""
    return float(name.strip("?readup").partition("/")[0])


class Model:
    """Scores rows by price and age; waits at a gate unless it is open, and notes the rows of each call."""

    def __init__(self, *, open_gate: bool = True) -> None:
        self.calls: list[int] = []
        self.gate = asyncio.Event()
        if open_gate:
            self.gate.set()

    async def __call__(self, matrix: Matrix) -> Scores:
        self.calls.append(len(matrix))
        await self.gate.wait()
        return self.at_once(matrix)

    def at_once(self, matrix: Matrix) -> Scores:
        if (matrix[:, 1] < 0).any():
            raise ModelFailed(len(matrix), "a negative price")
        return score(matrix)


def score(matrix: Matrix) -> Scores:
    """Price 13 has no score."""
    return np.where(matrix[:, 1] == 13, np.nan, matrix[:, 1] * matrix[:, 0]).astype(np.float32)


def make(model: Any, store: Any = None, *, max_rows: int = 64, share: int | None = None, **policy: Any) -> Pipeline:
    return Pipeline(SCHEMA, store or Store(), model, Policy(**policy), max_rows=max_rows, share=share)


def rank(pipeline: Pipeline, user: str, *products: str) -> asyncio.Task[Answer]:
    return asyncio.create_task(pipeline.rank(UserId(user), [ProductId(p) for p in products]))


def prices(n: int, start: int = 20) -> list[str]:
    return [f"p{start + i}" for i in range(n)]


def test_what_arrives_in_one_turn_is_looked_up_and_scored_together() -> None:
    async def test() -> None:
        model, store = Model(), Store()
        pipeline = make(model, store)
        answers = await asyncio.gather(*(rank(pipeline, f"u{i + 1}", *prices(i + 1)) for i in range(6)))
        assert (store.looked_up, model.calls) == ([6], [21])
        assert [answer.call for answer in answers] == 6 * [Call(6, 21)]
        assert [answer.scores[0] for answer in answers] == [(i + 1) * (20 + i) for i in range(6)]

    run(test)


@pytest.mark.parametrize(("lists", "looked_up"), [((5, 5), [2]), ((5, 5, 1), [2, 1]), ((11, 5, 5), [1, 2])])
def test_look_up_takes_as_many_rows_as_a_call_may_have_and_no_more(lists: list[int], looked_up: list[int]) -> None:
    async def test() -> None:
        store = Store()
        pipeline = make(Model(), store, max_rows=10)
        await asyncio.gather(*(rank(pipeline, "u1", *prices(n)) for n in lists))
        assert store.looked_up == looked_up

    run(test)


def test_lone_request_waits_for_nobody() -> None:
    async def test() -> None:
        pipeline = make(Model().at_once)
        ranked = rank(pipeline, "u1", "p1", "p2")
        turns = 0
        while not ranked.done():
            await asyncio.sleep(0)
            turns += 1
        assert turns <= 4  # its task begins, its round, its future, and this loop after its task
        assert (await ranked).ranking == ["p2", "p1"]

    run(test)


def test_what_arrives_while_the_model_is_busy_goes_out_in_the_next_call() -> None:
    async def test() -> None:
        model, store = Model(open_gate=False), Store()
        pipeline = make(model, store)
        first = rank(pipeline, "u1", "p1")
        await eventually(lambda: model.calls == [1])
        others = [rank(pipeline, "u1", "p1", "p2") for _ in range(3)]
        await eventually(lambda: pipeline.waiting == 3)
        assert (model.calls, store.looked_up[0], sum(store.looked_up)) == ([1], 1, 4)
        model.gate.set()
        answers = await asyncio.gather(first, *others)
        assert model.calls == [1, 6]
        assert [answer.call for answer in answers] == [Call(1, 1)] + 3 * [Call(3, 6)]
        assert pipeline.waiting == 0

    run(test)


def test_what_misses_leaves_its_round_and_joins_a_later_one() -> None:
    async def test() -> None:
        model, store = Model(), Store()
        pipeline = make(model, store)
        missing = [rank(pipeline, "read1", "p1"), rank(pipeline, "read2", "p1")]
        held = [rank(pipeline, "u1", "p1", "p2"), rank(pipeline, "u2", "p1", "p2")]
        assert [answer.call for answer in await asyncio.gather(*held)] == 2 * [Call(2, 4)]
        assert (store.looked_up, store.reading) == ([4], 2)
        store.gate.set()
        answers = await asyncio.gather(*missing)
        assert (model.calls, [float(answer.scores[0]) for answer in answers]) == ([4, 2], [1, 2])

    run(test)


def test_reads_begin_while_the_model_is_busy() -> None:
    async def test() -> None:
        model, store = Model(open_gate=False), Store()
        pipeline = make(model, store)
        held = rank(pipeline, "u1", "p1")
        await eventually(lambda: model.calls == [1])
        missing = rank(pipeline, "read1", "p1")
        await eventually(lambda: store.reading == 1)
        assert not held.done()
        model.gate.set()
        store.gate.set()
        await asyncio.gather(held, missing)

    run(test)


def test_requests_have_no_timers_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        loop, timers = asyncio.get_running_loop(), []
        call_at = loop.call_at
        pipeline = make(Model(), deadline_s=60)

        def counted(*given: Any, **options: Any) -> asyncio.TimerHandle:
            timers.append(given)
            return call_at(*given, **options)

        monkeypatch.setattr(loop, "call_at", counted)
        for _ in range(20):
            await asyncio.gather(*(rank(pipeline, "u1", "p1", "p2") for _ in range(10)))
        assert len(timers) == 1
        await pipeline.close()

    run(test)


def test_late_request_is_answered_in_time_and_late_scores_do_not_change_its_answer() -> None:
    async def test() -> None:
        model = Model(open_gate=False)
        pipeline = make(model, max_rows=4, share=4, deadline_s=0.5)
        waiting = [rank(pipeline, "u1", *prices(3)) for _ in range(3)]
        answers = await asyncio.gather(*waiting)
        assert [answer.degraded_reason for answer in answers] == 3 * ["scores_late"]
        assert [answer.call for answer in answers] == 3 * [None]
        assert model.calls == [3]
        model.gate.set()
        later = await rank(pipeline, "u2", "p1")
        assert (later.degraded_reason, later.scores.tolist()) == (None, [2])
        assert model.calls == [3, 1]  # those that were late are not sent
        for answer in answers:
            assert np.isnan(answer.row_scores).all()
            assert answer.matrix.tolist() == [[1, 20 + i] for i in range(3)]  # what it would have been given

    run(test)


def test_long_list_that_is_late_keeps_no_scores_of_its_first_pieces() -> None:
    async def test() -> None:
        calls = 0
        answered = asyncio.Event()

        async def slow(matrix: Matrix) -> Scores:
            nonlocal calls
            calls += 1
            if calls == 2:
                await answered.wait()
            return score(matrix)

        pipeline = make(slow, max_rows=8, share=8, deadline_s=0.5)
        answer = await rank(pipeline, "u1", *prices(20))
        assert answer.degraded_reason == "scores_late"
        answered.set()
        assert (await rank(pipeline, "u1", "p1")).degraded_reason is None  # the late call has come back
        assert np.isnan(answer.row_scores).all()
        await pipeline.close()

    run(test)


@pytest.mark.parametrize("at_once", [True, False])
def test_one_bad_request_does_not_fail_those_that_share_its_call(at_once: bool) -> None:
    async def test() -> None:
        model = Model()
        pipeline = make(model.at_once if at_once else model)
        asked = [rank(pipeline, "u1", "p1", "p2"), rank(pipeline, "u1", "p1", "p-3"), rank(pipeline, "u1", "p4")]
        good, bad, other = await asyncio.gather(*asked)
        assert [answer.degraded_reason for answer in (good, bad, other)] == [None, "scores_unavailable", None]
        assert (good.call, bad.call, other.call) == (Call(1, 2), None, Call(1, 1))
        assert (good.ranking, bad.ranking) == (["p2", "p1"], ["p1", "p-3"])
        assert "2 rows" in bad.failures[0].sentence
        again = await asyncio.gather(rank(pipeline, "u1", "p1"), rank(pipeline, "u1", "p2"))
        assert [answer.call for answer in again] == 2 * [Call(2, 2)]

    run(test)


@pytest.mark.parametrize("on_failure", ["degrade", "error"])
def test_failure_of_the_runner_is_shared_and_not_repeated(on_failure: Literal["degrade", "error"]) -> None:
    async def test() -> None:
        calls = 0

        async def gone(matrix: Matrix) -> Scores:
            nonlocal calls
            calls += 1
            raise RunnerUnavailable("gone")

        pipeline = make(gone, on_failure=on_failure)
        asked = [rank(pipeline, "u1", "p1") for _ in range(4)]
        for outcome in await asyncio.gather(*asked, return_exceptions=True):
            if on_failure == "error":
                assert isinstance(outcome, DependencyError)
            else:
                assert isinstance(outcome, Answer)
                assert outcome.degraded_reason == "scores_unavailable"
        assert calls == 1

    run(test)


def test_whatever_else_the_model_raises_is_told_to_each_caller() -> None:
    async def test() -> None:
        def short(matrix: Matrix) -> Scores:
            return score(matrix)[:-1]

        def column(matrix: Matrix) -> Scores:
            return score(matrix)[:, np.newaxis]

        for wrong, shape in ((short, "(1,)"), (column, "(2, 1)")):
            pipeline = make(wrong)
            asked = [rank(pipeline, "u1", "p1", "p2") for _ in range(2)]
            for outcome in await asyncio.gather(*asked, return_exceptions=True):
                assert isinstance(outcome, RuntimeError)
                assert f"2 rows returned scores of shape {shape}" in str(outcome)

        async def cancelled(matrix: Matrix) -> Scores:
            raise asyncio.CancelledError

        with pytest.raises(RuntimeError, match=r"^the call of the model was cancelled$"):
            await rank(make(cancelled), "u1", "p1")

    run(test)


def test_rows_that_cannot_be_joined_fail_no_others() -> None:
    async def test() -> None:
        pipeline = make(Model(), deadline_s=60)
        narrow = pipeline.score(np.ones((1, 1), np.float32))
        outcomes = await asyncio.gather(rank(pipeline, "u1", "p1"), narrow, return_exceptions=True)
        assert isinstance(outcomes[0], Answer)
        assert isinstance(outcomes[1], IndexError)  # the model has no second column to look at

    run(test)


def test_rows_of_another_width_leave_the_calls_after_theirs_as_they_were() -> None:
    async def test() -> None:
        model = Model()
        pipeline, rows = make(model, deadline_s=60), np.ones((1, 2), np.float32)
        wrong = [pipeline.score(np.ones((1, 1), np.float32)) for _ in range(2)]
        outcomes = await asyncio.gather(*wrong, pipeline.score(rows), return_exceptions=True)
        assert list(map(type, outcomes)) == [IndexError, IndexError, np.ndarray]
        model.calls.clear()
        await asyncio.gather(pipeline.score(rows), pipeline.score(rows), rank(pipeline, "u1", "p1"))
        assert model.calls == [3]

    run(test)


@pytest.mark.parametrize("at_once", [True, False])
def test_scores_that_are_no_numbers_are_told_to_each_caller(at_once: bool) -> None:
    async def test() -> None:
        def words(matrix: Matrix) -> Any:
            return np.array(["good"] * len(matrix), dtype=object)

        async def later(matrix: Matrix) -> Any:
            return words(matrix)

        pipeline = make(words if at_once else later, deadline_s=60)
        asked = [rank(pipeline, "u1", "p1", "p2") for _ in range(2)]
        for outcome in await asyncio.gather(*asked, return_exceptions=True):
            assert isinstance(outcome, ValueError)

    run(test)


def test_failing_look_up_is_told_to_its_round_alone() -> None:
    class Failing(Store):
        broken = True

        def held(self, asked: Sequence[tuple[UserId, Sequence[ProductId]]]) -> list[Features | None]:
            if self.broken:
                raise ZeroDivisionError
            return super().held(asked)

    async def test() -> None:
        store = Failing()
        pipeline = make(Model(), store)
        outcomes = await asyncio.gather(*(rank(pipeline, "u1", "p1") for _ in range(2)), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == 2 * [ZeroDivisionError]
        store.broken = False
        assert (await rank(pipeline, "u1", "p1")).ranking == ["p1"]

    run(test)


def test_round_has_an_end_also_where_lists_are_short() -> None:
    async def test() -> None:
        model, store = Model(), Store()
        pipeline = make(model, store, max_rows=1024)
        answers = await asyncio.gather(*(rank(pipeline, "u1", "p1") for _ in range(MOST_ENTRIES + 6)))
        assert (store.looked_up, model.calls) == ([MOST_ENTRIES, 6], [MOST_ENTRIES, 6])
        assert {float(answer.scores[0]) for answer in answers} == {1}

    run(test)


def test_caller_who_fails_to_take_an_answer_is_logged_and_holds_up_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        def broken(outcome: object) -> None:
            raise ZeroDivisionError

        pipeline = make(Model())
        pipeline.begin(Job(UserId("u1"), [ProductId("p1")], None, None, Budget(monotonic(), 60), broken))
        assert (await pipeline.rank(UserId("u1"), [ProductId("p1")])).call == Call(2, 2)
        (record,) = caplog.records
        assert record.exc_info is not None
        assert record.exc_info[0] is ZeroDivisionError

    run(test)


LISTS = FeatureSchema.from_mapping(SCHEMA.to_metadata() | {"rows": "together"})


def by_list(matrix: Matrix) -> Scores:
    """Score each product by how far it is from the mean of its list."""
    if (matrix[:, 1] < 0).any():
        raise ModelFailed(len(matrix), "a negative price")
    return (matrix[:, 1] - matrix[:, 1].mean()).astype(np.float32)


@pytest.mark.parametrize("at_once", [True, False])
def test_lists_whose_rows_go_together_go_whole_and_alone(at_once: bool) -> None:
    async def test() -> None:
        calls: list[int] = []

        def noted(matrix: Matrix) -> Scores:
            calls.append(len(matrix))
            return by_list(matrix)

        async def later(matrix: Matrix) -> Scores:
            return noted(matrix)

        told: list[tuple[int, int]] = []
        pipeline = Pipeline(
            LISTS,
            Store(),
            noted if at_once else later,
            Policy(),
            max_rows=8,
            share=2,
            on_call=lambda *call: told.append(call),
        )
        lists = [["p1", "p2"], prices(20), ["p1", "p-1"], ["p1"], ["p5", "p9", "p1"]]
        one, long, bad, single, three = await asyncio.gather(*(rank(pipeline, "u1", *names) for names in lists))
        assert calls == [2, 20, 2, 1, 3]
        assert told == [(1, rows) for rows in calls]
        assert long.row_scores.tolist() == [i - 9.5 for i in range(20)]
        assert [answer.row_scores.tolist() for answer in (one, single, three)] == [[-0.5, 0.5], [0], [0, 4, -4]]
        assert (bad.degraded_reason, one.call, long.call) == ("scores_unavailable", Call(1, 2), Call(1, 20))

    run(test)


def test_context_that_does_not_fit_fails_its_request_alone() -> None:
    schema = FeatureSchema.from_mapping(SCHEMA.to_metadata() | {"context": {"features": ["hour"]}})

    async def test() -> None:
        pipeline = Pipeline(schema, Store(), Model(), Policy())
        fitting, other = (np.ones((n, 1), np.float32) for n in (2, 3))
        ids = [ProductId("p1"), ProductId("p2")]
        asked = (pipeline.rank(UserId("u1"), ids, None, context) for context in (fitting, other, fitting))
        good, bad, also_good = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(bad, ValueError)
        for answer in (good, also_good):
            assert isinstance(answer, Answer)
            assert answer.scores.tolist() == [2, 1]

    run(test)


def test_short_lists_do_not_wait_for_a_long_one() -> None:
    async def test() -> None:
        model = Model()
        pipeline = make(model, max_rows=32, share=8)
        order: list[int] = []
        long = rank(pipeline, "u1", *prices(200))
        shorts = [rank(pipeline, "u1", *prices(4)) for _ in range(12)]
        for task in (long, *shorts):
            task.add_done_callback(lambda task: order.append(len(task.result().ranking)))
        answer, *_ = await asyncio.gather(long, *shorts)
        assert order == 12 * [4] + [200]
        assert model.calls[:2] == [32, 32]  # eight of the long one, and six short ones, twice
        assert len(model.calls) == ceil((200 + 48) / 32)
        assert answer.scores.tolist() == [float(219 - i) for i in range(200)]

    run(test)


@pytest.mark.parametrize(("max_rows", "call"), [(32, Call(10, 31)), (7, Call(7, 7))])
def test_turn_is_an_eighth_of_a_call_and_a_row_at_least_unless_told_otherwise(max_rows: int, call: Call) -> None:
    async def test() -> None:
        model = Model(open_gate=False)
        pipeline = make(model, max_rows=max_rows, deadline_s=60)
        asked = [rank(pipeline, "u1", "p1")]
        await eventually(lambda: model.calls == [1])
        asked.append(rank(pipeline, "u1", *prices(50)))
        await eventually(lambda: pipeline.waiting == 1)
        asked += [rank(pipeline, "u1", *prices(max(1, max_rows // 10))) for _ in range(12)]
        await eventually(lambda: pipeline.waiting == 13)
        model.gate.set()
        _, long, first, *_ = await asyncio.gather(*asked)
        assert first.call == call  # with one turn of the long list, which came before
        assert len(long.ranking) == 50

    run(test)


def test_rest_of_lists_that_were_cut_is_scored_where_it_lies() -> None:
    async def test() -> None:
        model = Model(open_gate=False)
        pipeline = make(model, max_rows=12, share=4)
        asked = [rank(pipeline, "u1", "p1")]
        await eventually(lambda: model.calls == [1])
        asked.append(rank(pipeline, "u1", *prices(4)))
        await eventually(lambda: pipeline.waiting == 1)
        asked += [rank(pipeline, "u1", *prices(6, start)) for start in (30, 40)]  # they lie behind one another
        await eventually(lambda: pipeline.waiting == 3)
        model.gate.set()
        *_, one, other = await asyncio.gather(*asked)
        assert model.calls == [1, 12, 4]
        assert one.scores.tolist() == [35, 34, 33, 32, 31, 30]
        assert other.scores.tolist() == [45, 44, 43, 42, 41, 40]

    run(test)


def test_long_list_alone_fills_its_calls() -> None:
    async def test() -> None:
        model = Model()
        answer = await rank(make(model, max_rows=64, share=8), "u1", *prices(130))
        assert (model.calls, answer.call) == ([64, 64, 2], Call(1, 2))

    run(test)


def test_score_that_is_no_number_is_noted_in_whichever_call_it_was() -> None:
    async def test() -> None:
        pipeline = make(Model(), max_rows=8, share=8)
        names = ["p13", *prices(20)]
        first, last = await rank(pipeline, "u1", *names), await rank(pipeline, "u1", *reversed(names))
        assert (first.finite, last.finite) == (False, False)
        clean, other = await asyncio.gather(rank(pipeline, "u1", "p1", "p2"), rank(pipeline, "u1", "p13"))
        assert clean.call == other.call
        assert (clean.finite, other.finite) == (True, False)  # of its own scores

    run(test)


def test_abandoned_request_is_neither_scored_nor_read_on() -> None:
    async def test() -> None:
        model, store = Model(open_gate=False), Store()
        pipeline = make(model, store, deadline_s=60)
        first = rank(pipeline, "u1", "p1")
        await eventually(lambda: model.calls == [1])
        gone, reading, stays = (rank(pipeline, user, "p1", "p2") for user in ("u1", "read1", "u1"))
        await eventually(lambda: (pipeline.waiting, store.reading) == (2, 1))
        for task in (first, gone, reading):
            task.cancel()
        await eventually(lambda: store.reading == 0)
        model.gate.set()
        assert (await stays).ranking == ["p2", "p1"]
        assert model.calls == [1, 2]

    run(test)


def test_close_cancels_what_waits_what_is_read_and_what_is_out() -> None:
    async def test() -> None:
        model, store = Model(open_gate=False), Store()
        pipeline = make(model, store, deadline_s=60)
        tasks = [rank(pipeline, "u1", "p1")]
        await eventually(lambda: model.calls == [1])
        tasks += [rank(pipeline, "u1", "p1"), rank(pipeline, "read1", "p1")]
        await eventually(lambda: (pipeline.waiting, store.reading) == (1, 1))
        tasks.append(rank(pipeline, "u1", "p1"))
        await asyncio.sleep(0)  # it arrives, and is not looked up yet
        await pipeline.close()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == 4 * [asyncio.CancelledError]

    run(test)


def test_rows_of_no_request_share_the_calls_of_requests() -> None:
    async def test() -> None:
        model = Model()
        pipeline = make(model)
        matrix = np.array([[1, 2], [2, 3]], np.float32)
        scores, answer = await asyncio.gather(pipeline.score(matrix), rank(pipeline, "u1", "p1"))
        assert (scores.tolist(), answer.call, model.calls) == ([2, 6], Call(2, 3), [3])
        with pytest.raises(ModelFailed):
            await pipeline.score(-matrix)

    run(test)


names = st.lists(st.sampled_from([0, 1, 1, 1, 2, 13, 30]), min_size=1, max_size=40)
asked = st.tuples(st.sampled_from(["u1", "u2", "u9?", "read3", "read9?"]), names, st.sets(st.integers(0, 39)))


@given(
    st.lists(asked, min_size=1, max_size=8),
    st.sampled_from(["default", "last", "drop"]),
    st.integers(1, 50),
    st.integers(1, 50),
    st.booleans(),
    st.none() | st.integers(1, 50),
)
@settings(max_examples=150, deadline=None)
def test_answers_are_those_of_a_plain_computation(
    requests: list[tuple[str, list[int], set[int]]],
    missing: Literal["default", "last", "drop"],
    max_rows: int,
    share: int,
    at_once: bool,
    top_k: int | None,
) -> None:
    lists = [
        [f"p{price}/{i}{'?' if i in absent else ''}" for i, price in enumerate(chosen)]
        for _, chosen, absent in requests
    ]

    async def test() -> None:
        model, store = Model(), Store()
        store.gate.set()
        scorer = model.at_once if at_once else model
        pipeline = make(scorer, store, max_rows=max_rows, share=share, missing_product=missing, deadline_s=60)
        ids = [[ProductId(name) for name in products] for products in lists]
        ranked = (
            pipeline.rank(UserId(user), products, top_k) for (user, _, _), products in zip(requests, ids, strict=True)
        )
        for (user, _, _), products, answer in zip(requests, ids, await asyncio.gather(*ranked), strict=True):
            check(answer, user, products, missing, top_k)

    run(test)


def check(answer: Answer, user: str, products: list[ProductId], missing: str, top_k: int | None) -> None:
    """Compare an answer with what it must be, bit for bit, computed product by product."""
    age = 0.5 if "?" in user else number(user)
    absent = [product for product in products if "?" in product]
    matrix = np.array([[age, 5.0 if p in absent else number(p)] for p in products], np.float32)
    scores = score(matrix)
    by_score = sorted(range(len(products)), key=lambda i: np.inf if np.isnan(scores[i]) else -scores[i])
    positions = by_score
    if missing != "default":
        positions = [i for i in by_score if products[i] not in absent]
        if missing == "last":
            positions += [i for i, product in enumerate(products) if product in absent]
    positions = positions[:top_k]
    assert answer.ranking == [products[i] for i in positions]
    assert answer.scores.tobytes() == scores[positions].tobytes()
    assert answer.row_scores.tobytes() == scores.tobytes()
    assert np.array_equal(answer.matrix, matrix)
    assert (answer.missing, answer.missing_user) == (absent, "?" in user)
    assert answer.finite == bool(np.isfinite(scores).all())
    assert answer.degraded_reason == ("no_features" if answer.missing_user and absent == products else None)
