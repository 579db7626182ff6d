"""Feast's TTL: rows whose event timestamp is older than their feature view's TTL count as missing. Pure.

Feast's own readers of Redis give the values of such rows as they give others (0.67: `PRESENT`, with the timestamp
beside it), so it is done only where the schema says `ttl_s`. Like Feast, a row without a timestamp never expires. Owns
the timestamp's bytes (`google.protobuf.Timestamp`). Knows nothing of the values.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from ranker.errors import CorruptVector, ExpiredRow
from ranker.vectors.rows import Matrix, Rows, RowStatus
from ranker.vectors.stored.feast_values import FieldValues, read_varints

_SECONDS, _NANOS = 1, 2
"""Fields of a `Timestamp`."""


class _Decoder(Protocol):
    def decode(self, values: Sequence[FieldValues]) -> Rows:
        """Decode n entities."""

    def decode_one(self, value: FieldValues) -> Matrix:
        """Decode one."""


class ExpiringDecoder:
    """Decodes entities whose last field is the event timestamp of the view's row.

    Args:
        decoder: Decodes the other fields.
        ttl_s: Seconds that a row is used after its event.
        now: Gives the seconds since 1970.
    """

    def __init__(self, decoder: _Decoder, ttl_s: float, now: Callable[[], float] = time.time) -> None:
        self._decoder = decoder
        self._ttl_s = ttl_s
        self._now = now

    def decode(self, values: Sequence[FieldValues]) -> Rows:
        rows = self._decoder.decode([value and value[:-1] for value in values])  # an empty one says why by itself
        now = self._now()
        for i in (rows.statuses == RowStatus.FOUND).nonzero()[0].tolist():
            try:
                self._refuse_expired(values[i][-1], now)
            except ExpiredRow:
                rows.statuses[i] = RowStatus.MISSING
            except CorruptVector:
                rows.statuses[i] = RowStatus.CORRUPT
        return Rows(rows.values, rows.statuses, complete=not rows.statuses.any())

    def decode_one(self, value: FieldValues) -> Matrix:
        row = self._decoder.decode_one(value and value[:-1])
        self._refuse_expired(value[-1], self._now())
        return row

    def _refuse_expired(self, timestamp: bytes | None, now: float) -> None:
        if timestamp and (age_s := now - read_timestamp(timestamp)) > self._ttl_s:
            raise ExpiredRow(age_s, self._ttl_s)


def read_timestamp(data: bytes) -> float:
    """Return the seconds since 1970 that a `google.protobuf.Timestamp` says.

    Raises:
        CorruptVector: it is no such message.
    """
    numbers = read_varints(data)
    if not numbers.keys() <= {_SECONDS, _NANOS}:
        raise CorruptVector(f"{data[:20]!r} is no timestamp of Feast's")
    return numbers.get(_SECONDS, 0) + numbers.get(_NANOS, 0) / 1e9
