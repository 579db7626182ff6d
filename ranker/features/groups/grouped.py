"""Grouped rows: what a request's groups hold under keys of their own, read in the two round trips of its features.

Keys that the request makes up are read with its user and products; those with stored values in them, once these are
there. Owns which rows go with which request. Knows nothing of the columns they become.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple, Protocol

import numpy as np

from ranker.features.groups.keys import GroupKeys
from ranker.features.groups.rows import attach, spread
from ranker.features.near_cache.entity_cache import EntityCache
from ranker.features.near_cache.lookup import Lookup
from ranker.features.shared_read import merged
from ranker.vectors.keyed_group import KeyedGroup
from ranker.vectors.rows import Ask, Features, Rows
from ranker.vectors.schema import FeatureSchema


class GroupCaches(Protocol):
    """What has the caches of the groups, by name, and counts what they answer."""

    groups: dict[str, EntityCache]
    hits: int
    misses: int

    def raise_if_down(self) -> None:
        """Raise StoreUnavailable where reading would."""


class _Group(NamedTuple):
    name: str
    schema: KeyedGroup
    keys: GroupKeys
    cache: EntityCache


class GroupedRows:
    """The rows of a schema's groups.

    Args:
        schema: The model's.
        caches: Where they are kept, and read.
    """

    def __init__(self, schema: FeatureSchema, caches: GroupCaches) -> None:
        self._schema = schema
        self._caches = caches
        self._groups = [
            _Group(name, group, GroupKeys(schema, name), caches.groups[name]) for name, group in schema.keyed.items()
        ]
        self._early = [group for group in self._groups if not group.schema.template.is_asked_late]
        self._late = [group for group in self._groups if group.schema.template.is_asked_late]

    def add_held(self, asked: Sequence[Ask], found: Sequence[Features | None]) -> list[bool]:
        """Add the rows of all requests of a round to their features, as far as all of one's are held and fresh.

        Args:
            asked: The requests.
            found: Their features; None for one that has to be read anyway.

        Returns:
            Which have theirs.
        """
        which = [i for i, features in enumerate(found) if features is not None]
        has_all = [False] * len(asked)
        if not which:
            return has_all
        asks = [asked[i] for i in which]
        features_of = [features for features in found if features is not None]
        now = asyncio.get_running_loop().time()
        whole = np.ones(len(which), np.bool_)
        taken: list[tuple[list[int], Rows]] = []
        for group in self._groups:
            counts, ids = group.keys.counts(asks), group.keys.ids(asks, features_of)
            slots = group.cache.arena.slots(ids)  # type: ignore[arg-type]  # None has no slot
            stale = group.cache.arena.stale(slots, now)
            if np.count_nonzero(stale):
                if None in ids:  # without a key there is nothing to be read
                    stale &= np.array([entity_id is not None for entity_id in ids])
                starts = np.cumsum([0, *counts[:-1]])
                whole &= ~np.logical_or.reduceat(stale, starts)
            taken.append((counts, group.cache.arena.rows(slots)))
        parts = [_split(rows, counts) for counts, rows in taken]
        for at, i in enumerate(which):
            if whole[at]:
                has_all[i] = True
                self._attach(asks[at], features_of[at], [rows[at] for rows in parts])
                self._caches.hits += sum(len(rows[at]) for rows in parts)
        return has_all

    async def fetch(self, ask: Ask, fetch: Callable[[], Coroutine[Any, Any, Features]]) -> Features:
        """Return a request's features with the rows of its groups, in two round trips at most.

        Args:
            ask: The request.
            fetch: Gives its other features, in one round trip at most.

        Raises:
            StoreUnavailable: none of what is missing can be had now.
        """
        self._caches.raise_if_down()
        now = asyncio.get_running_loop().time()
        early = [self._begin(group, group.keys.ids([ask]), now) for group in self._early]
        features = await fetch()
        late = [self._begin(group, group.keys.ids([ask], [features]), now) for group in self._late]
        begun = {one.group.name: one for one in (*early, *late)}
        reads = [read for one in begun.values() for read in one.lookup.reads]
        for read in reads:
            await read.wait()
        self._caches.hits += sum(one.lookup.hits for one in begun.values())
        self._caches.misses += sum(one.lookup.misses for one in begun.values())
        self._attach(ask, features, [begun[group.name].rows() for group in self._groups])
        readings = [features.reading, *(read.reading for read in reads)]
        features.reading = merged([reading for reading in readings if reading is not None])
        unread = [features.unread, *(one.lookup.unread for one in begun.values())]
        features.unread = next(filter(None, unread), None)
        return features

    def remember(self, ask: Ask, features: Features) -> Features:
        """Add what is known without asking anybody, possibly old."""
        rows = []
        for group in self._groups:
            ids = group.keys.ids([ask], [features])
            rows.append(group.cache.arena.rows(group.cache.arena.slots(ids)))  # type: ignore[arg-type]  # as above
        self._attach(ask, features, rows)
        return features

    def _attach(self, ask: Ask, features: Features, rows: Sequence[Rows]) -> None:
        parts = {group.name: part for group, part in zip(self._groups, rows, strict=True)}
        attach(self._schema, features, parts, nobody=ask.user_id is None)

    def _begin(self, group: _Group, ids: Sequence[str | None], now: float) -> _Begun:
        unique = list(dict.fromkeys(entity_id for entity_id in ids if entity_id is not None))
        return _Begun(group, group.cache.lookup(unique, now), unique, ids)


class _Begun(NamedTuple):
    """A look-up that may wait for reads: of a group's distinct ids, for those of all rows."""

    group: _Group
    lookup: Lookup
    unique: Sequence[str]
    ids: Sequence[str | None]

    def rows(self) -> Rows:
        """Return the rows, once the reads are done."""
        return spread(self.lookup.rows(), self.unique, self.ids)


def _split(rows: Rows, counts: Sequence[int]) -> list[Rows]:
    """Return the rows of each request, as views."""
    parts = []
    for start, stop in pairwise(accumulate(counts, initial=0)):
        statuses = rows.statuses[start:stop]
        parts.append(Rows(rows.values[start:stop], statuses, complete=rows.complete or np.count_nonzero(statuses) == 0))
    return parts
