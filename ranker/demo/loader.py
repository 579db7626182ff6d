"""Writes vectors to Redis, in binary and in bulk, and never over something that is not the demo's own.

Owns the commands; must not know what the vectors mean.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from ranker.errors import ForeignFeatures
from ranker.ingest.read_back import ask
from ranker.ingest.sending import send
from ranker.ingest.writer import BATCH_ROWS
from ranker.redis.clients import connect, translate_errors
from ranker.redis.url import parse
from ranker.vectors.group import EntitySchema
from ranker.vectors.rows import Key, Matrix
from ranker.vectors.stored.encoding import HEADER, encode, make_header, make_keys

BATCH = BATCH_ROWS
"""Keys per command."""


class Loader:
    """Loads one store.

    Args:
        url: As `connect` takes it.

    Raises:
        StoreUnavailable, UnusableUrl, EntraPackageMissing: as `connect`.
    """

    def __init__(self, url: str) -> None:
        self._client = connect(url)
        self._where = parse(url).where

    def close(self) -> None:
        self._client.close()

    def count(self, wanted: Sequence[Key], fingerprint: int) -> int:
        """Return how many of the keys hold a version-1 vector with this fingerprint.

        Raises:
            StoreUnavailable: Redis does not answer, or refuses.
        """
        return len(wanted) - sum(1 for _ in self._others(wanted, {fingerprint}))

    def refuse_foreign(self, wanted: Sequence[Key], ours: Collection[int]) -> None:
        """Make sure that writing these keys destroys nothing.

        Args:
            wanted: The keys to be written.
            ours: Fingerprints of vectors that may be replaced.

        Raises:
            ForeignFeatures: some keys exist and hold anything else.
            StoreUnavailable: as `count`.
        """
        foreign = [key for key, exists in self._others(wanted, ours) if exists]
        if foreign:
            raise ForeignFeatures(self._where, [k.decode() if isinstance(k, bytes) else k for k in foreign])

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
            StoreUnavailable: as `count`.
        """
        done = 0
        for block in blocks:
            for start in range(0, len(block), BATCH):
                values = encode(block[start : start + BATCH], fingerprint)
                names = make_keys(entity, ids[done + start : done + start + len(values)])
                with translate_errors():
                    send(self._client, dict(zip(names, values, strict=True)))
            done += len(block)
            on_progress(done)

    def _others(self, wanted: Sequence[Key], fingerprints: Collection[int]) -> Iterator[tuple[Key, bool]]:
        """Yield the keys that hold no vector with one of the fingerprints, and whether they exist."""
        headers = {make_header(fingerprint) for fingerprint in fingerprints}
        for start in range(0, len(wanted), BATCH):
            batch = wanted[start : start + BATCH]
            with translate_errors():
                known = self._client.exists(*batch)
            # The usual first run finds nothing, and then the values need not be asked for.
            values = ask(self._client, [("GET", key) for key in batch]) if known else [None] * len(batch)
            for key, value in zip(batch, values, strict=True):
                if not isinstance(value, bytes):  # no such key, or the error of one that holds no string
                    yield key, value is not None
                elif value[: HEADER.size] not in headers:
                    yield key, True
