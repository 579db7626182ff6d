"""Bytes of rows: what a store holds of values in the forms that others write, drawn where a form leaves a choice."""

from __future__ import annotations

import json
from typing import Any

import msgpack
import numpy as np

from tests.hostile.differential.slots import Slot


def as_bytes(random: np.random.Generator, form: str, row: dict[str, Any]) -> bytes:
    """Return a row in a form of strings."""
    values = [*row.values()]
    if form == "array":
        text = json.dumps(values, ensure_ascii=bool(random.integers(2)))
        return (json.dumps(text) if random.random() < 0.3 else text).encode()
    if form == "json":
        shown = {name: value for name, value in row.items() if value is not None or random.random() < 0.5}
        return json.dumps(dict(sorted(shown.items(), key=lambda _: random.random()))).encode()
    if form == "msgpack":
        return bytes(msgpack.packb(values))
    flat = np.concatenate([np.array(value, np.float64).ravel() for value in values])
    return bytes(flat.astype("<f4" if form == "float32" else "<f8").tobytes())


def as_field(random: np.random.Generator, slot: Slot, value: Any) -> str | bytes:
    """Return a value as a hash has it."""
    if isinstance(value, str):
        return value
    if slot.shape and not slot.is_sequence and random.random() < 0.5:
        return np.array(value, "<f4").tobytes()
    return json.dumps(value)
