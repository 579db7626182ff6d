"""Forms of a stored vector: tells them apart, and converts one to another. Pure.

The service reads all of them; binary version 1 is the one it reads fast.
"""

from __future__ import annotations

import json
from typing import Any, Literal

import numpy as np
import orjson

from ranker.errors import CorruptVector, RoundedNumber
from ranker.ingest.validation import refuse_foreign_format
from ranker.upkeep.scan import belongs_elsewhere
from ranker.vectors.feature.shown import show
from ranker.vectors.group import EntitySchema
from ranker.vectors.rounding import EXACT, find_changed_in
from ranker.vectors.rows import Matrix
from ranker.vectors.schema import FeatureSchema
from ranker.vectors.stored.decoding import JSON_SPACE
from ranker.vectors.stored.encoding import DTYPE_CODES, HEADER, MAGIC, Encoder
from ranker.vectors.stored.formats import decoder_for

Form = Literal["binary", "float16", "json", "json-in-json"]


def form_in(entity: EntitySchema, value: Any) -> str | None:
    """Tell a stored value's form: the format that the schema declares, or what the value itself says."""
    return form_of(value) if entity.format == "ranker" else entity.format


def form_of(value: bytes) -> Form | None:
    """Tell a stored value's form by its first bytes; None for something else. Whether it is sound, decoding tells."""
    first = value.lstrip(JSON_SPACE)[:1]
    if first == b"[":
        return "json"
    if first == b'"':
        return "json-in-json"
    if value[: len(MAGIC)] == MAGIC and len(value) >= HEADER.size:
        return "float16" if value[3] == DTYPE_CODES["float16"] else "binary"
    return None


class Converter:
    """Rewrites stored vectors in another form, and proves that they still say the same.

    Args:
        schema: Whose fingerprint binary vectors carry.
        entity: Which of its vectors.
        to: The form wanted.
        allow_rounding: Whether a whole number that is not the same in float32 may be lost.

    Raises:
        ForeignFormat: the schema says that the entity is stored in another format.
    """

    def __init__(self, schema: FeatureSchema, entity: EntitySchema, to: Form, *, allow_rounding: bool = False) -> None:
        refuse_foreign_format(entity)
        (name,) = [name for name, part in schema.entities.items() if part is entity]
        older, fingerprint = schema.older_vectors(name), schema.fingerprint_of(entity)
        self.decoder = decoder_for(entity, fingerprint, older)
        self._older = {one.fingerprint for one in older}
        self._encoder = Encoder(entity, fingerprint)
        self._to = to
        self._schema = schema
        self._entity = entity
        self._allow_rounding = allow_rounding

    def belongs(self, key: bytes) -> bool:
        """Say whether a key may be of the entity, whatever pattern named it: by its template it is of no other one."""
        if self._entity.id_in(key) is None:
            return all(other.id_in(key) is None for other in self._schema.entities.values())
        return not belongs_elsewhere(key, self._entity, self._schema)

    def needs(self, value: bytes) -> bool:
        """Return whether a value has another form than the one wanted, or is of an older schema.

        Both binary ones will do for each other.
        """
        form = form_of(value)
        if form in ("binary", "float16") and HEADER.unpack_from(value)[3] in self._older:
            return True
        return form != self._to and not (form == "float16" and self._to == "binary")

    def convert(self, value: bytes) -> bytes:
        """Return a value in the form wanted.

        Raises:
            FeatureError: it is no vector of this schema.
            CorruptVector: what would be written is not read back as the same float32 numbers, bit for bit.
            RoundedNumber: the value has a whole number that is not the same in float32, and would be gone.
        """
        row = self.decoder.decode_one(value)
        if not self._allow_rounding and form_of(value) in ("json", "json-in-json"):
            self._refuse_rounding(value, row)
        if self._to == "binary":
            (converted,) = self._encoder.encode(row[np.newaxis])
        else:
            converted = self._text(row)
        if self.decoder.decode_one(converted).tobytes() != row.tobytes():
            raise CorruptVector("its numbers would not be the same afterwards")
        return converted

    def _refuse_rounding(self, value: bytes, row: Matrix) -> None:
        if not (np.abs(row) >= EXACT).any():
            return
        parsed = json.loads(value)
        numbers = json.loads(parsed) if isinstance(parsed, str) else parsed
        for feature, number in zip(self._entity.features, numbers, strict=True):
            if feature.kind.stored.kind == "f" and find_changed_in(number) is not None:
                raise RoundedNumber(feature.name)

    def _text(self, row: Matrix) -> bytes:
        if not self._entity.is_plain:
            features, slices = self._entity.features, self._entity.slices
            text = orjson.dumps([show(feature, row[slices[feature.name]]) for feature in features])
        elif np.isfinite(row).all():
            # The shortest text that gives each float32 back.
            text = orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY)
        else:  # only the standard library writes NaN
            text = json.dumps(row.tolist()).encode()
        return orjson.dumps(text.decode()) if self._to == "json-in-json" else text
