"""Redis stream of records, each one MessagePack map, over a connection of their own; and read again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import fields
from typing import Any

import msgpack
import numpy as np

from ranker.errors import UnreadableFile
from ranker.ranking.timings import Timings
from ranker.redis.clients import Client, connect, translate_errors
from ranker.settings.destination import Stream
from ranker.telemetry.feature_log.record import FORMAT, GROUPS, STATUSES, Record, check_lists, join_parts

CHUNK = 64
"""Records sent, or read, at a time: some 2 MB with 100 products of 64 + 64 features."""
_FLOAT32 = np.dtype("<f4")
_PLAIN = tuple(
    field.name
    for field in fields(Record)
    if field.name not in ("matrix", "widths", "scores", "user_status", "product_statuses", "timings")
)
"""Attributes that MessagePack takes as they are."""


class StreamSink:
    """Adds records to a stream, which keeps about so many.

    Args:
        stream: Where.
        max_records: What it is trimmed to, about (XADD MAXLEN ~).

    Attributes:
        written: Records that Redis has taken.
    """

    def __init__(self, stream: Stream, max_records: int) -> None:
        self._stream = stream
        self._max_records = max_records
        self._client: Client | None = None
        self._pending: list[Record] = []
        self.written = 0

    def write(self, records: Sequence[Record]) -> None:
        """Send records.

        Raises:
            StoreUnavailable: Redis does not answer, or refuses.
            UnusableUrl: redis-py does not take the URL.
        """
        self._pending += records
        while chunk := self._pending[:CHUNK]:
            with translate_errors():
                self._client = self._client or connect(self._stream.url)
                pipeline = self._client.pipeline(transaction=False)
                for record in chunk:
                    entry: dict[Any, Any] = {"model": record.model, "record": pack(record)}
                    pipeline.xadd(self._stream.key, entry, maxlen=self._max_records, approximate=True)
                pipeline.execute()
            del self._pending[: len(chunk)]
            self.written += len(chunk)

    def abandon(self) -> int:
        """Give up what Redis has not confirmed; return how many records."""
        lost = len(self._pending)
        self._pending = []
        return lost

    def close(self) -> None:
        """Hang up."""
        if self._client is not None:
            self._client.close()


def read_stream(stream: Stream) -> Iterator[Record]:
    """Yield the records of a stream, oldest first.

    Raises:
        StoreUnavailable, UnusableUrl: as `StreamSink.write` does.
        UnreadableFile: an entry is no record.
    """
    with closing(connect(stream.url)) as client:
        after = "-"
        while True:
            with translate_errors():
                entries: Any = client.xrange(stream.key, min=after, count=CHUNK)
            for name, entry in entries:
                try:
                    yield unpack(entry[b"record"])
                except (KeyError, TypeError, ValueError) as err:
                    reason = f"entry {name.decode()} is no record of format {FORMAT}"
                    raise UnreadableFile(stream.where, reason) from err
            if not entries:
                return
            moment, _, number = entries[-1][0].decode().partition("-")
            after = f"{moment}-{int(number) + 1}"


def pack(record: Record) -> bytes:
    """Return a record as a MessagePack map; arrays of floats are float32, little-endian, one behind the other."""
    plain = {name: getattr(record, name) for name in _PLAIN}
    arrays = {"scores": record.scores, **record.parts()}
    packed: bytes = msgpack.packb(
        {
            "format": FORMAT,
            **plain,
            "user_status": STATUSES[record.user_status],
            "product_statuses": [STATUSES[status] for status in record.product_statuses.tolist()],
            **{name: array.astype(_FLOAT32, copy=False).tobytes() for name, array in arrays.items()},
            **{f"{stage}_s": seconds for stage, seconds in record.timings._asdict().items()},
        }
    )
    return packed


def unpack(packed: bytes) -> Record:
    """Return the record that `pack` packed.

    Raises:
        KeyError, TypeError, ValueError: It is none, or one of another format.
    """
    data = msgpack.unpackb(packed)
    if data["format"] != FORMAT:
        raise ValueError(data["format"])
    arrays = {name: np.frombuffer(data[name], _FLOAT32) for name in ("scores", *GROUPS)}
    matrix, widths = join_parts(arrays, len(data["product_ids"]))
    return check_lists(
        Record(
            **{name: data[name] for name in _PLAIN},
            matrix=matrix,
            widths=widths,
            scores=arrays["scores"],
            user_status=STATUSES.index(data["user_status"]),
            product_statuses=np.array([STATUSES.index(word) for word in data["product_statuses"]], np.uint8),
            timings=Timings(*(data[f"{stage}_s"] for stage in Timings._fields)),
        )
    )
