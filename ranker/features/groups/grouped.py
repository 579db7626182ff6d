"""Grouped rows: what a request's groups hold under keys of their own, read in the two round trips of its features.

Keys that the request makes up are read with its user and products; those with stored values in them, and the products
in its user's history, once these are there. Owns which rows go with which request. Knows nothing of the columns they
become.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from itertools import accumulate, chain, pairwise
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from ranker.features.groups.keys import GroupKeys
from ranker.features.groups.rows import attach, distinct, mark_unread, spread
from ranker.features.groups.side import SideRows
from ranker.features.near_cache.entity_cache import EntityCache
from ranker.features.near_cache.lookup import Lookup
from ranker.features.shared_read import SharedRead, merged
from ranker.vectors.keyed_group import KeyedGroup
from ranker.vectors.rows import Ask, Features, Rows
from ranker.vectors.schema import FeatureSchema


class GroupCaches(Protocol):
    """What has the caches of the products, and of the groups by name, and counts what they answer."""

    products: EntityCache
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


class _Side(NamedTuple):
    name: str
    rows: SideRows
    cache: EntityCache


class GroupedRows:
    """The rows of a schema's groups, and of its histories' side information.

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
        self._sides = [_Side(name, SideRows(schema, name), caches.products) for name in schema.side_information]

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
        split = [_split(rows, counts) for counts, rows in taken]
        names = [group.name for group in self._groups]
        parts = [
            dict(zip(names, rows, strict=True)) for rows in (zip(*split, strict=True) if split else [()] * len(which))
        ]
        hits = [sum(map(len, rows.values())) for rows in parts]
        for side in self._sides:
            whole &= _add_held_side(side, asks, features_of, parts, hits, now)
        for at, i in enumerate(which):
            if whole[at]:
                has_all[i] = True
                attach(self._schema, features_of[at], parts[at], nobody=asks[at].user_id is None)
                self._caches.hits += hits[at]
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
        early = {group.name: self._begin(group, group.keys.ids([ask]), now) for group in self._early}
        features = await fetch()
        for side in self._sides:
            if side.rows.of in early:
                await _wait(early[side.rows.of].lookup.reads)
        late = {group.name: self._begin(group, group.keys.ids([ask], [features]), now) for group in self._late}
        known = {side.rows.of: early[side.rows.of].rows() for side in self._sides if side.rows.of in early}
        histories = [side.rows.ids([ask], [features], [known])[0] for side in self._sides]
        sides = {side.name: self._begin(side, ids, now) for side, ids in zip(self._sides, histories, strict=True)}
        begun = early | late | sides
        reads = [read for one in begun.values() for read in one.lookup.reads]
        await _wait(reads)
        self._caches.hits += sum(one.lookup.hits for one in begun.values())
        self._caches.misses += sum(one.lookup.misses for one in begun.values())
        rows = {name: one.rows() for name, one in begun.items()}
        rows |= {side.name: _side_row(side, rows[side.name]) for side in self._sides}
        if features.unread is not None:
            mark_unread(self._schema, features, rows)
        attach(self._schema, features, rows, nobody=ask.user_id is None)
        readings = [features.reading, *(read.reading for read in reads)]
        features.reading = merged([reading for reading in readings if reading is not None])
        unread = [features.unread, *(one.lookup.unread for one in begun.values())]
        features.unread = next(filter(None, unread), None)
        return features

    def remember(self, ask: Ask, features: Features) -> Features:
        """Add what is known without asking anybody, possibly old, and `UNREAD` for the rest."""
        rows: dict[str, Rows] = {}
        for group in self._groups:
            rows[group.name] = _known(group.cache, group.keys.ids([ask], [features]))
        for side in self._sides:
            (ids,) = side.rows.ids([ask], [features], [rows])
            rows[side.name] = _side_row(side, _known(side.cache, ids))
        mark_unread(self._schema, features, rows)
        attach(self._schema, features, rows, nobody=ask.user_id is None)
        return features

    def _begin(self, of: _Group | _Side, ids: Sequence[str | None], now: float) -> _Begun:
        unique = distinct(ids)
        return _Begun(of.cache.lookup(unique, now), unique, ids)


class _Begun(NamedTuple):
    """A look-up that may wait for reads: of a group's, or a history's, distinct ids, for those of all rows."""

    lookup: Lookup
    unique: Sequence[str]
    ids: Sequence[str | None]

    def rows(self) -> Rows:
        """Return the rows, once the reads are done."""
        return spread(self.lookup.rows(), self.unique, self.ids)


def _add_held_side(
    side: _Side,
    asks: Sequence[Ask],
    found: Sequence[Features],
    parts: Sequence[dict[str, Rows]],
    hits: list[int],
    now: float,
) -> npt.NDArray[np.bool_]:
    """Add the side information of each request to its parts; return for which it is held and fresh."""
    histories = side.rows.ids(asks, found, parts)
    counts = [*map(len, histories)]
    arena = side.cache.arena
    slots = arena.slots([*chain.from_iterable(histories)])
    made = side.rows.rows(counts, arena.rows(slots))
    for at, part in enumerate(parts):
        part[side.name] = Rows.known(made[at : at + 1])
        hits[at] += counts[at]
    stale = arena.stale(slots, now)
    is_held = np.ones(len(counts), np.bool_)
    is_held[np.repeat(np.arange(len(counts)), counts)[stale]] = False
    return is_held


def _side_row(side: _Side, products: Rows) -> Rows:
    return Rows.known(side.rows.rows([len(products)], products))


def _known(cache: EntityCache, ids: Sequence[str | None]) -> Rows:
    unique = distinct(ids)
    return spread(cache.arena.last_known(unique), unique, ids)


async def _wait(reads: Sequence[SharedRead]) -> None:
    for read in reads:
        await read.wait()


def _split(rows: Rows, counts: Sequence[int]) -> list[Rows]:
    """Return the rows of each request, as views."""
    return [rows.part(start, stop) for start, stop in pairwise(accumulate(counts, initial=0))]
