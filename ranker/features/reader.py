"""Entity reader: ids of one entity → rows, in a round trip that it shares with every read waiting at the same moment.

Owns the entity's keys and the way from stored bytes to rows; what merges the round trips is handed in.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ranker.process.log_limit import Seldom
from ranker.redis.wire.replies import HashKey
from ranker.scheduling.batching import Call, MicroBatcher, Submission
from ranker.vectors.rows import Reading, Rows, RowStatus, Unread
from ranker.vectors.schema import FeatureSchema
from ranker.vectors.stored.encoding import make_keys
from ranker.vectors.stored.formats import decoder_for

logger = logging.getLogger("ranker.store")

REPORT_INTERVAL_S = 60.0
"""Seconds between two log lines about unusable vectors of one kind."""

Batcher = MicroBatcher[list[Any], Any]


class ReadRows(NamedTuple):
    """Rows as they were read.

    Attributes:
        rows: n rows, in the order of the ids.
        unread: Why some of them could not be read; None when all could.
        reading: How they were read.
    """

    rows: Rows
    unread: str | None
    reading: Reading


class EntityReader:
    """Reads the rows of one entity.

    Args:
        name: Which, and what the log calls it.
        schema: Its features, key template and format, and what its vectors must carry.
        batcher: Merges keys into round trips; gives a value for each.
    """

    def __init__(self, name: str, schema: FeatureSchema, batcher: Batcher) -> None:
        self._name = name
        self._entity = entity = schema.user if name == "user" else schema.entities[name]
        self._decoder = decoder_for(entity, schema.fingerprint_of(entity), schema.older_vectors(name))
        self._batcher = batcher
        self._reports = Seldom(REPORT_INTERVAL_S)

    def begin(self, ids: Sequence[str], requests: int = 1) -> PendingRead:
        """Ask for the rows of at least one id, for so many requests.

        What is begun in one turn of the event loop goes out together. A part of the store that does not answer leaves
        its rows `UNREAD`.
        """
        return PendingRead(self, ids, self._batcher.submit(self._wanted(ids), requests))

    async def read(self, ids: Sequence[str], requests: int = 1) -> ReadRows:
        """Return the rows of at least one id, in order, in one round trip at most.

        Raises:
            StoreUnavailable: none of them can be had now.
        """
        pending = self.begin(ids, requests)
        await pending.submission
        return pending.rows()

    def decode(self, ids: Sequence[str], values: Sequence[Any], call: Call) -> ReadRows:
        """Make rows of the n values that these n ids' keys held."""
        began = time.perf_counter()
        rows = self._decoder.decode(values)
        reading = Reading(time.perf_counter() - began, *call)
        if rows.complete:
            return ReadRows(rows, None, reading)
        self._report(ids, rows)
        return ReadRows(rows, next((v.reason for v in values if isinstance(v, Unread)), None), reading)

    def _wanted(self, ids: Sequence[str]) -> list[Any]:
        """Return what to read for each id: its key, or the fields of a hash."""
        names = make_keys(self._entity, ids)
        if not self._entity.is_hash:
            return names
        fields = self._entity.fields
        return [HashKey(key, fields) for key in names]

    def _report(self, ids: Sequence[str], rows: Rows) -> None:
        """Log vectors that are there but unusable, once an interval for each kind of trouble."""
        for status in (RowStatus.WRONG_SCHEMA, RowStatus.CORRUPT):
            (positions,) = (rows.statuses == status).nonzero()
            if not len(positions) or not self._reports.due(status):
                continue
            logger.warning(
                "%d %s vector(s) of one request count as missing (%s), first: %r; more of this kind in the next %g s "
                "are only counted",
                len(positions),
                self._name,
                status.name.lower(),
                ids[int(positions[0])],
                REPORT_INTERVAL_S,
            )


@dataclass(slots=True, eq=False)
class PendingRead:
    """A read that is under way."""

    reader: EntityReader
    ids: Sequence[str]
    submission: Submission[list[Any], Any]

    def rows(self) -> ReadRows:
        """Return what was read, once the submission is done; raise what it raised."""
        call = self.submission.call or Call(self.submission.requests, len(self.ids))
        return self.reader.decode(self.ids, self.submission.future.result(), call)
