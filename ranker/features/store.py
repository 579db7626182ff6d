"""Redis store: a reader for each entity, whose keys share round trips.

Whatever is asked for at the same moment goes along in one MGET (and HMGETs, where hashes are stored). Owns merging;
knows nothing of what a missing vector becomes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Protocol

from ranker.features.reader import Batcher, EntityReader
from ranker.redis.connect import Connections
from ranker.redis.wire.replies import HashKey
from ranker.scheduling.batching import MicroBatcher
from ranker.vectors.rows import Key, Unread
from ranker.vectors.schema import FeatureSchema

MAX_KEYS = 1024
"""Keys of one MGET: beyond some 500 the Redis core is the limit, and others wait behind a long one."""
SHARE_KEYS = 256
"""Keys one request adds to an MGET before the next request has its turn."""
CONNECTIONS = 2
"""MGETs in flight at a time, each on a connection of its own."""


class RowStore(Protocol):
    """Store of rows: a reader for each entity, and whether it can be reached.

    Attributes:
        users: Reads users' rows.
        products: Reads products' rows.
        groups: Read the rows of groups under keys of their own, by name.
    """

    users: EntityReader
    products: EntityReader
    groups: dict[str, EntityReader]

    def raise_if_down(self) -> None:
        """Raise StoreUnavailable where reading would, without asking anybody."""

    @property
    def waiting(self) -> int:
        """Reads that are not sent yet, because others are under way."""

    async def open(self) -> None:
        """Connect, so that the first request does not wait for it; raise StoreUnavailable if that fails."""

    async def close(self) -> None:
        """Let go of connections."""


class RedisStore:
    """A `RowStore` over Redis, in the formats that the schema declares.

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
        self._batcher: Batcher = MicroBatcher(
            self._mget if not any(entity.is_hash for entity in schema.entities.values()) else self._mget_and_hmget,
            _concat_lists,
            _concat_lists,
            max_rows=MAX_KEYS,
            share=SHARE_KEYS,
            max_in_flight=CONNECTIONS,
            on_call=on_merge,
        )
        self.users = EntityReader("user", schema, self._batcher)
        self.products = EntityReader("product", schema, self._batcher)
        self.groups = {name: EntityReader(name, schema, self._batcher) for name in schema.keyed}

    def raise_if_down(self) -> None:
        self._connections.breaker.raise_if_open()

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


def _concat_lists(parts: Iterable[list[object]]) -> list[object]:
    return list(chain.from_iterable(parts))
