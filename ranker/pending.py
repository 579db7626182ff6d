"""Rows that a writer has taken and not yet written: checked, encoded, the last vector of each key.

Owns what may be stored (width, finite numbers, usable ids). Knows nothing of connections.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

import numpy as np
import numpy.typing as npt

from ranker.encoding import Key, Matrix, encode, keys
from ranker.errors import ForeignFormat, InvalidRows, WrongMatrix
from ranker.schema import EntitySchema, FeatureSchema

MAX_ID_LENGTH = 256
"""What a request may name."""

Vectors = Mapping[Key, bytes]


class Pending:
    """Encoded rows that are not written yet: the last vector of each key, in the order the keys came."""

    def __init__(self, schema: FeatureSchema, batch_rows: int) -> None:
        self._schema = schema
        self._batch_rows = batch_rows
        self._vectors: dict[Key, bytes] = {}

    def encode(self, entity: EntitySchema, ids: Sequence[str], matrix: npt.ArrayLike) -> Iterator[Vectors]:
        """Check all rows, then yield them encoded, a batch at a time."""
        refuse_foreign_format(entity)
        rows = check_rows(ids, matrix, entity.width)
        for start in range(0, len(ids), self._batch_rows):
            end = start + self._batch_rows
            encoded = encode(rows[start:end], self._schema.fingerprint)
            yield dict(zip(keys(entity, ids[start:end]), encoded, strict=True))

    @property
    def is_full(self) -> bool:
        return len(self._vectors) >= self._batch_rows

    def add(self, vectors: Vectors) -> None:
        self._vectors.update(vectors)

    def batch(self) -> Vectors:
        """Return what is to be sent next."""
        return dict(islice(self._vectors.items(), self._batch_rows))

    def done(self, batch: Vectors) -> None:
        """Forget what was sent, unless a newer vector has come in meanwhile."""
        for key, value in batch.items():
            if self._vectors.get(key) is value:
                del self._vectors[key]


def refuse_foreign_format(entity: EntitySchema) -> None:
    """Make sure that version-1 vectors are what the service would read.

    Raises:
        ForeignFormat: the schema declares another format.
    """
    if entity.format != "ranker":
        raise ForeignFormat(entity.key, entity.format)


def check_rows(ids: Sequence[str], matrix: npt.ArrayLike, width: int) -> Matrix:
    """Return the matrix as float32, shape (n, width), when every row can be stored.

    Raises:
        InvalidRows: an id is no string of 1 to 256 characters, or a number is not finite in float32.
        WrongMatrix: it has another shape, or holds something else than numbers.
    """
    given = np.asarray(matrix)
    if given.shape != (len(ids), width) or given.dtype.kind not in "fiub":
        raise WrongMatrix(given.dtype, given.shape, len(ids), width)
    with np.errstate(over="ignore"):  # what is beyond float32 becomes infinite, and is found below
        rows: Matrix = np.ascontiguousarray(given, dtype=np.float32)
    finite = np.isfinite(rows)
    problems = [(i, reason) for i, identifier in enumerate(ids) if (reason := id_problem(identifier))]
    if not finite.all():
        problems += [(int(i), "a number is not finite in float32") for i in np.flatnonzero(~finite.all(axis=1))]
    if problems:
        raise InvalidRows(sorted(problems))
    return rows


def id_problem(identifier: object) -> str | None:
    """Say why no request could name this id; None when one could."""
    if not isinstance(identifier, str):
        return "the id is no string"
    if not identifier:
        return "the id is empty"
    if len(identifier) > MAX_ID_LENGTH:
        return f"the id is longer than {MAX_ID_LENGTH} characters"
    if not identifier.isascii():
        try:
            identifier.encode()
        except UnicodeEncodeError:  # half of a surrogate pair
            return "the id is no valid Unicode"
    return None
