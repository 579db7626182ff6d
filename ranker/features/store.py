"""Ids to features: the store protocol, and Redis behind it.

One request is one user and n products, and costs one round trip that it shares with every request waiting at the same
moment. Owns keys, merging and decoding; knows nothing of what a missing vector becomes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ranker.process.log_limit import Seldom
from ranker.redis.connect import Connections
from ranker.redis.wire.replies import HashKey
from ranker.scheduling.batching import Call, MicroBatcher
from ranker.vectors.encoding import keys
from ranker.vectors.formats import decoder_for
from ranker.vectors.rows import Features, Key, ProductId, Reading, Rows, RowStatus, Unread, UserId
from ranker.vectors.schema import EntitySchema, FeatureSchema

logger = logging.getLogger("ranker.store")

REPORT_INTERVAL_S = 60.0
"""How often unusable vectors of one kind are logged."""
MAX_KEYS = 1024
"""Keys of one MGET: beyond some 500 the Redis core is the limit, and others wait behind a long one."""
SHARE_KEYS = 256
"""Keys one request adds to an MGET before the next request has its turn."""
CONNECTIONS = 2
"""MGETs in flight at a time, each on a connection of its own."""


class Store(Protocol):
    """What is open or down, whatever it gives."""

    def check(self) -> None:
        """Raise StoreUnavailable where asking would, without asking anybody."""

    @property
    def waiting(self) -> int:
        """Reads that are not sent yet, because others are under way."""

    async def open(self) -> None:
        """Connect, so that the first request does not wait for it; raise StoreUnavailable if that fails."""

    async def close(self) -> None:
        """Let go of connections."""


class RowStore(Store, Protocol):
    """Where rows are read."""

    async def read(self, user_ids: Sequence[UserId], product_ids: Sequence[ProductId], requests: int = 1) -> Features:
        """Return the rows of m users and n products, in order, in one round trip at most; for how many requests.

        Where a part of the store does not answer, its rows are `UNREAD`.

        Raises:
            StoreUnavailable: none of the features can be had now.
        """


class RedisStore:
    """Reads vectors from Redis, in the formats that the schema declares.

    Args:
        connections: Where to read: one server, or a Cluster.
        schema: Widths, key templates, formats and the fingerprint that version-1 vectors must carry.
        on_merge: Told the number of requests and keys of each round trip, for metrics.
    """

    def __init__(
        self,
        connections: Connections,
        schema: FeatureSchema,
        on_merge: Callable[[int, int], None] | None = None,
    ) -> None:
        self._connections = connections
        self._schema = schema
        self._users = decoder_for(schema.user, schema.fingerprint)
        self._products = decoder_for(schema.product, schema.fingerprint)
        self._batcher: MicroBatcher[list[Any], Any] = MicroBatcher(
            self._mget if "hash" not in (schema.user.format, schema.product.format) else self._mget_and_hmget,
            _concat_lists,
            _concat_lists,
            max_rows=MAX_KEYS,
            share=SHARE_KEYS,
            max_in_flight=CONNECTIONS,
            on_call=on_merge,
        )
        self._reports = Seldom(REPORT_INTERVAL_S)

    def check(self) -> None:
        self._connections.breaker.check()

    def held(self, user_id: UserId, product_ids: Sequence[ProductId]) -> Features | None:
        return None

    async def fetch(self, user_id: UserId | None, product_ids: Sequence[ProductId]) -> Features:
        return await self.read(() if user_id is None else (user_id,), product_ids)

    async def read(self, user_ids: Sequence[UserId], product_ids: Sequence[ProductId], requests: int = 1) -> Features:
        self.check()
        wanted = _wanted(self._schema.user, user_ids) + _wanted(self._schema.product, product_ids)
        submission = self._batcher.submit(wanted, requests)
        values = await submission
        began = time.perf_counter()
        user = self._users.decode(values[: len(user_ids)])
        products = self._products.decode(values[len(user_ids) :])
        decode_s = time.perf_counter() - began
        if not user.complete:
            self._report("user", user_ids, user)
        if not products.complete:
            self._report("product", product_ids, products)
        call = submission.call or Call(requests, len(wanted))
        unread = None if user.complete and products.complete else _why_unread(user, products, values)
        return Features(user, products, reading=Reading(decode_s, *call), unread=unread)

    def fresh(self, user_id: UserId, product_ids: Sequence[ProductId]) -> npt.NDArray[np.bool_]:
        return np.zeros(1 + len(product_ids), np.bool_)

    def remembered(self, user_id: UserId, product_ids: Sequence[ProductId]) -> Features:
        return Features(
            Rows.missing(1, self._schema.user.width), Rows.missing(len(product_ids), self._schema.product.width)
        )

    @property
    def waiting(self) -> int:
        return self._batcher.waiting

    async def open(self) -> None:
        await self._connections.open()

    async def close(self) -> None:
        await self._batcher.close()
        await self._connections.close()

    async def _mget(self, wanted: list[Key]) -> Sequence[bytes | Unread | None]:
        unique = dict.fromkeys(wanted)
        if len(unique) == len(wanted):
            return await self._connections.mget(wanted)
        found = dict(zip(unique, await self._connections.mget(list(unique)), strict=True))
        return [found[key] for key in wanted]

    async def _mget_and_hmget(self, wanted: list[Key | HashKey]) -> list[object]:
        unique = list(dict.fromkeys(wanted))
        strings = [key for key in unique if not isinstance(key, HashKey)]
        hashes = [key for key in unique if isinstance(key, HashKey)]
        values, fields = await self._connections.mget_and_hmget(strings, hashes)
        found: dict[Key | HashKey, object] = {
            **dict(zip(strings, values, strict=True)),
            **dict(zip(hashes, fields, strict=True)),
        }
        return [found[key] for key in wanted]

    def _report(self, entity: str, ids: Sequence[str], rows: Rows) -> None:
        """Log vectors that are there but unusable, once an interval for each kind of trouble."""
        for status in (RowStatus.WRONG_SCHEMA, RowStatus.CORRUPT):
            (positions,) = (rows.statuses == status).nonzero()
            if not len(positions) or not self._reports.due((entity, status)):
                continue
            logger.warning(
                "%d %s vector(s) of one request count as missing (%s), first: %r; more of this kind in the next %g s "
                "are only counted",
                len(positions),
                entity,
                status.name.lower(),
                ids[int(positions[0])],
                REPORT_INTERVAL_S,
            )


def _wanted(entity: EntitySchema, ids: Sequence[str]) -> list[Any]:
    """Return what to read for each id: its key, or the fields of a hash."""
    names = keys(entity, ids)
    if entity.format != "hash":
        return names
    fields = entity.names
    return [HashKey(key, fields) for key in names]


def _why_unread(user: Rows, products: Rows, values: Sequence[object]) -> str | None:
    """Return why values could not be read; None when all could."""
    if not any(np.count_nonzero(rows.statuses == RowStatus.UNREAD) for rows in (user, products)):
        return None
    return next(value.reason for value in values if isinstance(value, Unread))


def _concat_lists(parts: Iterable[list[object]]) -> list[object]:
    return list(chain.from_iterable(parts))
