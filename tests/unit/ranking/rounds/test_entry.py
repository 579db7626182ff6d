"""Where the rows of entries lie, and what is told to whoever waits."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest

from ranker.ranking.rounds.entry import Entry, Piece, find_block_rows

BLOCK = np.arange(12, dtype=np.float32).reshape(12, 1)


def placed(rows: int, first: int, block: np.ndarray = BLOCK) -> Entry:
    entry = Entry(rows, inf, lambda _outcome: None)
    entry.place(block, first)
    return entry


@pytest.mark.parametrize(
    ("pieces", "rows"),
    [
        ([(2, 0, 0, 2), (6, 2, 0, 6)], range(8)),
        ([(6, 2, 3, 6), (2, 8, 0, 1)], range(5, 9)),
        ([(4, 4, 1, 2)], range(5, 6)),
        ([(2, 0, 0, 2), (6, 4, 0, 6)], None),  # others lie between
        ([(2, 0, 0, 2), (6, 4, 2, 4)], None),
        ([(2, 0, 0, 1), (6, 2, 0, 6)], None),
        ([(6, 2, 0, 6), (2, 0, 0, 2)], None),  # in the other order
    ],
)
def test_rows_are_taken_as_they_lie_only_where_each_piece_begins_behind_the_last(
    pieces: list[tuple[int, int, int, int]], rows: range | None
) -> None:
    found = find_block_rows([Piece(placed(n, first), start, stop) for n, first, start, stop in pieces])
    assert (found is None) is (rows is None)
    if found is not None and rows is not None:
        assert found[:, 0].tolist() == [*rows]
        assert np.shares_memory(found, BLOCK)


def test_rows_of_two_blocks_do_not_lie_behind_one_another() -> None:
    other = BLOCK.copy()
    assert find_block_rows([Piece(placed(2, 0), 0, 2), Piece(placed(2, 2, other), 0, 2)]) is None


def test_whoever_waits_is_told_once_and_not_at_all_once_they_gave_up() -> None:
    told = list[object]()
    ended, abandoned = Entry(1, inf, told.append), Entry(1, inf, told.append)
    abandoned.abandon()
    for outcome in ("first", "second"):
        ended.end(outcome)
        abandoned.end(outcome)
    assert told == ["first"]
    assert ended.over
    assert abandoned.over
