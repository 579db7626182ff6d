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
from ranker.vectors.decoding import JSON_SPACE, RowDecoder
from ranker.vectors.encoding import DTYPE_CODES, HEADER, MAGIC, encode
from ranker.vectors.group import EntitySchema
from ranker.vectors.rounding import EXACT, is_changed
from ranker.vectors.rows import Matrix
from ranker.vectors.schema import FeatureSchema

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
        self._fingerprint = schema.fingerprint
        self._decoder = RowDecoder(entity.width, schema.fingerprint)
        self._to = to
        self._names = entity.names
        self._allow_rounding = allow_rounding

    def needs(self, value: bytes) -> bool:
        """Return whether a value has another form than the one wanted. Both binary ones will do for each other."""
        form = form_of(value)
        return form != self._to and not (form == "float16" and self._to == "binary")

    def convert(self, value: bytes) -> bytes:
        """Return a value in the form wanted.

        Raises:
            FeatureError: it is no vector of this schema.
            CorruptVector: what would be written is not read back as the same float32 numbers, bit for bit.
            RoundedNumber: the value has a whole number that is not the same in float32, and would be gone.
        """
        row = self._decoder.decode_one(value)
        if not self._allow_rounding and form_of(value) in ("json", "json-in-json"):
            self._refuse_rounding(value, row)
        if self._to == "binary":
            (converted,) = encode(row[np.newaxis], self._fingerprint)
        else:
            converted = self._text(row)
        if self._decoder.decode_one(converted).tobytes() != row.tobytes():
            raise CorruptVector("its numbers would not be the same afterwards")
        return converted

    def _refuse_rounding(self, value: bytes, row: Matrix) -> None:
        (large,) = (np.abs(row) >= EXACT).nonzero()
        if len(large):
            parsed = json.loads(value)
            numbers = json.loads(parsed) if isinstance(parsed, str) else parsed
            for i in large.tolist():
                if is_changed(numbers[i] if type(numbers[i]) is int else str(numbers[i])):
                    raise RoundedNumber(self._names[i])

    def _text(self, row: Matrix) -> bytes:
        if np.isfinite(row).all():
            # The shortest text that gives each float32 back.
            text = orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY)
        else:  # only the standard library writes NaN
            text = json.dumps(row.tolist()).encode()
        return orjson.dumps(text.decode()) if self._to == "json-in-json" else text
