"""Parquet files of records: one file at a time, under a hidden name until it is finished; and read again.

pyarrow is an extra: this module is imported where files are meant alone. Owns the columns. One row is one request, so
what its products have in common is there once; lists of floats keep every bit, NaN's too.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex
from time import monotonic
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import parquet

from ranker.errors import UnreadableFile
from ranker.ranking.timings import Timings
from ranker.telemetry.feature_log.record import FORMAT, GROUPS, STATUSES, Record, check_lists, join_parts
from ranker.telemetry.feature_log.unfinished import hide

ROW_GROUP_BYTES = 4 << 20
"""Bytes of a row group, about; records wait in memory until then, or until the file is finished."""
READ_ROWS = 64
_KEY = b"ranker.feature_log"
_FILE_MODE, _FOLDER_MODE = 0o600, 0o700
"""Permissions: what users were shown is nobody else's business."""
_FLOATS = pa.list_(pa.float32())
_TEXTS = pa.list_(pa.string())
SCHEMA = pa.schema(
    {
        "time": pa.timestamp("us", "UTC"),
        "request_id": pa.string(),
        "user_id": pa.string(),
        "model": pa.string(),
        "fingerprint": pa.string(),
        "product_ids": _TEXTS,
        "top_k": pa.int32(),
        "missing_product": pa.string(),
        **dict.fromkeys(GROUPS, _FLOATS),
        "user_status": pa.string(),
        "product_statuses": _TEXTS,
        "scores": _FLOATS,
        "ranking": _TEXTS,
        "degraded_reason": pa.string(),
        "cache_hits": pa.int32(),
        "batch_requests": pa.int32(),
        "batch_rows": pa.int32(),
        **{f"{stage}_ms": pa.float32() for stage in Timings._fields},
    },
    metadata={_KEY: str(FORMAT)},
)
_REQUIRED = [
    n for n in SCHEMA.names if n not in ("user_id", "top_k", "degraded_reason", "batch_requests", "batch_rows")
]
# Dictionaries made files no smaller, and writing took half as long again.
_ENCODING: dict[str, Any] = {
    "compression": "zstd",
    "compression_level": 1,
    "use_dictionary": False,
    "write_statistics": ["time", "model"],
}


class ParquetSink:
    """Writes records to files `served-TIME-HOST-RANDOM.parquet` in a folder.

    Args:
        folder: Where; made, for this user alone, when it is not there.
        file_bytes: A file is finished when it is about as large,
        file_s: or when its first record is so old, in seconds.

    Attributes:
        written: Records in finished files.
    """

    def __init__(self, folder: Path, file_bytes: int, file_s: float) -> None:
        self._folder = folder
        self._file_bytes = file_bytes
        self._file_s = file_s
        self._pending: list[Record] = []
        self._pending_bytes = 0
        self._unfinished = 0
        self._began = 0.0
        self._path: Path | None = None
        self._name = ""
        self._file: Any = None
        self._writer: Any = None
        self.written = 0

    def write(self, records: Sequence[Record]) -> None:
        """Take records, and write a row group, or finish the file, where that is due."""
        if records:
            if not self._unfinished:
                self._began = monotonic()
            self._pending += records
            self._pending_bytes += sum(record.size_bytes for record in records)
            self._unfinished += len(records)
            if self._path is None:
                self._open()  # before there is a row group to write, so that who looks sees that one will come
        if self._pending_bytes >= ROW_GROUP_BYTES:
            self._write_rows()
        large = self._file is not None and self._file.tell() >= self._file_bytes
        if self._unfinished and (large or monotonic() - self._began >= self._file_s):
            self.close()

    def abandon(self) -> int:
        """Remove the unfinished file; return how many records it had."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink()
        lost = self._unfinished
        self._reset()
        return lost

    def close(self) -> None:
        """Finish the file, if there is one: on disk, and only then under its name."""
        if self._pending:
            self._write_rows()
        if self._path is None:
            return
        self._writer.close()
        self._file.close()
        _sync(self._path)
        self._path.rename(self._folder / self._name)
        _sync(self._folder)
        self.written += self._unfinished
        self._reset()

    def _write_rows(self) -> None:
        self._writer.write_table(_table(self._pending))
        self._pending = []
        self._pending_bytes = 0

    def _open(self) -> None:
        self._folder.mkdir(_FOLDER_MODE, parents=True, exist_ok=True)
        now = datetime.now(UTC)
        self._name = f"served-{now:%Y%m%dT%H%M%S}-{socket.gethostname()}-{token_hex(4)}.parquet"
        self._path = self._folder / hide(self._name, now + timedelta(seconds=self._file_s))
        # Made here, for pyarrow would let everybody read it; it writes into what is there.
        os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _FILE_MODE))
        self._file = pa.OSFile(str(self._path), "wb")
        self._writer = parquet.ParquetWriter(self._file, SCHEMA, **_ENCODING)

    def _reset(self) -> None:
        self._pending = []
        self._pending_bytes = self._unfinished = 0
        self._path = self._file = self._writer = None


def read_files(path: Path) -> Iterator[Record]:
    """Yield the records of a file, or of all finished files of a folder, by name.

    Raises:
        UnreadableFile: it is absent, damaged, or no feature log.
    """
    paths = sorted(path.glob("[!.]*.parquet")) if path.is_dir() else [path]
    if not path.exists():
        raise UnreadableFile(path, "there is no such file or folder")
    for each in paths:
        try:
            with parquet.ParquetFile(each) as file:
                if (file.schema_arrow.metadata or {}).get(_KEY) != str(FORMAT).encode():
                    raise UnreadableFile(each, f"it is no feature log of format {FORMAT}")
                for batch in file.iter_batches(READ_ROWS):
                    if lacking := [name for name in _REQUIRED if batch.column(name).null_count]:
                        raise UnreadableFile(each, f"a record has no {lacking[0]}")
                    for row in range(batch.num_rows):
                        yield _record({name: batch.column(name)[row] for name in SCHEMA.names})
        except (OSError, ValueError, KeyError, pa.ArrowException) as err:
            raise UnreadableFile(each, " ".join(str(err).split())[:300].rstrip(".")) from err


def _table(records: Sequence[Record]) -> Any:
    parts = [record.parts() for record in records]
    statuses = [record.product_statuses for record in records]
    words = pa.DictionaryArray.from_arrays(np.concatenate(statuses).astype(np.int8), pa.array(STATUSES))
    columns: dict[str, Any] = {
        "time": [int(record.time_s * 1e6) for record in records],
        "fingerprint": [f"{record.fingerprint:08x}" for record in records],
        "user_status": [STATUSES[record.user_status] for record in records],
        "product_statuses": pa.ListArray.from_arrays(_offsets(statuses), words.dictionary_decode()),
        "scores": _lists([record.scores for record in records]),
        **{name: _lists([part[name] for part in parts]) for name in GROUPS},
    }
    for stage in Timings._fields:
        columns[f"{stage}_ms"] = [getattr(record.timings, stage) * 1e3 for record in records]
    for name in SCHEMA.names:
        if name not in columns:
            columns[name] = [getattr(record, name) for record in records]
    return pa.table({name: columns[name] for name in SCHEMA.names}, SCHEMA)


def _lists(arrays: Sequence[npt.NDArray[np.float32]]) -> Any:
    return pa.ListArray.from_arrays(_offsets(arrays), pa.array(np.concatenate(arrays)))


def _offsets(arrays: Sequence[npt.NDArray[Any]]) -> npt.NDArray[np.int32]:
    return np.cumsum([0, *map(len, arrays)], dtype=np.int32)


def _record(row: dict[str, Any]) -> Record:
    product_ids = row["product_ids"].as_py()
    matrix, widths = join_parts({name: _floats(row[name]) for name in GROUPS}, len(product_ids))
    return check_lists(
        Record(
            time_s=row["time"].value / 1e6,
            request_id=row["request_id"].as_py(),
            user_id=row["user_id"].as_py(),
            model=row["model"].as_py(),
            fingerprint=int(row["fingerprint"].as_py(), 16),
            product_ids=product_ids,
            top_k=row["top_k"].as_py(),
            missing_product=row["missing_product"].as_py(),
            matrix=matrix,
            widths=widths,
            user_status=STATUSES.index(row["user_status"].as_py()),
            product_statuses=np.array([STATUSES.index(word) for word in row["product_statuses"].as_py()], np.uint8),
            scores=_floats(row["scores"]),
            ranking=row["ranking"].as_py(),
            degraded_reason=row["degraded_reason"].as_py(),
            cache_hits=row["cache_hits"].as_py(),
            batch_requests=row["batch_requests"].as_py(),
            batch_rows=row["batch_rows"].as_py(),
            timings=Timings(*(row[f"{stage}_ms"].as_py() / 1e3 for stage in Timings._fields)),
        )
    )


def _floats(scalar: Any) -> npt.NDArray[np.float32]:
    values: npt.NDArray[np.float32] = scalar.values.to_numpy(zero_copy_only=False)
    return values


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
