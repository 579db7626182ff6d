"""Feast's keys: an entity's key and its fields in Redis, as Feast's online store writes them (serialization 3). Pure.

Owns those bytes; `stored.feast_values` reads what is in the fields. Knows nothing of schemas.
"""

from __future__ import annotations

import re
import struct
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

_WORD = struct.Struct("<I")
_STRING = 2
"""Number of the type `string` among Feast's value types."""
_WHOLE: dict[str, tuple[int, struct.Struct]] = {"int32": (3, struct.Struct("<i")), "int64": (4, struct.Struct("<q"))}
_MASK = 0xFFFFFFFF

Name = Annotated[str, Field(min_length=1, max_length=100, pattern="^[ -~]+$")]


class FeastView(BaseModel):
    """A feature view in Feast's online store, and the entity that it is of."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    project: Name
    view: Name
    """Feature view that has the features, each under its name there."""
    join_key: Name
    """Join key of the view's one entity."""
    type: Literal["string", "int32", "int64"] = "string"
    """Value type of the join key."""

    @property
    def key_parts(self) -> tuple[str, str]:
        """The text before the value in a key, and behind it; ASCII, with control characters."""
        name = self.join_key.encode()
        kind, size = (_STRING, b"") if self.type == "string" else (_WHOLE[self.type][0], self._size)
        head = (_WORD.pack(1), _WORD.pack(_STRING), _WORD.pack(len(name)), name, _WORD.pack(kind), size)
        return b"".join(head).decode(), self.project

    @property
    def _size(self) -> bytes:
        return _WORD.pack(_WHOLE[self.type][1].size)

    def key(self, value: str) -> bytes:
        """Return the key of an entity; of an id that is no value of the join key, one that nobody writes."""
        before, after = (part.encode() for part in self.key_parts)
        if self.type == "string":
            text = value.encode(errors="surrogatepass")
            return before + _WORD.pack(len(text)) + text + after
        if re.fullmatch(r"0|-?[1-9]\d{0,18}", value, re.ASCII):
            try:
                return before + _WHOLE[self.type][1].pack(int(value)) + after
            except struct.error:  # beyond the type
                pass
        return b"no value of " + before + value.encode(errors="surrogatepass") + after

    def value(self, key: bytes) -> str | None:
        """Return the id in a key; None for a key of something else."""
        before, after = (part.encode() for part in self.key_parts)
        if len(key) < len(before) + len(after) or not (key.startswith(before) and key.endswith(after)):
            return None
        held = key[len(before) : len(key) - len(after)]
        if self.type != "string":
            packed = _WHOLE[self.type][1]
            return str(packed.unpack(held)[0]) if len(held) == packed.size else None
        if len(held) < _WORD.size or _WORD.unpack_from(held)[0] != len(held) - _WORD.size:
            return None
        try:
            return held[_WORD.size :].decode()
        except UnicodeDecodeError:  # no request can ask for it
            return None

    def field(self, feature: str) -> bytes:
        """Return the field of an entity's hash that has a feature of the view."""
        return _WORD.pack(murmur3(f"{self.view}:{feature}".encode()))


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
