"""Stored vector, version 2: one fixed-size little-endian record of all features, typed. Pure: no I/O.

The 8-byte header of version 1 with version 2, then each feature in order without padding: its elements as its type is
stored, a sequence with a u16 count in front, a text filled up with zero bytes. So many vectors are an array of records.
Owns the record; which bytes are one, and what becomes of those that are not, `decoding` says.
"""

from __future__ import annotations

from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ranker.vectors.feature import Feature
from ranker.vectors.feature.columns import Elements, join_digits, split_digits, to_columns, to_elements
from ranker.vectors.feature.kinds import KINDS, MAX_CODES, NAN_BOOL, NAN_CODE, FeatureType
from ranker.vectors.group import FeatureGroup
from ranker.vectors.rows import Matrix


class _Run(NamedTuple):
    """Adjacent features whose elements are stored alike, and are read in one operation.

    Attributes:
        name: Of the record's field.
        type: Of all of them.
        columns: Which they fill.
        feature: The only one, where it is a sequence or a text.
    """

    name: str
    type: FeatureType
    columns: slice
    feature: Feature | None

    @property
    def stored(self) -> np.dtype[Any]:
        kind, feature = KINDS[self.type], self.feature
        if feature is None:
            size = (self.columns.stop - self.columns.start) // kind.digits
            return np.dtype((kind.stored, (size,)))
        elements = np.dtype((kind.stored, (feature.size,)))
        return np.dtype([("count", "<u2"), ("items", elements)]) if feature.is_sequence else elements


class RecordLayout:
    """The record of one entity.

    Args:
        group: The features.

    Attributes:
        width: W, the columns of a row.
        dtype: The record, its header a u64.
    """

    def __init__(self, group: FeatureGroup) -> None:
        self.width = group.width
        self._runs = list(_runs(group))
        self.dtype = np.dtype([("header", "<u8"), *((run.name, run.stored) for run in self._runs)])

    def decode(self, records: npt.NDArray[Any]) -> Matrix:
        """Return the columns of n records, shape (n, W).

        What no value of its type is (a boolean of 7, a count beyond the length) is infinite in its column.
        """
        rows = np.empty((len(records), self.width), dtype=np.float32)
        for run in self._runs:
            _decode(run, records[run.name], rows[:, run.columns])
        return rows

    def encode(self, rows: Matrix, header: bytes) -> list[bytes]:
        """Return n records of rows, shape (n, W), with the same header each."""
        records = np.zeros(len(rows), dtype=self.dtype)
        records["header"] = int.from_bytes(header, "little")
        for run in self._runs:
            _encode(run, rows[:, run.columns], records[run.name])
        size, whole = self.dtype.itemsize, records.tobytes()
        return [whole[start : start + size] for start in range(0, len(whole), size)]


def _runs(group: FeatureGroup) -> list[_Run]:
    def alike(item: tuple[int, Feature]) -> tuple[FeatureType, int]:
        at, feature = item
        return feature.type, at + 1 if feature.is_sequence or feature.type == "text" else 0

    runs: list[_Run] = []
    for (kind, alone), items in groupby(enumerate(group.features), alike):
        features = [feature for _, feature in items]
        first, last = group.slices[features[0].name], group.slices[features[-1].name]
        columns = slice(first.start, last.stop)
        runs.append(_Run(f"f{len(runs)}", kind, columns, features[0] if alone else None))
    return runs


def _decode(run: _Run, stored: npt.NDArray[Any], rows: Matrix) -> None:
    feature = run.feature
    if feature is None:
        _decode_elements(run.type, stored, rows)
    elif not feature.is_sequence:
        rows[:] = to_columns(feature, Elements(stored))
    else:
        counts, items = stored["count"].astype(np.int64), stored["items"]
        if feature.kind.digits == 1:
            items = np.empty(items.shape, dtype=np.float32)
            _decode_elements(run.type, stored["items"], items)
        rows[:] = to_columns(feature, Elements(items, counts))
        rows[counts > (feature.length or 0), 0] = np.inf


def _decode_elements(kind: FeatureType, stored: npt.NDArray[Any], rows: Matrix) -> None:
    digits = KINDS[kind].digits
    if digits > 1:
        split_digits(stored, rows.reshape(len(rows), -1, digits))
        return
    rows[:] = stored
    if kind == "bool":
        rows[stored > 1] = np.inf
        rows[stored == NAN_BOOL] = np.nan
    elif kind == "category":
        rows[np.abs(stored.astype(np.int64)) > MAX_CODES] = np.inf
        rows[stored == NAN_CODE] = np.nan


def _encode(run: _Run, rows: Matrix, stored: npt.NDArray[Any]) -> None:
    feature = run.feature
    if feature is None:
        _encode_elements(run.type, rows, stored)
    elif not feature.is_sequence:
        stored[:] = to_elements(feature, rows).items
    else:
        items, stored["count"] = to_elements(feature, rows)
        if feature.kind.digits == 1:
            _encode_elements(run.type, items, stored["items"])
        else:
            stored["items"] = items


def _encode_elements(kind: FeatureType, rows: Matrix, stored: npt.NDArray[Any]) -> None:
    digits = KINDS[kind].digits
    if digits > 1:
        stored[:] = join_digits(rows, digits)
    elif kind in ("bool", "category"):
        stored[:] = np.where(np.isnan(rows), NAN_BOOL if kind == "bool" else NAN_CODE, np.nan_to_num(rows))
    else:
        with np.errstate(over="ignore"):  # whoever writes has seen to it
            stored[:] = rows
