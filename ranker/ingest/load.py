"""Loads files of features: check every row, then write the good ones, and leave no half of a load looking whole.

The files are read twice. The first reading decides whether anything is written at all; the second writes, and notes in
Redis how far it came. Owns that order; must not know of formats or the command line.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from ranker.errors import RejectedRows, UnreadableFile
from ranker.ingest.files.dialect import Dialect
from ranker.ingest.files.opening import USUAL, open_source
from ranker.ingest.files.rows import NAN, NO_VALUE, ROUNDED, Columns, Integers
from ranker.ingest.files.source import Source
from ranker.ingest.files.survey import OnProgress, Survey, numbered, refuse_input_as_rejects, survey, within
from ranker.ingest.key_ids import id_check
from ranker.ingest.pace import Pace
from ranker.ingest.record import Entity, LoadRecord, Recorder, Spread, Target, entity_schema
from ranker.ingest.resume import find_earlier
from ranker.ingest.validation import refuse_foreign_format
from ranker.ingest.writer import BATCH_ROWS, FeatureWriter
from ranker.redis.clients import Client, connect
from ranker.vectors.rows import Matrix
from ranker.vectors.schema import FeatureSchema

RECORD_INTERVAL_S = 1.0
"""Interval at which the load notes how far it is: what an interruption makes it write again."""
MIXED_LOADS = "another load ran at the same time; of an id that both have, either one's vector may have stayed."
RECORDED_IDS = 100
"""Ids that go on record, about: those that --resume looks for."""


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """Options of a load.

    Attributes:
        entity: Whose features.
        schema: What the columns are.
        id_column: The column with the ids.
        on_error: Whether a row that cannot be loaded stops the load before it writes anything, or is left out.
        rejects: Where such rows are listed, as JSON Lines.
        ttl_s: Seconds until a vector expires.
        max_rate: Rows written per second, at most.
        allow_rounding: Take whole numbers that float32 changes, as it has them; else their rows cannot be loaded.
        resume: Go on where an interrupted load of the same files stopped.
        sentinel_service: Which primary of a Sentinel.
        dialect: How the files are written that are text.
    """

    entity: Entity
    schema: FeatureSchema
    id_column: str = "id"
    on_error: Literal["fail", "skip"] = "fail"
    rejects: Path | None = None
    ttl_s: float | None = None
    max_rate: float | None = None
    allow_rounding: bool = False
    resume: bool = False
    sentinel_service: str | None = None
    dialect: Dialect = USUAL


@dataclass(frozen=True, slots=True)
class Loaded:
    """Outcome of a load.

    Attributes:
        rows: Rows of the files.
        written: Rows written now.
        skipped: Rows written before an interruption, or all of them when there was nothing left to do.
        rejected: Rows left out, by reason.
        rounded: Whole numbers that float32 has changed, by column.
        ignored: Columns not used, by file.
        seconds: How long writing took.
        note: Why a load that was to be resumed began at the first row; empty when it did not.
        notes: What of the files was taken as it is, and may have been meant otherwise, in sentences.
    """

    rows: int
    written: int
    skipped: int
    rejected: dict[str, int]
    rounded: dict[str, int]
    ignored: dict[str, tuple[str, ...]]
    seconds: float
    note: str = ""
    notes: tuple[str, ...] = ()


class Watcher(Protocol):
    """Listener that is told how a load gets on."""

    def began(self, stage: Literal["Checking", "Writing"], rows: int | None, done: int) -> OnProgress:
        """Return whom to tell the number of rows dealt with; `rows` is their total, where known."""


def load(paths: Sequence[Path], url: str, options: LoadOptions, watcher: Watcher) -> Loaded:
    """Load files in order.

    Args:
        paths: The files.
        url: Of Redis, as `connect` takes it.
        options: What to load, and how.
        watcher: Told of the progress.

    Raises:
        FeatureError: a file cannot be read, rows cannot be loaded and `on_error` is `fail`, or what is to be resumed is
            another load. Nothing has been written.
        StoreUnavailable: Redis does not answer, or refuses. The load is on record as incomplete, and can be resumed.
    """
    entity = entity_schema(options.schema, options.entity)
    refuse_foreign_format(entity)
    columns = Columns.of(
        entity, options.id_column, id_check(options.schema, entity), allow_rounding=options.allow_rounding
    )
    sources = [open_source(path, columns, options.dialect) for path in paths]
    refuse_input_as_rejects(options.rejects, sources)
    ignored = {str(source.path): source.ignored for source in sources if source.ignored}
    # Connected before the files are read, for that may take long.
    with closing(connect(url, options.sentinel_service)) as client:
        job = _Load(sources, columns, client, options, watcher)
        before, note = job.earlier()
        if before is not None and before.state == "complete":
            return Loaded(before.rows, 0, before.rows, {}, {}, ignored, 0.0)
        found = job.survey_files()
        done, ids = (0, ()) if before is None else (before.rows_done, before.ids)
        began = time.monotonic()
        with FeatureWriter(
            url,
            options.schema,
            ttl_s=options.ttl_s,
            batch_rows=job.batch_rows,
            sentinel_service=options.sentinel_service,
        ) as writer:
            written = job.write(writer, found, done, ids)
    seconds = time.monotonic() - began
    mixed = (f"{entity.key}: {MIXED_LOADS}",) if job.recorder.is_mixed else ()
    notes = (*mixed, *found.notes, *(f"Of {source.path.name}, {source.advice}." for source in sources if source.advice))
    return Loaded(found.rows, written, done, dict(found.counts), dict(found.rounded), ignored, seconds, note, notes)


class _Load:
    """The steps of one load."""

    def __init__(
        self, sources: Sequence[Source], columns: Columns, client: Client, options: LoadOptions, watcher: Watcher
    ) -> None:
        self._sources = sources
        self._columns = columns
        self._client = client
        self._options = options
        self._watcher = watcher
        self._target = Target.of(options.schema, options.entity)
        self._signatures = tuple(source.signature() for source in sources)
        self._decisive = {"id column": options.id_column, "time to live": options.ttl_s}
        self._decisive |= {"rounding": options.allow_rounding, **options.dialect.options}
        self._pace = Pace(options.max_rate)
        self.recorder = Recorder(client)
        self.batch_rows = self._pace.batch_rows(BATCH_ROWS)

    def earlier(self) -> tuple[LoadRecord | None, str]:
        """Return the record of the load that is to be resumed, if any, and why there is none where one was wanted."""
        if not self._options.resume:
            return None, ""
        return find_earlier(self._client, self._options.schema, self._target, self._signatures, self._decisive)

    def survey_files(self) -> Survey:
        """Read all files; refuse them if rows cannot be loaded."""
        known = [source.rows for source in self._sources]
        total = None if None in known else sum(rows or 0 for rows in known)
        rejects = self._options.rejects
        found = survey(self._sources, self._columns, rejects, self._watcher.began("Checking", total, 0))
        if not found.rows:
            raise UnreadableFile(", ".join(str(source.path) for source in self._sources), "it holds no rows")
        none_left = found.rejected == found.rows
        if found.rejected and (self._options.on_error == "fail" or none_left):
            way_out = "" if none_left else " --on-error skip loads the others."
            if found.counts[ROUNDED]:
                way_out += " --allow-rounding takes whole numbers as float32 has them."
            if found.counts[NO_VALUE] or found.counts[NAN]:
                way_out += " Absent values are loaded where the schema has `missing: default` or `missing: nan`."
            way_out += "".join(f" Of {s.path.name}, {s.advice}." for s in self._sources if s.advice)
            listed = f" All are listed in {rejects}." if rejects else ""
            raise RejectedRows(found.counts, found.examples, found.rows, f"Nothing has been written.{way_out}{listed}")
        return found

    def write(self, writer: FeatureWriter, found: Survey, done: int, ids: Sequence[str]) -> int:
        """Write the good rows from position `done` on, before which `ids` are on record; return how many."""
        names = self._columns.column_names
        record = LoadRecord(
            target=self._target,
            state="loading",
            files=self._signatures,
            options=self._decisive,
            rows=found.rows,
            rows_done=done,
            rejected=found.rejected,
            ids=tuple(ids),
            statistics=found.statistics.to_json(names),
        )
        self.recorder.write(record)
        on_progress = self._watcher.began("Writing", found.rows, done)
        entity = entity_schema(self._options.schema, self._options.entity)
        written, recorded = 0, time.monotonic()
        some = Spread(max(1, found.rows // RECORDED_IDS), ids)
        for positions, batch_ids, matrix in self._batches(found, done):
            writer.write_rows(entity, batch_ids, matrix)
            written += len(batch_ids)
            some.add(positions, batch_ids)
            end = int(positions[-1]) + 1
            on_progress(end)
            self._pace.wait(len(batch_ids))
            if time.monotonic() - recorded >= RECORD_INTERVAL_S:
                writer.flush()
                self.recorder.write(replace(record, rows_done=end, ids=tuple(some.ids)))
                recorded = time.monotonic()
        writer.flush()
        if tuple(source.signature() for source in self._sources) != self._signatures:
            paths = ", ".join(str(source.path) for source in self._sources)
            raise UnreadableFile(paths, "it changed while it was being loaded; load it again")
        self.recorder.write(replace(record, state="complete", rows_done=found.rows, ids=tuple(some.ids)))
        on_progress(found.rows)
        return written

    def _batches(self, found: Survey, done: int) -> Iterator[tuple[Integers, list[str], Matrix]]:
        """Yield the good rows from position `done` on, with their positions over all files."""
        for position, _, block in numbered(self._sources):
            if position + len(block) <= done:
                continue
            good, matrix, _ = block.validate(self._columns)
            wanted = ~np.isin(good, within(found.duplicates, position, len(block))) & (good + position >= done)
            good, matrix = good[wanted], matrix[wanted]
            for start in range(0, len(good), self.batch_rows):
                rows = good[start : start + self.batch_rows]
                yield (
                    position + rows,
                    [block.ids[i] for i in rows],
                    matrix[start : start + self.batch_rows],
                )
