"""Gathering: from a request to the rows that are to be scored, together for all that arrived in one turn of the loop.

What is not held leaves its round, waits for its read in a task of its own, and joins a later one. Owns the time a read
has, and what becomes of a request whose features cannot be had. Knows nothing of the model.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from itertools import repeat
from time import monotonic
from typing import Any, Protocol

from ranker.errors import DependencyError, StoreUnavailable, UnknownUser
from ranker.process import background
from ranker.ranking.job import Job, Policy
from ranker.ranking.matrix import Assembler, GroupColumns
from ranker.ranking.rounds.entry import MOST_ENTRIES, Entry
from ranker.ranking.rounds.split_rows import SplitAssembler
from ranker.vectors.rows import Ask, Features, ProductId, UserId


class FeatureStore(Protocol):
    """Source of the features of a request."""

    def held(self, asked: Sequence[tuple[UserId | None, Sequence[ProductId]]]) -> Sequence[Features | None]:
        """Return for each user and products what `fetch` would, if that takes no waiting; None if it does."""

    async def fetch(self, user_id: UserId | None, product_ids: Sequence[ProductId]) -> Features:
        """Return the user's row and the products' n rows, in order, in one round trip at most.

        For nobody, user None, that is the schema's default, which nothing is read for.
        Where a part of the store does not answer, its rows are `UNREAD`, or what was last known of them.

        Raises:
            StoreUnavailable: none of the features can be had now.
        """

    def remembered(self, user_id: UserId | None, product_ids: Sequence[ProductId]) -> Features:
        """Return what is known without asking anybody, possibly old, and `UNREAD` for the rest; when `fetch` fails."""


class GroupStore(Protocol):
    """Source of the rows of groups under keys of their own."""

    def add_held(self, asked: Sequence[Ask], found: Sequence[Features | None]) -> Sequence[bool]:
        """Add to the features of each request the rows of its groups, where no waiting is needed; say for which."""

    async def fetch(self, ask: Ask, fetch: Callable[[], Coroutine[Any, Any, Features]]) -> Features:
        """Return what `fetch` does, with the rows of the request's groups, in two round trips at most.

        Raises:
            StoreUnavailable: they cannot be had now.
        """

    def remember(self, ask: Ask, features: Features) -> Features:
        """Add what is known without asking anybody, possibly old, and `UNREAD` for the rest."""


class Gathering:
    """Gathers the rows of what arrives.

    Args:
        assembler: Makes rows of features, or places those of a split model.
        columns: Put the rows of groups among what a request brings.
        store: Where features come from.
        policy: What answers do without.
        max_rows: The most rows of one look-up of several requests.
        ready: Takes entries whose rows are placed.
        groups: Where the rows of groups under keys of their own come from; None where the schema has none.
        has_user: Whether users have features; every request is nobody's to the store otherwise.
    """

    def __init__(
        self,
        assembler: Assembler | SplitAssembler,
        columns: GroupColumns,
        store: FeatureStore,
        policy: Policy,
        max_rows: int,
        ready: Callable[[Sequence[Entry]], None],
        groups: GroupStore | None = None,
        *,
        has_user: bool = True,
    ) -> None:
        self._has_user = has_user
        self._assembler = assembler
        self._columns = columns
        self._store = store
        self._policy = policy
        self._max_rows = max_rows
        self._ready = ready
        self._groups = groups
        self._arrived: deque[Entry] = deque()
        self._reads = background.Tasks("fetch")

    def begin(self, entry: Entry) -> None:
        """Take a job, or rows that are placed already, with whatever else arrives in this turn of the event loop."""
        if not self._arrived:
            asyncio.get_running_loop().call_soon(self._round)
        self._arrived.append(entry)

    async def close(self) -> None:
        """Drop what has not left yet, and tell whoever waits."""
        for entry in self._arrived:
            entry.end(asyncio.CancelledError())
        await self._reads.cancel()

    def _round(self) -> None:
        """Look up and assemble what has arrived, `max_rows` rows at most, and let it wait for the model."""
        entries: list[Entry] = []
        rows = 0
        while self._arrived and (not entries or rows + self._arrived[0].rows <= self._max_rows):
            entry = self._arrived.popleft()
            if not entry.over:
                entries.append(entry)
                rows += entry.rows
                if len(entries) == MOST_ENTRIES:
                    break
        if self._arrived:
            asyncio.get_running_loop().call_soon(self._round)
        jobs = [entry for entry in entries if isinstance(entry, Job)]
        try:
            self._look_up([job for job in jobs if job.features is None])
            self._assemble([job for job in jobs if job.features is not None and not job.over])
        except Exception as err:  # whatever it is belongs to the callers
            for job in jobs:
                job.end(err)
        self._ready([entry for entry in entries if len(entry.matrix) and not entry.over])

    def _look_up(self, jobs: Sequence[Job]) -> None:
        """Find the features of jobs together; what is not held leaves the round."""
        if not jobs:
            return
        began = monotonic()
        held = self._store.held([(job.user_id if self._has_user else None, job.product_ids) for job in jobs])
        has_groups = repeat(True) if self._groups is None else self._groups.add_held(list(map(_ask, jobs)), held)
        fetched = monotonic()
        for job, features, is_whole in zip(jobs, held, has_groups, strict=self._groups is not None):
            job.began = began
            if features is None or not is_whole:
                job.reading = self._reads.begin(self._fetch(job, features))
                job.reading.add_done_callback(partial(_over, job))
            else:
                self._found(job, features, fetched)

    async def _fetch(self, job: Job, held: Features | None) -> None:
        """Read what a job lacks beside what is held, within its time, and let it join a later round."""
        try:
            try:
                async with asyncio.timeout_at(job.budget.fetch_deadline(job.began)):
                    features = await self._read(job, held)
                if features.unread is not None:
                    job.substitute(self._policy, StoreUnavailable(features.unread), "fetch", "features_unavailable")
            except (DependencyError, TimeoutError) as err:
                late = isinstance(err, TimeoutError)
                job.substitute(self._policy, err, "fetch", "features_late" if late else "features_unavailable")
                features = self._remember(job)
            self._found(job, features, monotonic())
        except Exception as err:  # whatever it is belongs to the caller
            job.end(err)
        if not job.over:
            self.begin(job)

    async def _read(self, job: Job, held: Features | None) -> Features:
        async def fetch() -> Features:
            return await self._store.fetch(self._user_of(job), job.product_ids) if held is None else held

        return await (fetch() if self._groups is None else self._groups.fetch(_ask(job), fetch))

    def _remember(self, job: Job) -> Features:
        features = self._store.remembered(self._user_of(job), job.product_ids)
        return features if self._groups is None else self._groups.remember(_ask(job), features)

    def _found(self, job: Job, features: Features, fetched: float) -> None:
        """Take note of a job's features; end it where it must not be ranked without."""
        job.features, job.fetched = features, fetched
        if self._groups is not None:
            job.context = self._columns.fill(job.context, features)
        if job.degraded is not None or (features.user.complete and features.products.complete):
            return
        if not features.user.complete and job.user_id is not None and self._policy.missing_user == "error":
            job.end(UnknownUser(job.user_id))
        elif (self._user_of(job) is None or not features.user.complete) and features.products.statuses.all():
            job.degraded = "no_features"

    def _user_of(self, job: Job) -> UserId | None:
        """Return whose row is read; None for nobody's."""
        return job.user_id if self._has_user else None

    def _assemble(self, jobs: Sequence[Job]) -> None:
        """Make the rows of jobs, in one block, or for a split model say where they lie."""
        if not jobs:
            return
        if isinstance(self._assembler, SplitAssembler):
            _place(jobs, self._assembler)
        else:
            _fill(jobs, self._assembler)
        assembled = monotonic()
        for job in jobs:
            job.assembled = assembled


def _fill(jobs: Sequence[Job], assembler: Assembler) -> None:
    block, first = assembler.block(sum([job.rows for job in jobs])), 0
    for job in jobs:
        assert job.features is not None
        try:
            assembler.fill(job.place(block, first), job.features, job.context)
        except Exception as err:  # one whose rows cannot be made must not fail the others
            job.end(err)
        first += job.rows


def _place(jobs: Sequence[Job], assembler: SplitAssembler) -> None:
    requests = assembler.block(len(jobs))
    for at, job in enumerate(jobs):
        assert job.features is not None
        try:
            assembler.place(job, requests[at : at + 1], job.features, job.context)
        except Exception as err:  # as above
            job.end(err)
    assembler.forget()


def _ask(job: Job) -> Ask:
    return Ask(job.user_id, job.product_ids, job.texts, job.context)


def _over(job: Job, reading: asyncio.Task[None]) -> None:
    job.reading = None
    if reading.cancelled():
        job.end(asyncio.CancelledError())
