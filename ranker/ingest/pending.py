"""Write buffer: rows that a writer has taken and not yet written, encoded, the last vector of each key.

Owns what waits and in which batches it goes; what may be stored, `validation` says. Knows nothing of connections.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from ranker.ingest.frames import Table, ids_of
from ranker.ingest.key_ids import id_check
from ranker.ingest.validation import check_rows, refuse_foreign_format
from ranker.vectors.group import EntitySchema
from ranker.vectors.rows import Key, Matrix
from ranker.vectors.schema import FeatureSchema
from ranker.vectors.stored.encoding import Encoder, make_keys

Vectors = Mapping[Key, bytes]


class Pending:
    """Encoded rows that are not written yet: the last vector of each key, in the order the keys came."""

    def __init__(self, schema: FeatureSchema, batch_rows: int, *, allow_rounding: bool = False) -> None:
        self._schema = schema
        self._allow_rounding = allow_rounding
        self._batch_rows = batch_rows
        self._vectors: dict[Key, bytes] = {}

    def encode(self, entity: EntitySchema, ids: Sequence[str], matrix: Table) -> Iterator[Vectors]:
        """Check all rows, then yield them encoded, a batch at a time."""
        refuse_foreign_format(entity)
        ids = ids_of(ids, matrix)
        find_id_problem = id_check(self._schema, entity)
        rows = check_rows(ids, matrix, entity, allow_rounding=self._allow_rounding, find_id_problem=find_id_problem)
        yield from self.encode_rows(entity, ids, rows)

    def encode_rows(self, entity: EntitySchema, ids: Sequence[str], rows: Matrix) -> Iterator[Vectors]:
        """Yield rows of columns, shape (n, W), which have been checked, encoded, a batch at a time."""
        encoder = Encoder(entity, self._schema.fingerprint_of(entity))
        for start in range(0, len(ids), self._batch_rows):
            end = start + self._batch_rows
            encoded = encoder.encode(rows[start:end])
            yield dict(zip(make_keys(entity, ids[start:end]), encoded, strict=True))

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
