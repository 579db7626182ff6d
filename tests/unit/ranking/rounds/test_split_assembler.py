"""Rows of a split model by themselves: which request each is of, and what is brought for it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from math import inf
from typing import Any

import numpy as np
import pytest

from ranker.ranking.rounds.entry import Entry, Piece
from ranker.ranking.rounds.split_rows import SplitAssembler, join_split
from ranker.vectors.rows import Features, Matrix, Rows, RowStatus
from ranker.vectors.schema import FeatureSchema

BASE: dict[str, Any] = {
    "user": {"features": [{"name": "age", "default": 40}]},
    "product": {"features": ["price", {"name": "stock", "default": 7}]},
}
ONCE = BASE | {"context": {"features": [{"name": "hour", "default": 12}]}}
PAIR = BASE | {"productContext": {"features": [{"name": "shelf", "default": -1}]}}
BOTH = ONCE | PAIR


class Doubled:
    """Prepares one column: twice the price, which fails for a price of 13; the default product's is 99."""

    width = 1
    default = np.array([99], np.float32)

    async def prepare(self, products: Matrix) -> tuple[Matrix, Mapping[int, str]]:
        return 2 * products[:, :1], {}


def assembler(data: dict[str, Any]) -> SplitAssembler:
    return SplitAssembler(FeatureSchema.from_mapping(data), Doubled())


def entry(rows: int) -> Entry:
    return Entry(rows, inf, lambda _outcome: None)


def placed(data: dict[str, Any], context: Matrix | None, products: Rows, user: Rows | None = None) -> Entry:
    made, one = assembler(data), entry(len(products))
    features = Features(Rows.known(np.array([[30]], np.float32)) if user is None else user, products)
    made.place(one, made.block(1), features, context)
    made.forget()
    return one


def rows_of(values: Matrix, *missing: int) -> Rows:
    """Return products of two features, a column to be even, and the prepared one."""
    statuses = np.zeros(len(values), np.uint8)
    statuses[[*missing]] = RowStatus.MISSING
    return Rows(values, statuses, complete=not missing)


BLOCK = np.arange(24, dtype=np.float32).reshape(6, 4).copy()
WIDE = np.repeat(BLOCK, 2, axis=1)


@pytest.mark.parametrize(
    ("data", "context", "request_row", "pair"),
    [
        (BASE, None, [30], None),
        (ONCE, None, [30, 12], None),
        (ONCE, [[5], [5]], [30, 5], None),
        (PAIR, None, [30], [[-1], [-1]]),
        (PAIR, [[1], [2]], [30], [[1], [2]]),
        (BOTH, None, [30, 12], [[-1], [-1]]),
        (BOTH, [[5, 1], [5, 2]], [30, 5], [[1], [2]]),
    ],
)
def test_request_is_one_row_and_the_pair_has_what_is_brought_for_each_product(
    data: dict[str, Any], context: Any, request_row: list[float], pair: Any
) -> None:
    given = None if context is None else np.array(context, np.float32)
    one = placed(data, given, rows_of(BLOCK[:2].copy()))
    assert one.requests.tolist() == [request_row]
    assert (None if one.pair is None else one.pair.tolist()) == pair
    assert one.matrix.tolist() == [[3], [7]]


def test_missing_user_and_products_have_the_default_row_and_what_is_prepared_of_it() -> None:
    one = placed(ONCE, None, rows_of(BLOCK[:3].copy(), 1), Rows.missing(1, 1))
    assert one.requests.tolist() == [[40, 12]]
    assert one.matrix.tolist() == [[3], [99], [11]]


def test_rows_that_others_have_too_are_copied_beside_what_the_request_brings() -> None:
    values = BLOCK[:2].copy()
    values.flags.writeable = False
    one = placed(BOTH, np.array([[5, 1], [5, 2]], np.float32), rows_of(values, 1))
    assert one.requests.tolist() == [[30, 5]]
    assert one.pair is not None
    assert one.pair.tolist() == [[1], [2]]
    assert one.matrix.tolist() == [[3], [99]]
    assert values.tolist() == BLOCK[:2].tolist()


@pytest.mark.parametrize("values", [BLOCK[2:4], BLOCK[1:5:2], BLOCK[::-1][:2], WIDE[1:3, ::2], WIDE[1:3, :4]], ids=str)
def test_rows_of_any_view_are_the_ones_that_were_taken_out(values: Matrix) -> None:
    expected = values[:, -1:].tolist()
    assert placed(BASE, None, rows_of(values)).matrix.tolist() == expected


def whole(data: dict[str, Any], rows: int) -> Entry:
    one = entry(rows)
    width = FeatureSchema.from_mapping(data).width
    asyncio.run(assembler(data).place_whole(one, np.arange(rows * width, dtype=np.float32).reshape(rows, width)))
    return one


@pytest.mark.parametrize(("data", "pair"), [(BASE, None), (ONCE, None), (BOTH, [[4], [9]])])
def test_whole_rows_are_each_a_request_of_its_own(data: dict[str, Any], pair: Any) -> None:
    one = whole(data, 2)
    width = FeatureSchema.from_mapping(data).width
    once = [[], []] if data is BASE else [[3], [width + 3]]
    assert one.requests.tolist() == [[0, *once[0]], [width, *once[1]]]
    assert (None if one.pair is None else one.pair.tolist()) == pair
    assert one.matrix.tolist() == [[2], [2 * (width + 1)]]


def joined(*pieces: tuple[Entry, int, int]) -> tuple[Any, ...]:
    split = join_split([Piece(*one) for one in pieces], np.zeros((sum(stop - at for _, at, stop in pieces), 1)))
    assert split.counts.dtype == np.int64
    return split.requests.tolist(), split.counts.tolist(), None if split.pair is None else split.pair.tolist()


def test_each_row_of_a_call_goes_with_its_request() -> None:
    context = np.array([[5, 1], [5, 2], [5, 3]], np.float32)
    one = placed(BOTH, context, rows_of(BLOCK[:3].copy()))
    two, three = whole(BOTH, 2), whole(BOTH, 3)
    assert joined((one, 1, 3)) == ([[30, 5]], [2], [[2], [3]])
    assert joined((two, 0, 2)) == ([[0, 3], [5, 8]], [1, 1], [[4], [9]])
    assert joined((two, 1, 2)) == ([[5, 8]], [1], [[9]])
    assert joined((one, 0, 2), (three, 1, 3)) == ([[30, 5], [5, 8], [10, 13]], [2, 1, 1], [[1], [2], [9], [14]])
    assert joined((two, 0, 2), (one, 0, 3)) == ([[0, 3], [5, 8], [30, 5]], [1, 1, 3], [[4], [9], [1], [2], [3]])
    plain = placed(ONCE, None, rows_of(BLOCK[:2].copy()))
    assert joined((plain, 0, 1), (plain, 1, 2)) == ([[30, 12], [30, 12]], [1, 1], None)
