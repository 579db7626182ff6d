"""Feature log as a frame: a row per product that was ranked, a column per feature, as the model was given it.

Owns what the columns are. Where a log is and how it is read, `telemetry.feature_log` knows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from ranker.errors import ForeignRecord, NameTaken, SeveralModels, UnreadableFile
from ranker.ingest.schema_source import find_schema
from ranker.settings import destination
from ranker.telemetry.feature_log.record import STATUSES, Record, widths_of
from ranker.training.frames import Library, column_names, feature_columns, make_frame
from ranker.vectors.schema import FeatureSchema

BLOCK_ROWS = 65_536
WORDS = np.array(STATUSES)
BESIDE = (
    "time",
    "request_id",
    "user_id",
    "product_id",
    "position",
    "rank",
    "score",
    "model",
    "user_status",
    "product_status",
    "degraded_reason",
)
"""Columns beside the features."""
SchemaFor = Callable[[str], FeatureSchema]


def read_feature_log(
    source: str | Path,
    *,
    model: str | None = None,
    schema: FeatureSchema | Path | str | None = None,
    library: Library = "pandas",
    redis_url: str = "",
) -> Any:
    """Return logged requests as one frame: a row per product, a column per feature.

    The frame can go to `Model.score` as it is; its features are what was served, so no second pipeline makes them.

    Args:
        source: A file or folder of Parquet files, `stream:KEY`, or a Redis URL with `?stream=KEY`.
        model: Only what this tag ranked; by default all, which must have the same columns.
        schema: What the features are called; by default what each model in the Bento model store says.
        library: What the frame is made with.
        redis_url: Where `stream:KEY` is.

    Returns:
        `time` (UTC, microseconds), `request_id`, `user_id`, `product_id`; `position` in the request and `rank` in the
        answer, from 1, rank 0 where it was not shown; `score`, NaN where there was none; `model`; `user_status` and
        `product_status`: `found`, or why the row is the default; `degraded_reason`, None for a full answer; then the
        features, float32, called as `Model.score` takes them.

    Raises:
        UnreadableFile: it is absent, damaged, or no feature log; or pyarrow is not installed.
        SeveralModels: its models have other columns than one another.
        ForeignRecord: a model in the store has other columns than were logged.
        ModelNotFound: a model is not in the store; give `schema`.
        StoreUnavailable: Redis does not answer, or refuses.
    """
    blocks = [*flatten(read_records(str(source), lambda: redis_url), schemas(schema), model)]
    if not blocks:
        return make_frame({name: [] for name in BESIDE}, library)
    return make_frame(_joined(blocks), library)


def schemas(schema: FeatureSchema | Path | str | None) -> SchemaFor:
    """Return what gives the schema of a model: the one that is known, or the one that the store has."""
    found: dict[str, FeatureSchema] = {}

    def schema_for(tag: str) -> FeatureSchema:
        if tag not in found:
            found[tag] = find_schema(tag if schema is None else schema)
        return found[tag]

    return schema_for


def flatten(records: Iterable[Record], schema_for: SchemaFor, model: str | None = None) -> Iterator[dict[str, Any]]:
    """Yield the columns of records, some ten thousand rows at a time; see `read_feature_log`.

    Raises:
        SeveralModels, ForeignRecord: the columns are not one another's, or not the schema's.
        NameTaken: a feature is called as one of the other columns.
    """
    names: list[str] | None = None
    seen: set[str] = set()
    waiting: list[dict[str, Any]] = []
    rows = 0
    for record in records:
        if model not in (None, record.model):
            continue
        if record.model not in seen:
            seen.add(record.model)
            found = _names(record, schema_for(record.model))
            if names is not None and found != names:
                raise SeveralModels([*seen])
            names = found
        assert names is not None  # narrows: the first record has set it
        waiting.append(_columns(record, names, schema_for(record.model)))
        rows += len(record.product_ids)
        if rows >= BLOCK_ROWS:
            yield _joined(waiting)
            waiting, rows = [], 0
    if waiting:
        yield _joined(waiting)


def read_records(source: str, redis_url: Callable[[], str]) -> Iterator[Record]:
    """Yield what is logged at a source; `redis_url` says where `stream:KEY` is.

    Raises:
        UnreadableFile: it is absent, damaged, or no feature log; or pyarrow is not installed.
        StoreUnavailable: Redis does not answer, or refuses.
        ValueError: it is no source.
    """
    place = destination.parse(source, "")
    if isinstance(place, destination.Folder):
        try:
            from ranker.telemetry.feature_log.parquet import read_files
        except ImportError as err:
            raise UnreadableFile(place.path, "that needs the package pyarrow; install 'bento-ranker[files]'") from err
        return read_files(place.path)
    from ranker.telemetry.feature_log.stream import read_stream

    return read_stream(place if place.url else destination.Stream(redis_url(), place.key))


def _names(record: Record, schema: FeatureSchema) -> list[str]:
    if (schema.fingerprint, widths_of(schema)) != (record.fingerprint, record.widths):
        raise ForeignRecord(record.model, record.fingerprint, record.widths, schema.fingerprint)
    names = column_names(schema)
    for name in BESIDE:
        if name in names:
            raise NameTaken(name)
    return names


def _columns(record: Record, names: list[str], schema: FeatureSchema) -> dict[str, Any]:
    n = len(record.product_ids)
    rank_of = {product_id: rank for rank, product_id in enumerate(record.ranking, 1)}
    once = {
        "time": np.datetime64(round(record.time_s * 1e6), "us"),
        "request_id": record.request_id,
        "user_id": record.user_id,
        "model": record.model,
        "user_status": STATUSES[record.user_status],
        "degraded_reason": record.degraded_reason,
    }
    each = {
        "product_id": np.array(record.product_ids, dtype=object),
        "position": np.arange(1, n + 1, dtype=np.int32),
        "rank": np.array([rank_of.get(i, 0) for i in record.product_ids], dtype=np.int32),
        "score": record.scores,
        "product_status": WORDS[record.product_statuses].astype(object),
    }
    for name, value in once.items():
        each[name] = np.full(n, value, dtype=None if name == "time" else object)
    features: list[Any] = []
    for group in schema.groups:
        slices = [at for _, at in schema.columns_of(group)]
        rows = record.matrix[:, slices[0].start : slices[-1].stop]
        features += feature_columns(schema, group, rows).values()
    return {name: each[name] for name in BESIDE} | dict(zip(names, features, strict=True))


def _joined(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the columns of several parts, each behind another: arrays, or lists of what is no number."""
    joined: dict[str, Any] = {}
    for name, column in parts[0].items():
        columns = [part[name] for part in parts]
        joined[name] = [*chain(*columns)] if isinstance(column, list) else np.concatenate(columns)
    return joined
