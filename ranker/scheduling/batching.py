"""Micro-batcher: merges what waits while a call is in flight, and splits it by rows.

While a call is out, requests queue up; when it returns, the next call takes what waits, up to `max_rows`. There is no
timer, so a lone request never waits. A request larger than `share` rows enters a call in pieces, and requests take
turns, so a long product list does not hold up the short ones behind it (deficit round robin; Shreedhar & Varghese,
"Efficient Fair Queuing using Deficit Round Robin", SIGCOMM 1995). Reads of Redis are merged so; calls of the model
have `ranking.rounds`. Owns order and fairness; knows nothing of what a row is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, Protocol, Self, TypeVar

from ranker.errors import DependencyError
from ranker.process import background


class Sliceable(Protocol):
    """Something with rows: a list, an array."""

    def __len__(self) -> int: ...
    def __getitem__(self, rows: slice, /) -> Self: ...


P = TypeVar("P", bound=Sliceable)
R = TypeVar("R", bound=Sliceable)


class Call(NamedTuple):
    """One call: how many requests were merged into it, and how many rows they brought."""

    requests: int
    rows: int


@dataclass(slots=True, eq=False)
class Submission(Generic[P, R]):
    """One request's rows on their way; awaiting it gives their results."""

    payload: P
    rows: int
    future: asyncio.Future[R]
    requests: int = 1
    """For how many requests its rows are."""
    taken: int = 0
    """Rows already sent in some call."""
    parts: list[tuple[int, R]] = field(default_factory=list)
    """Results of pieces with the row each begins at."""
    call: Call | None = None
    """The call that its rows went out with, the last one where they took several; None while they wait."""

    def __await__(self) -> Generator[Any, None, R]:
        return self.future.__await__()

    def cancel(self) -> None:
        """Drop what was not sent yet."""
        self.future.cancel()


@dataclass(slots=True, frozen=True)
class _Piece(Generic[P, R]):
    job: Submission[P, R]
    start: int
    stop: int

    @property
    def payload(self) -> P:
        whole = self.start == 0 and self.stop == self.job.rows
        return self.job.payload if whole else self.job.payload[self.start : self.stop]


class MicroBatcher(Generic[P, R]):
    """Merges concurrent submissions into calls of at most `max_rows` rows.

    Args:
        call: Takes the rows of many submissions, returns one result row for each.
        concat: Joins payloads, in order; a result need not last beyond the call it is made for.
        concat_results: Joins results, in order.
        max_rows: The most rows of one call.
        share: The most rows a request adds to a call before the next request has its turn.
        max_in_flight: How many calls may be out at a time.
        on_call: Told the number of requests and rows of each call, for metrics.
    """

    def __init__(
        self,
        call: Callable[[P], Awaitable[R]],
        concat: Callable[[Sequence[Any]], Any],
        concat_results: Callable[[Sequence[Any]], Any],
        *,
        max_rows: int,
        share: int,
        max_in_flight: int = 1,
        on_call: Callable[[int, int], None] | None = None,
    ) -> None:
        self._call = call
        self._concat = concat
        self._concat_results = concat_results
        self._max_rows = max_rows
        self._share = min(share, max_rows)
        self._max_in_flight = max_in_flight
        self._on_call = on_call
        self._queue: deque[Submission[P, R]] = deque()
        self._senders: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """Requests with rows that are not sent yet."""
        return len(self._queue)

    def submit(self, payload: P, requests: int = 1) -> Submission[P, R]:
        """Queue the payload's rows; at least one.

        Args:
            payload: The rows.
            requests: For how many requests they are, where somebody else has merged some.

        Returns:
            What gives the rows' results, in order. Cancelling it drops what was not sent yet. It fails with whatever
            the call raised; a call that fails for a reason of its data is repeated for each request alone, so that
            one bad request does not fail those merged with it. A `DependencyError` is shared by all, for repeating
            it would be a stampede.
        """
        submission: Submission[P, R] = Submission(
            payload, len(payload), asyncio.get_running_loop().create_future(), requests
        )
        self._queue.append(submission)
        if len(self._senders) < self._max_in_flight:
            # The task takes its rows when it first runs, so what arrives in the same turn of the loop goes along.
            self._senders.add(asyncio.get_running_loop().create_task(self._send_waiting()))
        return submission

    async def close(self) -> None:
        """Cancel calls in flight and everything that waits."""
        for job in self._queue:
            job.future.cancel()
        self._queue.clear()
        await background.cancel(*self._senders)

    async def _send_waiting(self) -> None:
        pieces: list[_Piece[P, R]] = []
        try:
            while pieces := self._take():
                await self._send(pieces)
        except asyncio.CancelledError:
            for piece in pieces:
                piece.job.future.cancel()
            raise
        finally:
            # At once, not in a done callback: what is submitted before that ran would wait for ever.
            self._senders.discard(asyncio.current_task())

    def _take(self) -> list[_Piece[P, R]]:
        """Take the next call's pieces: up to `share` rows of each waiting request in turn, `max_rows` in all.

        A turn that does not fit any more stays first in line. Cut, its rest would go to the end of the line, and one
        request in twenty would wait twice as long as the others.
        """
        pieces: list[_Piece[P, R]] = []
        room = self._max_rows
        queue = self._queue
        while queue:
            job = queue[0]
            start = job.taken
            turn = min(job.rows - start, self._share)
            if turn > room:
                break
            queue.popleft()
            if job.future.done():  # its caller is gone
                continue
            job.taken += turn
            room -= turn
            pieces.append(_Piece(job, start, job.taken))
            if job.taken < job.rows:
                queue.append(job)
        return pieces

    async def _send(self, pieces: list[_Piece[P, R]]) -> None:
        alone = len(pieces) == 1
        try:
            payload = pieces[0].payload if alone else self._concat([p.payload for p in pieces])
            rows = len(payload)
            call = Call(sum([piece.job.requests for piece in pieces]), rows)
            for piece in pieces:
                piece.job.call = call
            if self._on_call is not None:
                self._on_call(*call)
            result = await self._call(payload)
            if len(result) != rows:
                raise RuntimeError(f"a call with {rows} rows returned {len(result)}")
        except Exception as err:  # whatever it is belongs to the callers, not to this task
            if alone or isinstance(err, DependencyError):
                for piece in pieces:
                    _fail(piece.job, err)
            else:
                for piece in pieces:
                    await self._send([piece])
            return
        if alone:
            self._deliver(pieces[0], result)
            return
        offset = 0
        for piece in pieces:
            end = offset + piece.stop - piece.start
            self._deliver(piece, result[offset:end])
            offset = end

    def _deliver(self, piece: _Piece[P, R], part: R) -> None:
        """Hand a piece's results over. One job's pieces may return out of order when several calls are in flight."""
        job = piece.job
        if job.future.done():
            return
        if piece.stop - piece.start == job.rows:
            job.future.set_result(part)
            return
        job.parts.append((piece.start, part))
        if sum(len(p) for _, p in job.parts) == job.rows:
            job.parts.sort(key=lambda p: p[0])
            job.future.set_result(self._concat_results([p for _, p in job.parts]))


def _fail(job: Submission[Any, Any], err: Exception) -> None:
    if not job.future.done():
        job.future.set_exception(err)
        job.future.exception()  # read it, in case its caller is gone
