"""Slots: one feature each, as a schema says it, with the values that are written and the numbers a graph is to get.

An own reading of the reference of `schema.yaml`, for a test: it shares no code with the package.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

TEXTS = ("a", "b", "c", "7")
"""The vocabulary of every category; the last counts as digits, too."""
UNKNOWN = "never heard of"
CODES: dict[str, Any] = {"categories": {"a": 0.5, "b": -2, "7": 3}, "prefixes": {"x": 1.25, "xy": 7, "né": -1}}
"""What texts of a request stand for; of prefixes, the longest."""
SENT = ("a", "b", "7", "x", "xyz", "xz", "néant", UNKNOWN)
ABSENT = object()
"""Says nothing, where a default could be."""
BIG = (1 << 53) + 1
"""A whole number that neither float32 nor a double holds."""
WHOLE = ("int32", "int64", "product")
TINY = (0.0, -0.0, 1e-45, -1e-45)
"""Numbers that comparisons take for one another."""


@dataclass(frozen=True)
class Slot:
    """A feature.

    Attributes:
        group: `user`, `product`, `context`, `productContext`, or the name of a group under a key of its own.
        side: `request` where a request has one value, else `product`.
        said: What the schema says of it.
        history: The history whose products it is looked up for, by its reference; `group` is then the history's name.
    """

    group: str
    side: str
    said: dict[str, Any] = field(hash=False)
    history: str | None = None

    @property
    def name(self) -> str:
        return str(self.said["name"])

    @property
    def reference(self) -> str:
        return f"{self.group}.{self.name}"

    @property
    def type(self) -> str:
        return str(self.said.get("type", "float32"))

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a value, a sequence's with its length."""
        if self.type == "text":
            return ()
        length = self.said.get("length")
        return (*(() if length is None else (length,)), *self.said.get("shape", ()))

    @property
    def is_sequence(self) -> bool:
        return "length" in self.said and self.type != "text"

    @property
    def may_be_nan(self) -> bool:
        return "nan" in (self.said.get("missing"), self.said.get("unknown"))

    def stands_in(self, form: str) -> bool:
        """Say whether something stands in for an absent value of an entity stored in this form."""
        if self.said.get("missing") in ("default", "nan"):
            return True
        return form in ("json", "hash", "feast") and "default" in self.said and self.said.get("missing") != "refuse"

    def default(self) -> np.ndarray:
        """Return the numbers of what stands in for a value."""
        if self.said.get("missing") == "nan":
            return np.full(self.shape, np.nan, np.float32)
        given = self.said.get("default", 0)
        if "categories" in self.said:
            return np.full(self.shape, given, np.float32)
        if self.type == "category" and isinstance(given, int):
            return np.full(self.shape, given, np.float32)
        if self.is_sequence:
            return self.numbers(given) if "default" in self.said else self.numbers([])
        return self.numbers(np.full(self.shape, given, object).tolist())

    def numbers(self, value: Any) -> np.ndarray:
        """Return the numbers that a graph is to get of a value; of shape `shape`."""
        if "categories" in self.said and isinstance(value, str):
            value = self._code(value)
        if value is None:
            return self.default()
        kept = np.int64 if self.type in WHOLE else np.float32
        if not self.is_sequence:
            return np.array(self._elements(value), dtype=object).astype(kept).reshape(self.shape)
        made = np.zeros(self.shape, kept)
        items = [self._elements(item) for item in value[: self.shape[0]]]
        if self.said.get("order") == "oldest_first":
            items.reverse()
        first = self.shape[0] - len(items) if self.said.get("padding") == "front" else 0
        for place, item in enumerate(items):
            made[first + place] = np.array(item, dtype=object).astype(kept)
        return made

    def shows(self, value: Any, numbers: np.ndarray) -> bool:
        """Say whether a value, as JSON has it, stands for these numbers; null for NaN."""
        if value is None:
            return bool(np.isnan(numbers).all())
        return np.array_equal(self.numbers(value), numbers, equal_nan=numbers.dtype.kind == "f")

    def filled(self, value: Any) -> np.ndarray:
        """Return which places of a sequence are filled, shape (length,), 1 and 0."""
        count = len((self.said.get("default", []) if value is None else value)[: self.shape[0]])
        first = self.shape[0] - count if self.said.get("padding") == "front" else 0
        return np.array([float(first <= place < first + count) for place in range(self.shape[0])], np.float32)

    def _code(self, text: str) -> float | None:
        """Return what a text of a request stands for; None where nothing does."""
        begun = [prefix for prefix in self.said.get("prefixes", ()) if text.startswith(prefix)]
        found: float | None = self.said["categories"].get(text)
        return self.said["prefixes"][max(begun, key=len)] if found is None and begun else found

    def _elements(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._elements(part) for part in value]
        if value is None:
            return math.nan
        if self.type == "category":
            if str(value) in TEXTS:
                return TEXTS.index(str(value))
            code = self.said.get("unknown", value)
            return math.nan if code == "nan" else code
        if self.type == "float16":
            return float(np.float16(value))
        return int(value) if self.type in WHOLE else float(np.float32(value))


def draw_slot(random: np.random.Generator, group: str, side: str, name: str, kinds: tuple[str, ...]) -> Slot:
    """Return a feature of a random kind, with a random stand-in."""
    kind = str(random.choice(kinds))
    said: dict[str, Any] = {"name": name}
    if kind in ("vector", "matrix"):
        said |= {"shape": [3] if kind == "vector" else [2, 2]}
    elif kind == "halves":
        said |= {"type": "float16", "shape": [2]}
    elif kind in ("prices", "tags", "history"):
        of = {"prices": {}, "tags": {"type": "category", "vocabulary": [*TEXTS]}, "history": {"type": "product"}}
        said |= of[kind] | {"length": int(random.integers(2, 6))}
        said |= {"order": "oldest_first"} if random.random() < 0.4 else {}
        said |= {"padding": "front"} if random.random() < 0.4 else {}
    elif kind in ("codes", "area"):
        codes = CODES if group == "context" else {"categories": CODES["categories"]}
        said |= codes | {"default": float(random.integers(-3, 3))}
        return Slot(group, side, said | ({"from": "zipCode"} if kind == "area" else {}))
    elif kind != "float32":
        said |= {"type": kind}
    if kind == "category":
        said |= {"vocabulary": [*TEXTS]}
        unknown = random.integers(3)
        said |= {"unknown": "nan"} if unknown == 0 else {"unknown": int(random.integers(len(TEXTS)))} if unknown else {}
    sequence, whole = "length" in said, kind in WHOLE
    policies = ["", "default", "refuse"] if sequence or whole else ["", "default", "refuse", "nan", "nan"]
    policy = str(random.choice(policies))
    if policy:
        said |= {"missing": policy}
    if policy != "nan" and kind != "history" and random.random() < 0.6:  # no products are looked up for a default
        drawn = draw_value(random, Slot(group, side, said), known=True)
        said |= {"default": drawn}
    return Slot(group, side, said)


def draw_value(random: np.random.Generator, slot: Slot, *, known: bool = False) -> Any:
    """Return a value as JSON has it; of categories, with `known` one of the vocabulary."""
    if slot.is_sequence:
        one = Slot(slot.group, slot.side, {k: v for k, v in slot.said.items() if k != "length"})
        return [draw_value(random, one, known=True) for _ in range(int(random.integers(slot.shape[0] + 2)))]
    if slot.shape:
        one = Slot(slot.group, slot.side, {k: v for k, v in slot.said.items() if k != "shape"})
        flat = [draw_value(random, one) for _ in range(math.prod(slot.shape))]
        nested: list[Any] = np.array(flat, dtype=object).reshape(slot.shape).tolist()
        return nested
    if "categories" in slot.said:
        return str(random.choice(SENT))
    if slot.type == "bool":
        return bool(random.integers(2))
    if slot.type == "category":
        knows = known or "unknown" not in slot.said or random.random() < 0.85
        return str(random.choice(TEXTS)) if knows else UNKNOWN
    if slot.type == "product":
        return int(random.integers(100, 150))
    if slot.type == "int32":
        return int(random.choice([0, 1, -5, (1 << 31) - 1, -(1 << 31), 16777217]))
    if slot.type == "int64":
        return int(random.choice([0, 1, 2, BIG, -BIG, (1 << 63) - 1]))
    if slot.type == "text":
        return str(random.choice(["x", "y", "né", "", "z:1"]))
    if slot.type == "float16":
        return float(np.float16(random.normal()))
    if not slot.said.get("shape") and random.random() < 0.05:
        return float(random.choice(TINY))
    return float(np.float32(random.choice([random.normal(), round(random.normal() * 4) / 4])))
