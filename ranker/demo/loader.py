"""Writes vectors to Redis, in binary and in bulk, and never over something that is not the demo's own.

Owns the commands; must not know what the vectors mean.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from redis import Redis
from redis.exceptions import RedisError

from ranker.errors import ForeignFeatures, StoreUnreachable
from ranker.ingest.sending import send
from ranker.ingest.writer import BATCH_ROWS
from ranker.vectors.group import EntitySchema
from ranker.vectors.rows import Key, Matrix
from ranker.vectors.stored.encoding import HEADER, encode, make_header, make_keys

BATCH = BATCH_ROWS
"""Keys per command."""
CONNECT_TIMEOUT_S = 5.0
COMMAND_TIMEOUT_S = 60.0


class Loader:
    """Loads one Redis.

    Args:
        url: Anything redis-py's `from_url` takes. Not a cluster: its commands span keys.
    """

    def __init__(self, url: str) -> None:
        self._client = Redis.from_url(
            url, socket_timeout=COMMAND_TIMEOUT_S, socket_connect_timeout=CONNECT_TIMEOUT_S, decode_responses=False
        )
        kwargs = self._client.connection_pool.connection_kwargs
        self.where = str(kwargs.get("path") or f"{kwargs.get('host', 'localhost')}:{kwargs.get('port', 6379)}")

    def close(self) -> None:
        self._client.close()

    def count(self, wanted: Sequence[Key], fingerprint: int) -> int:
        """Return how many of the keys hold a version-1 vector with this fingerprint.

        Raises:
            StoreUnreachable: Redis does not answer, or refuses.
        """
        return len(wanted) - sum(1 for _ in self._others(wanted, {fingerprint}))

    def refuse_foreign(self, wanted: Sequence[Key], ours: Collection[int]) -> None:
        """Make sure that writing these keys destroys nothing.

        Args:
            wanted: The keys to be written.
            ours: Fingerprints of vectors that may be replaced.

        Raises:
            ForeignFeatures: some keys exist and hold anything else.
            StoreUnreachable: as `count`.
        """
        foreign = [key for key, exists in self._others(wanted, ours) if exists]
        if foreign:
            raise ForeignFeatures(self.where, [k.decode() if isinstance(k, bytes) else k for k in foreign])

    def load(
        self,
        entity: EntitySchema,
        ids: Sequence[str],
        blocks: Iterable[Matrix],
        fingerprint: int,
        on_progress: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Write n vectors.

        Args:
            entity: Names the keys.
            ids: The n ids.
            blocks: Their vectors in order, float32, as matrices of any number of rows.
            fingerprint: What the vectors carry.
            on_progress: Told after each block how many are written.

        Raises:
            StoreUnreachable: as `count`.
        """
        done = 0
        for block in blocks:
            for start in range(0, len(block), BATCH):
                values = encode(block[start : start + BATCH], fingerprint)
                names = make_keys(entity, ids[done + start : done + start + len(values)])
                try:
                    send(self._client, dict(zip(names, values, strict=True)))
                except RedisError as err:
                    raise StoreUnreachable(self.where, str(err)) from err
            done += len(block)
            on_progress(done)

    def _others(self, wanted: Sequence[Key], fingerprints: Collection[int]) -> Iterator[tuple[Key, bool]]:
        """Yield the keys that hold no vector with one of the fingerprints, and whether they exist."""
        headers = {make_header(fingerprint) for fingerprint in fingerprints}
        for start in range(0, len(wanted), BATCH):
            batch = wanted[start : start + BATCH]
            try:
                if not self._client.exists(*batch):
                    yield from ((key, False) for key in batch)
                    continue
                for key, value in zip(batch, self._client.mget(batch), strict=True):
                    if value is None:  # no such key, or not a string
                        yield key, bool(self._client.exists(key))
                    elif value[: HEADER.size] not in headers:
                        yield key, True
            except RedisError as err:
                raise StoreUnreachable(self.where, str(err)) from err
