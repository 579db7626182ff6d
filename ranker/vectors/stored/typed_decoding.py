"""Typed decoding: vectors of version 2, typed JSON arrays, and vectors of older schemas, to rows. Pure.

A store is decoded in a few array operations for each schema that its vectors are of, however they are mixed. Owns how
an older vector becomes a row of today's columns; schemas of plain numbers without older ones have `decoding`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson

from ranker.errors import CorruptVector, WrongFingerprint
from ranker.vectors.group import FeatureGroup
from ranker.vectors.older import OlderVectors
from ranker.vectors.rows import Matrix, Rows, RowStatus
from ranker.vectors.stored.decoding import (
    JSON_SPACE,
    RowDecoder,
    check_length,
    decode_each,
    finite_or_nan,
    loads_lenient,
    without_infinities,
)
from ranker.vectors.stored.encoding import (
    DTYPE_CODES,
    HEADER,
    MAGIC,
    RECORD_VERSION,
    VALUE_TYPES,
    Dtype,
    make_header,
    make_record_header,
)
from ranker.vectors.stored.parsing import RowParser
from ranker.vectors.stored.records import RecordLayout

_CORRUPT = np.uint8(RowStatus.CORRUPT)


class _Form(NamedTuple):
    """Stored vectors of one header: the array they are when joined, and what makes rows of that."""

    header: bytes
    record: np.dtype[Any]
    rows: Callable[[npt.NDArray[Any]], Matrix]

    def decode(self, values: Sequence[bytes]) -> Matrix:
        return self.rows(np.frombuffer(b"".join(values), dtype=self.record))


class TypedDecoder:
    """Decodes stored bytes into float32 rows of one entity.

    Args:
        group: The entity's features.
        fingerprint: The schema fingerprint a binary vector must carry.
        older: Other fingerprints that are read too.
    """

    def __init__(self, group: FeatureGroup, fingerprint: int, older: Sequence[OlderVectors] = ()) -> None:
        self._width = group.width
        self._fingerprint = fingerprint
        self._plain = RowDecoder(group.width, fingerprint) if group.is_plain else None
        self._parser = RowParser(group)
        self._now, *others = _forms(group, fingerprint)
        for one in older:
            others += [_lifted(form, one.group, group) for form in _forms(one.group, one.fingerprint)]
        self._forms = {form.header: form for form in (self._now, *others)}
        self._longest = max(group.width, *(one.group.width for one in older), 1) if older else group.width

    def decode(self, values: Sequence[bytes | None]) -> Rows:
        """Decode n stored values (None where Redis had no key); what cannot be decoded is marked, never raised."""
        n, now = len(values), self._now
        if not n:
            return Rows.missing(0, self._width)
        try:
            alike = {now.record.itemsize}.issuperset(map(len, values))  # type: ignore[arg-type]  # None raises
        except TypeError:
            alike = False
        if alike:
            records = np.frombuffer(b"".join(values), dtype=now.record)  # type: ignore[arg-type]  # None has been found
            if (records["header"] == int.from_bytes(now.header, "little")).all():
                return without_infinities(now.rows(records), np.zeros(n, dtype=np.uint8))
        return self._decode_mixed(values)

    def decode_one(self, value: bytes) -> Matrix:
        """Decode one stored value in any encoding.

        Returns:
            Shape (W,), float32.

        Raises:
            WrongFingerprint: a binary vector of a schema that is not read.
            WrongWidth: a JSON array of more or fewer values than there are features.
            CorruptVector: bytes that are no vector at all, or hold what no value of its type is.
        """
        check_length(len(value), self._longest)
        form = self._forms.get(value[: HEADER.size])
        if form is not None and len(value) == form.record.itemsize:
            return finite_or_nan(form.decode([value])[0])
        if value[:1] == b"R":
            return self._decode_other(value)
        text = value.strip(JSON_SPACE)
        if text[:1] not in (b"[", b'"'):
            raise CorruptVector("it begins neither with the magic RV nor as a JSON array")
        try:
            parsed = orjson.loads(text)
            parsed = orjson.loads(parsed) if isinstance(parsed, str) else parsed
        except orjson.JSONDecodeError:
            parsed = loads_lenient(text)
        return self._parser.parse(parsed)

    def _decode_mixed(self, values: Sequence[bytes | None]) -> Rows:
        """Decode vectors of several schemas, those of one together."""
        together: dict[bytes, list[int]] = {}
        alone: list[int] = []
        for i, value in enumerate(values):
            form = self._forms.get(value[: HEADER.size]) if isinstance(value, bytes) else None
            if value is not None and form is not None and len(value) == form.record.itemsize:
                together.setdefault(form.header, []).append(i)
            else:
                alone.append(i)
        rest = decode_each([values[i] for i in alone], self._width, self.decode_one)
        rows, statuses = np.empty((len(values), self._width), np.float32), np.zeros(len(values), np.uint8)
        rows[alone], statuses[alone] = rest.values, rest.statuses
        for header, positions in together.items():
            decoded = self._forms[header].decode([values[i] for i in positions])  # type: ignore[misc]  # none is None
            rows[positions] = decoded
            statuses[positions] = np.where(np.isinf(decoded).any(axis=1), _CORRUPT, 0)
        return Rows(rows, statuses, complete=not statuses.any())

    def _decode_other(self, value: bytes) -> Matrix:
        """Say what a vector is whose header, or length, is none of ours."""
        if len(value) < HEADER.size:
            raise CorruptVector(f"{len(value)} bytes are fewer than a header")
        magic, version, _, fingerprint = HEADER.unpack_from(value)
        form = self._forms.get(value[: HEADER.size])
        if form is not None and version == RECORD_VERSION:
            raise CorruptVector(f"{len(value)} bytes are not the {form.record.itemsize} of a record")
        if self._plain is not None and version != RECORD_VERSION:
            return self._plain.decode_one(value)
        if magic == MAGIC and fingerprint != self._fingerprint:
            raise WrongFingerprint(fingerprint, self._fingerprint)
        raise CorruptVector(f"unknown header {value[: HEADER.size].hex()}")


def _forms(group: FeatureGroup, fingerprint: int) -> list[_Form]:
    """Return what vectors of one schema may be; the form that is written first."""
    if not group.is_plain:
        layout = RecordLayout(group)
        return [_Form(make_record_header(fingerprint), layout.dtype, layout.decode)]
    dtypes: tuple[Dtype, ...] = ("float32", "float16")
    records = [
        np.dtype([("header", "<u8"), ("values", VALUE_TYPES[DTYPE_CODES[one]], (group.width,))]) for one in dtypes
    ]
    headers = [make_header(fingerprint, one) for one in dtypes]
    return [_Form(header, record, _plain_rows) for header, record in zip(headers, records, strict=True)]


def _plain_rows(records: npt.NDArray[Any]) -> Matrix:
    rows: Matrix = records["values"].astype(np.float32, copy=False)
    return rows


def _lifted(form: _Form, older: FeatureGroup, now: FeatureGroup) -> _Form:
    """Return what reads older vectors as rows of today: by name, with the default of what they lack."""
    both = [name for name in now.names if name in older.slices]
    indices = np.arange(max(older.width, now.width))
    there = np.concatenate([indices[:0], *(indices[now.slices[name]] for name in both)])
    here = np.concatenate([indices[:0], *(indices[older.slices[name]] for name in both)])

    def lift(records: npt.NDArray[Any]) -> Matrix:
        rows = np.tile(now.defaults, (len(records), 1))
        rows[:, there] = form.rows(records)[:, here]
        return rows

    return _Form(form.header, form.record, lift)
