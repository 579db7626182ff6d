"""Feast's rows: keys and hashes as Feast's online store for Redis writes them, by an own reading of its protocol."""

from __future__ import annotations

import math
import struct
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils import murmurhash3_32

from tests.hostile.differential.slots import Slot

TTL_S = 3600
PARTS = {
    "user": ("id",),
    "product": ("id",),
    "live": ("userId",),
    "stock": ("productId",),
    "seller": ("product.seller",),
    "shop": ("context.store", "user.town"),
    "affinity": ("userId", "product.brand"),
}
"""What the join keys of each group's entities are; the last may have a colon in it."""
NAMES = {"context.store": "store", "user.town": "a_town", "userId": "user_id", "product.brand": "brand"}
_NUMBERS = {"string": 2, "int32": 3, "int64": 4}
_SCALARS = {"string": 2, "int32": 3, "int64": 4, "double": 5, "float": 6, "bool": 7, "time": 8}
"""Fields of `feast.types.Value`; a list of them is ten further on."""


@dataclass(frozen=True)
class View:
    """A feature view.

    Attributes:
        group: Whose rows it has; also its name.
        types: Its join keys, as the group's key spells them, with their types.
        has_ttl: Whether rows expire.
    """

    group: str
    types: dict[str, str]
    has_ttl: bool

    def said(self) -> dict[str, Any]:
        """Return what the schema says of it, in place of a template of keys."""
        feast: dict[str, Any] = {"project": "shop", "view": f"{self.group}_view"}
        parts, ttl = PARTS[self.group], {"ttl_s": TTL_S} if self.has_ttl else {}
        if len(parts) > 1:
            key = ",".join(f"{name}={{{part}}}" for name, part in zip(self.types, parts, strict=True))
            return {"format": "feast", "feast": feast | ttl | {"join_keys": self.types}, "key": key}
        ((name, kind),) = self.types.items()
        said = {"format": "feast", "feast": feast | ttl | {"join_key": name, "type": kind}}
        return said if self.group in ("user", "product") else said | {"key": f"{{{parts[0]}}}"}

    def key(self, entity: str) -> bytes | None:
        """Return the key of an entity; None where its id is no value of the join key's type."""
        texts = entity.split(":", 1) if len(self.types) > 1 else [entity]
        pairs = sorted(zip(self.types.items(), texts, strict=True))
        head = b"".join(_prefixed("string", name.encode()) for (name, _), _ in pairs)
        packed = [_join_value(kind, text) for (_, kind), text in pairs]
        if None in packed:
            return None
        return struct.pack("<I", len(pairs)) + head + b"".join(filter(None, packed)) + b"shop"

    def field(self, feature: str) -> bytes:
        hashed = murmurhash3_32(f"{self.group}_view:{feature}", seed=0, positive=True)
        return struct.pack("<I", int(hashed))

    def stamp(self, random: np.random.Generator) -> tuple[dict[bytes, bytes], bool]:
        """Return the field of the event timestamp, if any, and whether the row has expired."""
        if random.random() < 0.1:
            return {}, False
        is_old = random.random() < 0.2
        seconds = int(time.time()) - (3 * TTL_S if is_old else TTL_S // 3)
        stamp = b"\x08" + _varint(seconds) + (b"\x10" + _varint(5) if random.random() < 0.5 else b"")
        return {f"_ts:{self.group}_view".encode(): stamp}, is_old and self.has_ttl


def draw_view(random: np.random.Generator, group: str, slots: dict[str, list[Slot]]) -> View:
    """Return a feature view for a group's rows."""
    parts = PARTS[group]
    if len(parts) > 1:
        return View(group, {NAMES[part]: "string" for part in parts}, bool(random.random() < 0.5))
    kind = "string"
    if group in ("product", "stock"):
        kind = str(random.choice(["string", "int32", "int64"]))
    if group == "seller":
        (seller,) = [slot for slot in slots["product"] if slot.name == "seller"]
        kind = "string" if seller.type == "category" else str(random.choice(["string", seller.type]))
    return View(group, {f"{group}_id": kind}, bool(random.random() < 0.5))


def draw_field(random: np.random.Generator, slot: Slot, value: Any) -> bytes:
    """Return a value as Feast writes it, in one of the kinds that hold it."""
    if value is None:
        return b"" if random.random() < 0.7 else b"\x98\x01\x00"
    elements = value if isinstance(value, list) else [value]
    kind = str(random.choice(_kinds(slot, elements)))
    if not isinstance(value, list):
        return _tag(_SCALARS[kind], kind) + _scalar(kind, value)
    if kind == "string":
        items = b"".join(b"\x0a" + _scalar(kind, one) for one in elements)
    else:
        numbers = b"".join(_scalar(kind, one) for one in elements)
        items = b"\x0a" + _varint(len(numbers)) + numbers if numbers else b""
    return _varint((_SCALARS[kind] + 10) << 3 | 2) + _varint(len(items)) + items


def _kinds(slot: Slot, elements: list[Any]) -> list[str]:
    if slot.type == "text":
        return ["string"]
    if slot.type == "category":
        digits = all(str(one).isdigit() for one in elements)
        return ["string", *(["int32", "int64"] if digits and elements else [])]
    if slot.type == "bool":
        return ["bool", "int32", "int64"]
    if slot.type in ("int32", "int64", "product"):
        small = all(abs(one) < 1 << 31 for one in elements)
        return ["int64", *(["time"] if slot.type == "int64" else []), *(["int32"] if small else [])]
    whole = all(float(one).is_integer() and math.copysign(1, one) > 0 for one in elements)
    return ["float", "double", *(["int64", "int32"] if whole else [])]


def _scalar(kind: str, value: Any) -> bytes:
    if kind == "string":
        return _varint(len(str(value).encode())) + str(value).encode()
    if kind in ("float", "double"):
        return struct.pack("<f" if kind == "float" else "<d", value)
    return _varint(int(value) & (1 << 64) - 1)


def _tag(field: int, kind: str) -> bytes:
    wire = {"string": 2, "float": 5, "double": 1}.get(kind, 0)
    return _varint(field << 3 | wire)


def _varint(number: int) -> bytes:
    made = bytearray()
    while number > 0x7F:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*made, number])


def _prefixed(kind: str, value: bytes) -> bytes:
    return struct.pack("<II", _NUMBERS[kind], len(value)) + value


def _join_value(kind: str, text: str) -> bytes | None:
    if kind == "string":
        return _prefixed(kind, text.encode())
    try:
        return _prefixed(kind, struct.pack("<i" if kind == "int32" else "<q", int(text)))
    except (ValueError, struct.error):
        return None
