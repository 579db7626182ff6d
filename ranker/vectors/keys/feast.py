"""Feast's keys: an entity's key and its fields in Redis, as Feast's online store writes them (serialization 3). Pure.

Owns those bytes; `stored.feast_values` reads what is in the fields. Knows nothing of schemas.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

_WORD = struct.Struct("<I")
_STRING = 2
"""Number of the type `string` among Feast's value types."""
_WHOLE: dict[str, tuple[int, struct.Struct]] = {"int32": (3, struct.Struct("<i")), "int64": (4, struct.Struct("<q"))}
_MASK = 0xFFFFFFFF

Name = Annotated[str, Field(min_length=1, max_length=100, pattern="^[ -~]+$")]
JoinKey = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[\x21-\x2b\x2d-\x3c\x3e-\x7a\x7c\x7e]+$")]
"""Name of one of several join keys, which a group's key spells `NAME={value}`: no space, no comma, no `=`, no brace."""
JoinType = Literal["string", "int32", "int64"]


class FeastView(BaseModel):
    """A feature view in Feast's online store, and the entity, or the entities, that it is of."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    project: Name
    view: Name
    """Feature view that has the features, each under its name there."""
    join_key: Name | None = None
    """Join key of the view's one entity."""
    type: JoinType | None = None
    """Value type of the one join key; `string` when None."""
    join_keys: Annotated[dict[JoinKey, JoinType], Field(min_length=2, max_length=16)] | None = None
    """Several join keys, each with its value type, in place of `join_key`."""
    ttl_s: Annotated[FiniteFloat, Field(gt=0)] | None = None
    """Seconds after its event timestamp that a row is used; for ever when None, as Feast itself does."""

    @model_validator(mode="after")
    def _joins_one_way(self) -> Self:
        if (self.join_key is None) == (self.join_keys is None):
            raise ValueError("name either `join_key`, or several as `join_keys: {NAME: string|int32|int64, …}`")
        if self.join_keys is not None and self.type is not None:
            raise ValueError("each of `join_keys` has its own type: leave `type` out")
        return self

    @cached_property
    def types(self) -> Mapping[str, JoinType]:
        """The join keys, sorted by their names as Feast sorts them, with their types."""
        if self.join_keys is not None:
            return dict(sorted(self.join_keys.items()))
        return {self.join_key or "": self.type or "string"}

    @cached_property
    def _head(self) -> bytes:
        """What stands before the values: the number of join keys, and their names."""
        names = [_WORD.pack(_STRING) + _WORD.pack(len(name)) + name.encode() for name in self.types]
        return b"".join([_WORD.pack(len(names)), *names])

    @cached_property
    def key_parts(self) -> tuple[str, str]:
        """The text before the first value in a key, and behind the last; ASCII, with control characters."""
        kind = next(iter(self.types.values()))
        first = _WORD.pack(_STRING) if kind == "string" else _value_head(kind)
        return (self._head + first).decode(), self.project

    def key(self, values: Sequence[str]) -> bytes:
        """Return an entity's key, from the text of each of `types`; one that nobody writes where one is no value."""
        packed = [_pack(text, kind) for text, kind in zip(values, self.types.values(), strict=True)]
        if None in packed:
            return b"no value of " + self._head + "\0".join(values).encode(errors="surrogatepass")
        return self._head + b"".join(packed) + self.project.encode()  # type: ignore[arg-type]  # without None

    def values(self, key: bytes) -> tuple[str, ...] | None:
        """Return the text of each of `types` in a key; None for a key of something else."""
        after = self.project.encode()
        if not (key.startswith(self._head) and key.endswith(after)):
            return None
        held = key[len(self._head) : len(key) - len(after)]
        found: list[str] = []
        for kind in self.types.values():
            head = len(_value_head(kind))
            if len(held) < head or held[: _WORD.size] != _value_head(kind)[: _WORD.size]:
                return None
            (size,) = _WORD.unpack_from(held, _WORD.size)
            text = _unpack(held[head : head + size], size, kind)
            if text is None:
                return None
            found.append(text)
            held = held[head + size :]
        return None if held else tuple(found)

    def fields(self, features: Sequence[str]) -> tuple[bytes, ...]:
        """Return the fields that have features; with a TTL, behind them that of the event timestamp."""
        hashed = [_WORD.pack(murmur3(f"{self.view}:{feature}".encode())) for feature in features]
        return tuple(hashed) if self.ttl_s is None else (*hashed, f"_ts:{self.view}".encode())


def _value_head(kind: JoinType) -> bytes:
    """Return what stands before a value: its type, and its length, which is another for each string."""
    if kind == "string":
        return _WORD.pack(_STRING) + _WORD.pack(0)
    number, packed = _WHOLE[kind]
    return _WORD.pack(number) + _WORD.pack(packed.size)


def _pack(text: str, kind: JoinType) -> bytes | None:
    """Return a value with what stands before it; None for a text that is none of its type."""
    if kind == "string":
        spelled = text.encode(errors="surrogatepass")
        return _WORD.pack(_STRING) + _WORD.pack(len(spelled)) + spelled
    if not re.fullmatch(r"0|-?[1-9]\d{0,18}", text, re.ASCII):
        return None
    try:
        return _value_head(kind) + _WHOLE[kind][1].pack(int(text))
    except struct.error:  # beyond the type
        return None


def _unpack(held: bytes, size: int, kind: JoinType) -> str | None:
    if len(held) < size:
        return None
    if kind != "string":
        packed = _WHOLE[kind][1]
        return str(packed.unpack(held)[0]) if size == packed.size else None
    try:
        return held.decode()
    except UnicodeDecodeError:  # no request can ask for it
        return None


def murmur3(data: bytes) -> int:
    """Return MurmurHash3_x86_32 (Appleby, 2011) with seed 0."""
    state = 0
    whole = len(data) // 4 * 4
    for (block,) in struct.iter_unpack("<I", data[:whole]):
        state ^= _scrambled(block)
        state = (_rotated(state, 13) * 5 + 0xE6546B64) & _MASK
    if tail := data[whole:]:
        state ^= _scrambled(int.from_bytes(tail, "little"))
    state ^= len(data)
    state = ((state ^ state >> 16) * 0x85EBCA6B) & _MASK
    state = ((state ^ state >> 13) * 0xC2B2AE35) & _MASK
    return state ^ state >> 16


def _scrambled(block: int) -> int:
    return (_rotated((block * 0xCC9E2D51) & _MASK, 15) * 0x1B873593) & _MASK


def _rotated(word: int, bits: int) -> int:
    return (word << bits | word >> (32 - bits)) & _MASK
