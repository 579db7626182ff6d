"""Row parsing: the values of an entity's features, as JSON, MessagePack or a hash have them, to one row. Pure.

Owns what an absent value becomes there. Plain numbers are parsed together, in one array.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from ranker.errors import CorruptVector, UnusableValue, WrongWidth
from ranker.vectors.feature import Feature
from ranker.vectors.feature.columns import Elements, to_columns
from ranker.vectors.feature.values import default_columns, parse, parse_text
from ranker.vectors.group import FeatureGroup

Row = npt.NDArray[np.float32]
Parse = Callable[[Feature, Any], Row]


class RowParser:
    """Parses rows of one entity.

    Args:
        group: Its features.
        named: Whether a value may be left out, as fields of a hash may: then the default that the schema gives stands
            in. Else it does only where the schema says `missing`.
    """

    def __init__(self, group: FeatureGroup, *, named: bool = False) -> None:
        self._width, self._features = group.width, group.features
        self._columns = [group.slices[feature.name] for feature in group.features]
        plain = [i for i, feature in enumerate(group.features) if feature.is_plain]
        self._plain, self._plain_columns = plain, np.array([self._columns[i].start for i in plain], dtype=np.intp)
        self._typed = [i for i, feature in enumerate(group.features) if not feature.is_plain]
        self._stand_ins = [_stand_in(feature, named) for feature in group.features]

    def parse(self, values: Any) -> Row:
        """Return a row, shape (W,), of a list with one value for each feature, None where it is absent.

        Raises:
            WrongWidth: they are more or fewer than the features.
            CorruptVector: they are no list, or one is none of its feature's type, or absent without a stand-in.
        """
        if not isinstance(values, list):
            raise CorruptVector("they hold no list")
        if len(values) != len(self._features):
            raise WrongWidth(len(values), len(self._features))
        numbers = [values[i] for i in self._plain]
        return self._fill(values, numbers if set(map(type, numbers)) <= {float, int} else None, _parse_value)

    def parse_fields(self, values: Sequence[bytes | None]) -> Row:
        """Return a row, shape (W,), of bytes for each feature: text, JSON arrays, or a vector's float32.

        Raises:
            CorruptVector: one is none of its feature's type, or absent without a stand-in.
        """
        try:
            numbers = orjson.loads(b"[" + b",".join([values[i] for i in self._plain]) + b"]")  # type: ignore[misc]  # None raises
        except (TypeError, orjson.JSONDecodeError):  # one is absent, or written as JSON does not
            numbers = None
        if numbers is not None and not (len(numbers) == len(self._plain) and set(map(type, numbers)) <= {float, int}):
            numbers = None
        return self._fill(values, numbers, _parse_field)

    def _fill(self, values: Sequence[Any], numbers: list[float] | None, parse_one: Parse) -> Row:
        row = np.empty(self._width, dtype=np.float32)
        rest: Sequence[int] = self._typed
        if numbers is None:
            rest = range(len(values))
        else:
            with np.errstate(over="ignore"):  # a double beyond float32's range becomes infinite, and is found
                try:
                    row[self._plain_columns] = np.array(numbers, dtype=np.float64)
                except OverflowError:
                    raise CorruptVector("a number is beyond the range of a double") from None
        for i in rest:
            row[self._columns[i]] = self._one(i, values[i], parse_one)
        if np.isinf(row).any():
            raise CorruptVector("a value is infinite, or beyond its type")
        return row

    def _one(self, i: int, value: Any, parse_one: Parse) -> Row:
        if value is not None:
            try:
                return parse_one(self._features[i], value)
            except UnusableValue as err:
                raise CorruptVector(f"of {self._features[i].name}, {err.reason}") from None
        stand_in = self._stand_ins[i]
        if stand_in is None:
            name = self._features[i].name
            raise CorruptVector(f"there is no value of {name!r}, and the schema says of none that stands in")
        return stand_in


def _stand_in(feature: Feature, named: bool) -> Row | None:
    if feature.missing in ("default", "nan") or (named and feature.may_lack):
        return default_columns(feature)
    return None


def _parse_value(feature: Feature, value: Any) -> Row:
    return _parse_raw(feature, value) if isinstance(value, bytes) else parse(feature, value)


def _parse_field(feature: Feature, value: bytes) -> Row:
    """Return the columns of a hash's field: what its text says, or a vector's float32 where it is as long as those."""
    if feature.shape and len(value) == 4 * feature.size and not feature.is_sequence:
        try:
            return parse_text(feature, value.decode())
        except (UnicodeDecodeError, UnusableValue):
            return _parse_raw(feature, value)
    try:
        return parse_text(feature, value.decode())
    except UnicodeDecodeError:
        raise UnusableValue(feature.name, f"{value[:40]!r} is no text in UTF-8") from None


def _parse_raw(feature: Feature, value: bytes) -> Row:
    """Return the columns of a vector's bytes, little-endian float32."""
    if feature.is_sequence or feature.kind.stored.kind != "f" or len(value) != 4 * feature.size:
        raise UnusableValue(feature.name, f"{len(value)} bytes are not the float32 of its {feature.size} values")
    row: Row = to_columns(feature, Elements(np.frombuffer(value, dtype="<f4")[np.newaxis]))[0]
    return row
