"""Entry: rows on their way through the rounds of the model, from where they lie to their scores.

Owns what is told to whoever waits, once. Knows nothing of who goes out with whom.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ranker.scheduling.batching import Call
from ranker.vectors.rows import Matrix, Scores

logger = logging.getLogger("ranker.rounds")

NO_ROWS = np.empty((0, 0), dtype=np.float32)
NO_SCORES = np.empty(0, dtype=np.float32)
MOST_ENTRIES = 64
"""Entries of one round, however few rows they have: with reading and writing each, some 10 ms of the event loop."""


class Entry:
    """Rows that are to be scored.

    Args:
        rows: n, at least 1.
        deadline: When they are late, by the event loop's time.
        done: Told what became of them, once: a result, or an exception. It must not raise; if it does, that is logged,
            and the others of its round do not notice.

    Attributes:
        matrix: The rows, shape (n, F), float32, for a split model the prepared columns (n, Wk); none until it is said
            where they are.
        requests: For a split model, the request that the rows are of, shape (1, Wr), float32, or one for each row.
        pair: For a split model, what a request brings for each row, shape (n, Wc), float32; None for nothing.
        scores: Shape (n,), float32, once all of them are there; `NO_SCORES` before any is.
        finite: Whether every score of each call that it took part in is a number.
        call: The call that its rows went out with, the last one where they took several.
        over: Whether nobody waits for it any more.
    """

    __slots__ = (
        "alone",
        "block",
        "call",
        "deadline",
        "done",
        "finite",
        "first",
        "matrix",
        "over",
        "pair",
        "requests",
        "rows",
        "scored",
        "scores",
        "taken",
    )

    def __init__(self, rows: int, deadline: float, done: Callable[[Any], None]) -> None:
        self.rows = rows
        self.deadline = deadline
        self.done = done
        self.block = self.matrix = NO_ROWS
        self.first = 0
        """Where the rows lie: in a block of rows of one round, from `first` on."""
        self.scores: Scores = NO_SCORES
        self.finite = True
        self.call: Call | None = None
        self.over = False
        self.taken = self.scored = 0
        """Rows that went out, and that came back."""
        self.alone = False
        """Whether a call that it shared failed, so that its next one is its own."""

    def place(self, block: Matrix, first: int) -> Matrix:
        """Say where the rows are, and return them; they may be written afterwards."""
        self.block, self.first = block, first
        self.matrix = block[first : first + self.rows]
        return self.matrix

    def place_split(self, prepared: Matrix, first: int, requests: Matrix, pair: Matrix | None) -> Matrix:
        """Say where the prepared columns are, and what belongs to the request; return the prepared columns."""
        self.requests: Matrix = requests
        self.pair: Matrix | None = pair
        return self.place(prepared, first)

    def end(self, outcome: object) -> None:
        """Tell whoever waits, unless that was done, or nobody does."""
        if not self.over:
            self.over = True
            try:
                self.done(outcome)
            except Exception:
                logger.exception("Whoever waited for a ranking failed to take it")

    def abandon(self) -> None:
        """Let nobody wait for it any more, and nobody be told."""
        self.over = True


class Piece(NamedTuple):
    """Rows of one entry that go out with one call, from `start` until before `stop`."""

    entry: Entry
    start: int
    stop: int


def settle(future: asyncio.Future[Any], outcome: object) -> None:
    """Let whoever awaits a future have what became of an entry."""
    if future.done():  # its caller is gone
        return
    if isinstance(outcome, asyncio.CancelledError):
        future.cancel()
    elif isinstance(outcome, BaseException):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


def find_block_rows(pieces: Sequence[Piece]) -> Matrix | None:
    """Return the rows of pieces as they lie, where they lie behind one another in one block; None where they do not."""
    block = pieces[0].entry.block
    first = end = pieces[0].entry.first + pieces[0].start
    for entry, start, stop in pieces:
        if entry.block is not block or entry.first + start != end:
            return None
        end += stop - start
    return block[first:end]
