"""Rounds of the model: whatever waits when it is free goes out in one call; what arrives meanwhile makes the next.

A lone request is a round of one and waits for nobody. Entries take turns of `share` rows, so a long list does not hold
up the short ones behind it (deficit round robin; Shreedhar & Varghese, "Efficient Fair Queuing using Deficit Round
Robin", SIGCOMM 1995). An entry has no timer, task or future: one timer looks after the deadlines of all. Owns order,
fairness and deadlines; where an entry's rows come from, and what becomes of its scores, others say.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import numpy as np

from ranker.errors import DependencyError
from ranker.ranking.rounds.entry import MOST_ENTRIES, NO_ROWS, NO_SCORES, Entry, Piece, find_block_rows
from ranker.ranking.rounds.expiry import Expiry
from ranker.ranking.rounds.later_scores import LaterScores, ScoreMatrix, ScoreRound, later
from ranker.ranking.rounds.split_rows import join_split
from ranker.scheduling.batching import Call
from ranker.vectors.rows import Matrix, Scores


class Steps(Protocol):
    """Steps of entries that leave; neither of these may raise."""

    def scored(self, entries: Sequence[Entry]) -> None:
        """Take entries whose scores are all there."""

    def failed(self, entry: Entry, err: BaseException) -> None:
        """Take an entry that gets no scores: because of an error, or of a TimeoutError when it is late."""


class Rounds:
    """Sends what waits to the model, call after call, one at a time.

    Args:
        steps: What is done with entries that leave.
        score, score_alone: Score a matrix, or what a split model takes; the second, if given, while nobody else waits.
        width: Columns of the rows of a call: F, or for a split model Wk, the prepared ones.
        max_rows: The most rows of one call.
        share: The most rows that an entry adds to a call before the next one has its turn.
        together: Whether an entry's rows, however many, go in a call of their own: their scores depend on one another.
        split: Whether the model is split.
        on_call: Told the number of entries and rows of each call, for metrics.
    """

    def __init__(
        self,
        steps: Steps,
        score: ScoreMatrix | ScoreRound,
        *,
        width: int,
        max_rows: int,
        share: int,
        together: bool = False,
        split: bool = False,
        on_call: Callable[[int, int], None] | None = None,
        score_alone: ScoreMatrix | ScoreRound | None = None,
    ) -> None:
        self._steps = steps
        self._score: Callable[[Any], Scores | LaterScores | Awaitable[Scores]] = score
        self._score_alone: Callable[[Any], Scores | LaterScores | Awaitable[Scores]] = score_alone or score
        self._width = width
        self._max_rows = max_rows
        self._share = min(share, max_rows)
        self._together = together
        self._split = split
        self._on_call = on_call
        self._queue: deque[Entry] = deque()
        self._in_flight: list[Piece] = []
        self._answer: LaterScores | None = None
        """What the model works on, and where it answers."""
        self._joined = NO_ROWS
        """Memory for calls of several blocks, used again: new memory costs more than what is written to it."""
        self._scheduled = False
        self._expiry = Expiry(self._expire)

    @property
    def waiting(self) -> int:
        """Entries with rows that the model was not given yet."""
        return len(self._queue)

    def join(self, entries: Sequence[Entry]) -> None:
        """Let placed entries wait for their turn, and begin a round at once if the model is free."""
        self._queue.extend(entries)
        if self._answer is None and not self._scheduled:
            self._round()
        if deadlines := [entry.deadline for entry in entries if not entry.over]:
            self._expiry.watch(min(deadlines))

    async def close(self) -> None:
        """Drop what waits and what the model works on, and tell whoever waits."""
        entries = [*self._queue, *(entry for entry, _, _ in self._in_flight)]
        self._queue.clear()
        self._in_flight = []
        self._expiry.stop()
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.cancel()
        for entry in entries:
            self._fail(entry, asyncio.CancelledError())
        if isinstance(answer, asyncio.Future):
            await asyncio.gather(answer, return_exceptions=True)

    def _round(self) -> None:
        """Give the model what waits, as much as one call takes, if it is free."""
        self._scheduled = False
        if self._answer is None:
            if pieces := self._take():
                self._call(pieces)
            if self._answer is None and self._queue and not self._scheduled:
                # In the next turn of the event loop, so that others get theirs.
                self._scheduled = True
                asyncio.get_running_loop().call_soon(self._round)

    def _take(self) -> list[Piece]:
        """Take the next call's pieces: up to `share` rows of each entry in turn, `max_rows` and `MOST_ENTRIES` in all.

        A turn that does not fit any more stays first in line. Cut, its rest would go to the end of the line, and one
        request in twenty would wait twice as long as the others.
        """
        starts: dict[Entry, int] = {}
        room, queue, now = self._max_rows, self._queue, asyncio.get_running_loop().time()
        while queue:
            entry = queue[0]
            if entry.over or entry.deadline <= now:
                queue.popleft()
                self._fail(entry, TimeoutError())
                continue
            alone = self._together or entry.alone
            turn = entry.rows if self._together else min(entry.rows - entry.taken, self._share)
            if starts and (alone or turn > room or (len(starts) == MOST_ENTRIES and entry not in starts)):
                break
            queue.popleft()
            starts.setdefault(entry, entry.taken)
            entry.taken += turn
            room -= turn
            if entry.taken < entry.rows:
                queue.append(entry)
            if alone:
                break
        return [Piece(entry, start, entry.taken) for entry, start in starts.items()]

    def _call(self, pieces: list[Piece]) -> None:
        """Score the rows of a round in one call."""
        try:
            matrix = self._matrix(pieces)
            call = Call(len(pieces), len(matrix))
            for entry, _, _ in pieces:
                entry.call = call
            if self._on_call is not None:
                self._on_call(*call)
            score = self._score if len(pieces) > 1 or self._queue else self._score_alone
            scores = score(join_split(pieces, matrix) if self._split else matrix)
            if not isinstance(scores, np.ndarray):
                self._in_flight, self._answer = pieces, later(scores)
        except Exception as err:  # whatever it is belongs to the callers
            self._failed(pieces, err)
            return
        if isinstance(scores, np.ndarray):
            self._scored(pieces, scores)
        elif self._answer is not None:
            self._answer.add_done_callback(self._answered)

    def _matrix(self, pieces: list[Piece]) -> Matrix:
        """Return the rows of a call, or their prepared columns; as they lie, where they lie behind one another."""
        if (matrix := find_block_rows(pieces)) is not None:
            return matrix
        if not len(self._joined):
            self._joined = np.empty((self._max_rows, self._width), dtype=np.float32)
        rows = sum([stop - start for _, start, stop in pieces])
        return np.concatenate([entry.matrix[start:stop] for entry, start, stop in pieces], out=self._joined[:rows])

    def _answered(self, answer: LaterScores) -> None:
        if answer is not self._answer:  # it was dropped
            return
        pieces, self._in_flight, self._answer = self._in_flight, [], None
        try:
            scores = answer.result()
        except asyncio.CancelledError:
            self._failed(pieces, RuntimeError("the call of the model was cancelled"))
        except Exception as err:  # whatever it is belongs to the callers
            self._failed(pieces, err)
        else:
            self._scored(pieces, scores)
        self._round()

    def _scored(self, pieces: list[Piece], scores: Scores) -> None:
        """Hand scores to their entries; those that have all leave."""
        rows = sum([stop - start for _, start, stop in pieces])
        try:
            scores = np.asarray(scores, dtype=np.float32)
            if scores.shape != (rows,):
                raise RuntimeError(f"a call with {rows} rows returned scores of shape {scores.shape}")
        except Exception as err:  # what is no number, too
            self._failed(pieces, err)
            return
        finite = np.count_nonzero(np.isfinite(scores)) == rows
        now, at, whole = asyncio.get_running_loop().time(), 0, list[Entry]()
        for entry, start, stop in pieces:
            part = scores[at : (at := at + stop - start)]
            if entry.over or entry.deadline <= now:  # then its answer is given, and stays as it is
                self._fail(entry, TimeoutError())
                continue
            entry.alone = False
            entry.finite = entry.finite and finite
            entry.scored += len(part)
            if len(part) == entry.rows:
                entry.scores = part
            else:
                if entry.scores is NO_SCORES:
                    entry.scores = np.empty(entry.rows, dtype=np.float32)
                entry.scores[start:stop] = part
            if entry.scored == entry.rows:
                whole.append(entry)
        if whole:
            self._steps.scored(whole)

    def _failed(self, pieces: list[Piece], err: BaseException) -> None:
        """Let each entry have a call of its own, for one bad request must not fail those that shared its call.

        A dependency's failure is shared by all, for repeating it would be a stampede.
        """
        if len(pieces) == 1 or isinstance(err, DependencyError):
            for entry, _, _ in pieces:
                self._fail(entry, err)
            return
        again = dict.fromkeys(entry for entry, _, _ in pieces)
        for entry, start, _ in pieces:
            entry.alone, entry.taken = True, start
        self._queue = deque([*again, *(entry for entry in self._queue if entry not in again)])

    def _fail(self, entry: Entry, err: BaseException) -> None:
        if not entry.over:
            self._steps.failed(entry, err)

    def _expire(self, now: float) -> float:
        """End what is late, and say when the next one is."""
        entries = dict.fromkeys([*self._queue, *(entry for entry, _, _ in self._in_flight)])
        for entry in entries:
            if entry.deadline <= now:
                self._fail(entry, TimeoutError())
        return min([entry.deadline for entry in entries if not entry.over], default=math.inf)
