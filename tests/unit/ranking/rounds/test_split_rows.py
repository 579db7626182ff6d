"""Rankings of a split model, through real arenas and real parts: those of the whole graph, however requests meet."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from ranker.errors import ModelFailed
from ranker.features.near_cache.arena import Arena
from ranker.features.near_cache.held import find_held
from ranker.features.prepared import Preparer
from ranker.features.reader import ReadRows
from ranker.ranking.answer import Answer
from ranker.ranking.job import Policy
from ranker.ranking.matrix import Assembler
from ranker.ranking.order import order
from ranker.ranking.pipeline import Pipeline
from ranker.ranking.rounds.entry import Entry, Piece, find_block_rows
from ranker.ranking.rounds.split_rows import SplitAssembler
from ranker.scoring.model import OnnxModel
from ranker.scoring.split.model import SplitModel
from ranker.scoring.split.preparation import Preparation
from ranker.vectors.rows import Features, Matrix, ProductId, Reading, Rows, RowStatus, Scores, SplitRows, UserId
from ranker.vectors.schema import FeatureSchema
from tests.support.sample import eventually
from tests.support.splits import BOOKS, CASES, PLAIN

USERS, PRODUCTS = 6, 300


class Shelf:
    """A store over arrays: users and products by number, some in an arena, the others read in the next turn."""

    def __init__(self, schema: FeatureSchema, preparer: Preparer, held: Sequence[str] = ()) -> None:
        rng = np.random.default_rng(1)
        self._preparer = preparer
        self._users = rng.standard_normal((USERS, schema.user.width)).astype(np.float32)
        self.products = rng.standard_normal((PRODUCTS, schema.product.width)).astype(np.float32)
        self.products[:, 0] = rng.integers(0, BOOKS, PRODUCTS)
        self._arenas = Arena(schema.user.width, 1 << 20), Arena(preparer.width, 1 << 24)
        self._held = list(held)
        self.taken: list[Features] = []

    async def fill(self) -> None:
        users, products = self._arenas
        users.put([str(i) for i in range(USERS)], Rows.known(self._users), np.inf)
        products.put(self._held, (await self._read(self._held)).rows, np.inf)

    def held(self, asked: Sequence[tuple[UserId, Sequence[ProductId]]]) -> list[Features | None]:
        found = find_held(*self._arenas, asked, 0.0, Rows.known(self._users[:1]))
        self.taken += [features for features in found if features is not None]
        return found

    async def fetch(self, user_id: UserId, product_ids: Sequence[ProductId]) -> Features:
        await asyncio.sleep(0)
        user = Rows.missing(1, self._users.shape[1])
        if user_id.isdigit():
            user = Rows.known(self._users[int(user_id)][np.newaxis])
        return Features(user, (await self._read(product_ids)).rows)

    async def _read(self, product_ids: Sequence[str]) -> ReadRows:
        rows = np.zeros((len(product_ids), self.products.shape[1]), np.float32)
        statuses = np.full(len(product_ids), RowStatus.MISSING, np.uint8)
        for at, name in enumerate(product_ids):
            if name.isdigit():
                rows[at], statuses[at] = self.products[int(name)], RowStatus.FOUND
        read = ReadRows(Rows(rows, statuses, not statuses.any()), None, Reading(0, 1, 1))
        return await self._preparer.widen(product_ids, read)


class Stand:
    """One split model beside its whole graph, and what its rounds were."""

    def __init__(self, case: str, held: Sequence[str] = (), **how: object) -> None:
        schema, make = CASES[case]
        self.schema, cut = schema, make(schema)
        self.whole, self.split = OnnxModel(cut.whole, schema), SplitModel(cut.parts, schema)
        self.preparation = Preparation(self.split.products)
        self.shelf = Shelf(schema, Preparer(schema.product.width, self.preparation), held)
        self.rounds: list[SplitRows] = []
        self.fails = 0
        self.pipeline = Pipeline(schema, self.shelf, self._score, Policy(), preparation=self.preparation, **how)  # type: ignore[arg-type]  # all of a store that it calls

    def _score(self, rows: SplitRows) -> Scores:
        self.rounds.append(rows)
        if self.fails and len(rows.counts) > 1:
            self.fails -= 1
            raise ModelFailed(len(rows), "together")
        return self.split.score_rows(rows)

    def context(self, n: int, seed: int) -> Matrix | None:
        width = self.schema.width - self.schema.stored_width
        rows = np.random.default_rng(seed).standard_normal((n, width)).astype(np.float32)
        rows[:, :1] = seed  # the request's
        return rows if width else None

    async def rank(self, user: str, names: Sequence[str], seed: int | None = 0) -> Answer:
        context = None if seed is None else self.context(len(names), seed)
        answer = await self.pipeline.rank(UserId(user), [ProductId(n) for n in names], context=context)
        self.compare(answer, user, names, context)
        return answer

    def compare(self, answer: Answer, user: str, names: Sequence[str], context: Matrix | None) -> None:
        """Refuse an answer that is not what the whole graph gives."""
        known = [name.isdigit() for name in names]
        values = np.array([self.shelf.products[int(n)] if n.isdigit() else self.schema.product.defaults for n in names])
        users = self.shelf._users[int(user)] if user.isdigit() else self.schema.user.defaults
        matrix = Assembler(self.schema).matrix(Features(Rows.known(users[np.newaxis]), Rows.known(values)), context)
        np.testing.assert_array_equal(answer.matrix, matrix)
        np.testing.assert_allclose(answer.row_scores, self.whole.score(matrix), rtol=1e-5, atol=1e-5)
        assert answer.ranking == [names[i] for i in order(answer.row_scores)]
        assert answer.missing == [name for name, is_known in zip(names, known, strict=True) if not is_known]
        assert answer.missing_user is not user.isdigit()
        assert answer.degraded_reason is None


def run(test: object) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(30):
            await test()  # type: ignore[operator]

    asyncio.run(bounded())


def names(start: int, stop: int) -> list[str]:
    return [str(i) for i in range(start, stop)]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("held", [True, False])
def test_ranking_is_the_whole_graphs(case: str, held: bool) -> None:
    async def test() -> None:
        stand = Stand(case, names(0, 200) if held else ())
        await stand.shelf.fill()
        await stand.rank("1", names(0, 100))
        await stand.rank("2", ["7"], None)
        await stand.rank("unknown", names(3, 20))
        await stand.rank("3", ["5", "gone", "9", "lost"])
        await stand.rank("nobody", ["gone", "4"], None)
        assert all(len(rows.counts) == 1 for rows in stand.rounds)
        await stand.pipeline.close()

    run(test)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("fails", [0, 1])
def test_mixed_rounds_of_held_and_read_rows_rank_each_request_for_its_own_user(case: str, fails: int) -> None:
    async def test() -> None:
        stand = Stand(case, names(0, 200))
        await stand.shelf.fill()
        stand.fails = fails
        asked = [
            ("0", names(0, 50)),
            ("1", names(10, 11)),
            ("2", names(150, 250)),  # of which some are to be read
            ("3", names(0, 50)),
            ("new", names(5, 9)),
            ("4", ["gone", "3", "lost"]),
            ("5", names(20, 90)),
        ]
        await asyncio.gather(*(stand.rank(user, wanted, seed) for seed, (user, wanted) in enumerate(asked)))
        assert max(len(rows.counts) for rows in stand.rounds) > 2
        await stand.pipeline.close()

    run(test)


@pytest.mark.parametrize("case", CASES)
def test_requests_whose_rows_were_read_apart_go_out_in_one_call(case: str) -> None:
    async def test() -> None:
        is_free = asyncio.Event()

        class Busy(Stand):
            async def _score(self, rows: SplitRows) -> Scores:  # type: ignore[override]  # a pipeline takes either
                self.rounds.append(rows)
                await is_free.wait()
                return self.split.score_rows(rows)

        stand = Busy(case)
        first = asyncio.ensure_future(stand.rank("0", names(0, 3)))
        await eventually(lambda: len(stand.rounds) == 1)
        others = asyncio.gather(stand.rank("1", names(3, 8)), stand.rank("2", names(8, 15)))
        await eventually(lambda: stand.pipeline.waiting == 2)
        is_free.set()
        await asyncio.gather(first, others)
        assert [sorted(rows.counts.tolist()) for rows in stand.rounds] == [[3], [5, 7]]
        await stand.pipeline.close()

    run(test)


@pytest.mark.parametrize("case", CASES)
def test_long_list_in_pieces_beside_short_ones_is_ranked_whole(case: str) -> None:
    async def test() -> None:
        stand = Stand(case, names(0, 300), max_rows=40, share=16)
        await stand.shelf.fill()
        asked = [("0", names(0, 250)), ("1", names(3, 9)), ("2", names(100, 230)), ("3", ["gone", *names(0, 30)])]
        await asyncio.gather(*(stand.rank(user, wanted, seed) for seed, (user, wanted) in enumerate(asked)))
        assert max(map(len, stand.rounds)) <= 40
        assert len(stand.rounds) > 10
        await stand.pipeline.close()

    run(test)


@pytest.mark.parametrize("case", CASES)
def test_whole_rows_are_scored_by_the_same_parts_beside_requests(case: str) -> None:
    async def test() -> None:
        stand = Stand(case, names(0, 200), max_rows=32, share=20)
        await stand.shelf.fill()
        rows = np.random.default_rng(4).standard_normal((50, stand.schema.width)).astype(np.float32)
        rows[:, stand.schema.user.width] = np.arange(50)
        scores, *_ = await asyncio.gather(
            stand.pipeline.score(rows),
            stand.rank("0", names(0, 30)),
            stand.rank("1", names(0, 70)),
            return_exceptions=False,
        )
        np.testing.assert_array_equal(scores, stand.split.score(rows))
        assert (await stand.pipeline.score(rows[:1])).tolist() == stand.split.score(rows[:1]).tolist()
        await stand.pipeline.close()

    run(test)


def test_whole_row_that_cannot_be_prepared_fails_who_asked_for_it() -> None:
    async def test() -> None:
        stand = Stand("towers")
        rows = np.full((3, PLAIN.width), BOOKS, np.float32)
        with pytest.raises(ModelFailed, match="idx=100"):
            await stand.pipeline.score(rows)
        await stand.pipeline.close()

    run(test)


def test_request_whose_rows_cannot_be_placed_fails_alone() -> None:
    async def test() -> None:
        stand = Stand("trees-context")
        await stand.shelf.fill()
        without_columns = np.zeros((1, 0), np.float32)
        good, bad = await asyncio.gather(
            stand.rank("1", names(0, 3)),
            stand.pipeline.rank(UserId("2"), [ProductId("4")], context=without_columns),
            return_exceptions=True,
        )
        assert isinstance(good, Answer)
        assert isinstance(bad, ValueError)
        await stand.pipeline.close()

    run(test)


def test_rows_that_other_requests_have_stay_as_they_are_where_a_product_of_one_counts_as_missing() -> None:
    stand = Stand("mlp")
    width = stand.shelf._preparer.width
    read = np.random.default_rng(2).standard_normal((5, width)).astype(np.float32)
    read.flags.writeable = False
    statuses = np.array([RowStatus.FOUND, RowStatus.MISSING, RowStatus.FOUND], np.uint8)  # what its group lacks
    features = Features(Rows.known(stand.shelf._users[:1]), Rows(read[1:4], statuses, complete=False))
    before, entry = read.copy(), Entry(3, np.inf, print)
    assembler = SplitAssembler(stand.schema, stand.preparation)
    assembler.place(entry, assembler.block(1)[:1], features, None)
    prepared = read[1:4, -stand.preparation.width :].copy()
    prepared[1] = stand.preparation.default
    np.testing.assert_array_equal(find_block_rows([Piece(entry, 0, 3)]), prepared)
    np.testing.assert_array_equal(entry.matrix, prepared)
    np.testing.assert_array_equal(read, before)


def test_prepared_columns_go_out_as_they_were_taken_out_of_the_cache() -> None:
    async def test() -> None:
        stand = Stand("mlp", names(0, 200))
        await stand.shelf.fill()
        await asyncio.gather(*(stand.rank(str(i), names(10 * i, 10 * i + 50)) for i in range(4)))
        (rows,) = stand.rounds
        assert rows.counts.tolist() == [50] * 4
        assert all(np.shares_memory(rows.prepared, features.products.values) for features in stand.shelf.taken)
        await stand.pipeline.close()

    run(test)
