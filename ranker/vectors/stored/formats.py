"""Foreign formats, as others store entities: raw vectors, MessagePack lists, JSON objects, hashes. Read only.

The schema declares the format, since such bytes do not tell theirs; `encoding` reads Ranker's own. Pure: no I/O, no
policy about what is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgpack
import numpy as np
import orjson

from ranker.errors import CorruptVector, WrongWidth
from ranker.vectors.feature.bounds import Bounds
from ranker.vectors.group import EntitySchema
from ranker.vectors.older import OlderVectors
from ranker.vectors.rows import Matrix, Rows, RowStatus
from ranker.vectors.stored.decoding import (
    RowDecoder,
    check_length,
    decode_each,
    finite_or_nan,
    loads_lenient,
    to_row,
    without_infinities,
)
from ranker.vectors.stored.feast_expiry import ExpiringDecoder
from ranker.vectors.stored.feast_values import FeastDecoder
from ranker.vectors.stored.parsing import RowParser
from ranker.vectors.stored.typed_decoding import TypedDecoder

HashValues = Sequence[bytes | None]
"""The values of a hash's fields in the schema's order: None where it lacks one; empty when the key holds no hash."""


class Decoder(Protocol):
    """Decodes what a store returned for entities of one kind."""

    def decode(self, values: Sequence[Any]) -> Rows:
        """Decode n stored values, None where there is no such key; mark in `statuses` what cannot be, raise nothing."""

    def decode_one(self, value: Any) -> Matrix:
        """Decode one stored value.

        Returns:
            Shape (W,), float32.

        Raises:
            FeatureError: it is not a vector of this schema.
        """


def decoder_for(entity: EntitySchema, fingerprint: int, older: Sequence[OlderVectors] = ()) -> Decoder:
    """Return what reads the entity's format; a fingerprint is in Ranker's own vectors only, as are `older` ones."""
    decoder = _decoder_for(entity, fingerprint, older)
    return BoundedDecoder(decoder, entity.bounds) if entity.bounds else decoder


def _decoder_for(entity: EntitySchema, fingerprint: int, older: Sequence[OlderVectors]) -> Decoder:
    numbers = entity.is_plain and all(feature.missing is None for feature in entity.features)
    if entity.format == "ranker":
        if numbers and not older:
            return RowDecoder(entity.width, fingerprint)
        return TypedDecoder(entity, fingerprint, older)
    if entity.format == "msgpack":
        return MsgpackDecoder(entity.width) if numbers else MsgpackDecoder(entity.width, RowParser(entity))
    if entity.format == "json":
        return ObjectDecoder(entity)
    if entity.format == "feast":
        ttl_s = None if entity.feast is None else entity.feast.ttl_s
        return FeastDecoder(entity) if ttl_s is None else ExpiringDecoder(FeastDecoder(entity), ttl_s)
    if entity.format == "hash":
        return HashDecoder(entity) if entity.is_plain else TypedHashDecoder(entity)
    return RawDecoder(entity.width, np.dtype("<f4" if entity.format == "float32" else "<f8"))


class BoundedDecoder:
    """Marks rows as corrupt whose values are beyond their bounds, one pass over all of them."""

    def __init__(self, decoder: Decoder, bounds: Bounds) -> None:
        self._decoder = decoder
        self._bounds = bounds

    def decode(self, values: Sequence[Any]) -> Rows:
        rows = self._decoder.decode(values)
        beyond = self._bounds.find_beyond(rows.values) & (rows.statuses == RowStatus.FOUND)
        if not beyond.any():
            return rows
        return Rows(rows.values, np.where(beyond, np.uint8(RowStatus.CORRUPT), rows.statuses), complete=False)

    def decode_one(self, value: Any) -> Matrix:
        row = self._decoder.decode_one(value)
        if self._bounds.find_beyond(row[np.newaxis])[0]:
            name, problem = self._bounds.describe(row)
            raise CorruptVector(f"of {name}, {problem}")
        return row


class RawDecoder:
    """Decodes W little-endian floats without a header; their number is all that can be checked."""

    def __init__(self, width: int, dtype: np.dtype[Any]) -> None:
        self._width = width
        self._dtype = dtype
        self._size = width * dtype.itemsize

    def decode(self, values: Sequence[bytes | None]) -> Rows:
        try:
            whole = set(map(len, values)) <= {self._size}  # type: ignore[arg-type]  # None raises
        except TypeError:
            whole = False
        if not whole:
            return decode_each(values, self._width, self.decode_one)
        rows = self._floats(b"".join(values))  # type: ignore[arg-type]  # with None among them, they are not whole
        return without_infinities(rows.reshape(-1, self._width), np.zeros(len(values), dtype=np.uint8))

    def decode_one(self, value: bytes) -> Matrix:
        if len(value) % self._dtype.itemsize:
            raise CorruptVector(f"{len(value)} bytes are no whole number of {self._dtype.itemsize}-byte floats")
        if len(value) != self._size:
            raise WrongWidth(len(value) // self._dtype.itemsize, self._width)
        return finite_or_nan(self._floats(value))

    def _floats(self, value: bytes) -> Matrix:
        with np.errstate(over="ignore"):  # a double beyond float32's range becomes infinite, and is found
            return np.frombuffer(value, dtype=self._dtype).astype(np.float32, copy=False)


class MsgpackDecoder:
    """Decodes MessagePack lists (https://github.com/msgpack/msgpack/blob/master/spec.md).

    Args:
        width: W.
        parser: Of lists with a value for each feature; None for W numbers.
    """

    def __init__(self, width: int, parser: RowParser | None = None) -> None:
        self._width = width
        self._parser = parser

    def decode(self, values: Sequence[bytes | None]) -> Rows:
        return decode_each(values, self._width, self.decode_one)

    def decode_one(self, value: bytes) -> Matrix:
        check_length(len(value), self._width)
        try:
            numbers = msgpack.unpackb(value)
        except ValueError as err:  # what all of msgpack's errors are
            raise CorruptVector(f"invalid MessagePack: {str(err)[:100] or type(err).__name__}") from None
        return to_row(numbers, self._width) if self._parser is None else self._parser.parse(numbers)


class ObjectDecoder:
    """Decodes JSON objects, a value for each feature under its name; others are passed by.

    A name that is absent, or null, takes the feature's default if the schema gives it one, and spoils the vector
    otherwise.
    """

    def __init__(self, entity: EntitySchema) -> None:
        self._width, self._names = entity.width, entity.names
        self._parser = RowParser(entity, named=True)

    def decode(self, values: Sequence[bytes | None]) -> Rows:
        return decode_each(values, self._width, self.decode_one)

    def decode_one(self, value: bytes) -> Matrix:
        check_length(len(value), self._width)
        try:
            parsed = orjson.loads(value)
        except orjson.JSONDecodeError:
            parsed = loads_lenient(value)
        if not isinstance(parsed, dict):
            raise CorruptVector("they hold no JSON object")
        found = [parsed.get(name) for name in self._names]
        if found.count(None) == len(found):
            raise CorruptVector("the JSON object has none of the features")
        return self._parser.parse(found)


class TypedHashDecoder:
    """Decodes hashes of typed fields: numbers and texts as text, histories and vectors as JSON arrays.

    A vector may also be its little-endian float32. What an absent field becomes is as in `HashDecoder`.
    """

    def __init__(self, entity: EntitySchema) -> None:
        self._width = entity.width
        self._parser = RowParser(entity, named=True)

    def decode(self, values: Sequence[HashValues]) -> Rows:
        return decode_each(_without_empty(values), self._width, self.decode_one)

    def decode_one(self, value: HashValues) -> Matrix:
        if not value:
            raise CorruptVector("the key holds no hash")
        check_length(sum(map(len, filter(None, value))), self._width)
        return self._parser.parse_fields(value)


class HashDecoder:
    """Decodes the values of a hash's fields, each a number as text.

    A field that the hash lacks takes its default if the schema gives it one, and spoils the vector otherwise. A hash
    without any of the fields counts as a key that does not exist, for Redis answers both alike.
    """

    def __init__(self, entity: EntitySchema) -> None:
        self._features = entity.features
        self._defaults: list[float] = entity.defaults.tolist()

    def decode(self, values: Sequence[HashValues]) -> Rows:
        return decode_each(_without_empty(values), len(self._features), self.decode_one)

    def decode_one(self, value: HashValues) -> Matrix:
        if not value:
            raise CorruptVector("the key holds no hash")
        check_length(sum(map(len, filter(None, value))), len(self._features))
        try:
            # Numbers that JSON allows, parsed together: a tenth of the time that W calls of float take. A field that
            # smuggles in a comma makes the list longer than W; one that is None makes the join fail.
            return to_row(orjson.loads(b"[" + b",".join(value) + b"]"), len(self._features))  # type: ignore[arg-type]
        except (TypeError, orjson.JSONDecodeError, WrongWidth, CorruptVector):
            return to_row([self._number(i, field) for i, field in enumerate(value)], len(self._features))

    def _number(self, position: int, value: bytes | None) -> float:
        feature = self._features[position]
        if value is None:
            if not feature.may_lack:
                raise CorruptVector(f"the hash has no field {feature.name!r}, and the schema no default for it")
            return self._defaults[position]
        try:
            if b"_" in value:  # Python's own notation
                raise ValueError
            return float(value)
        except ValueError:
            raise CorruptVector(f"the field {feature.name!r} holds {value[:40]!r}, which is no number") from None


def _without_empty(values: Sequence[HashValues]) -> list[HashValues | None]:
    """Return None for hashes without any of the fields: keys that do not exist look so."""
    return [None if value and not any(field is not None for field in value) else value for value in values]
