"""The record of version 2: sequences of every type come back, and an element that is no value spoils its record."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ranker.vectors.group import ProductSchema
from ranker.vectors.rows import RowStatus
from ranker.vectors.stored.encoding import Encoder
from ranker.vectors.stored.formats import decoder_for
from tests.support.typed import columns

VALUES: dict[str, list[Any]] = {
    "float32": [0.5, -1e30],
    "float16": [0.5, -2.0],
    "bool": [True, False],
    "category": ["y", "x"],
    "int32": [-(1 << 31), (1 << 31) - 1],
    "int64": [-(1 << 63), (1 << 63) - 1],
    "product": [1, (1 << 62) + 1],
}


def entity(kind: str) -> ProductSchema:
    vocabulary = {"vocabulary": ["x", "y"]} if kind == "category" else {}
    features = ["price", {"name": "history", "type": kind, "length": 3, **vocabulary}, "stock"]
    return ProductSchema.model_validate({"features": features})


@pytest.mark.parametrize("kind", VALUES)
def test_sequence_of_every_type_comes_back(kind: str) -> None:
    group, values = entity(kind), VALUES[kind]
    rows = columns(group, [1.5, values, 2], [0, [], 0], [0, [values[1]] * 3, 1])
    decoded = decoder_for(group, 7).decode(Encoder(group, 7).encode(rows))
    assert decoded.complete
    assert decoded.values.tolist() == rows.tolist()


@pytest.mark.parametrize(
    ("kind", "element"),
    [
        ("bool", b"\x02"),
        ("category", (1 << 30).to_bytes(4, "little")),
        ("float32", np.float32(np.inf).tobytes()),
        ("float16", np.float16(-np.inf).tobytes()),
    ],
)
def test_element_of_a_sequence_that_is_no_value_of_its_type_is_corrupt(kind: str, element: bytes) -> None:
    group = entity(kind)
    (good,) = Encoder(group, 7).encode(columns(group, [1, VALUES[kind], 2]))
    at = 8 + 4 + 2
    spoilt = good[:at] + element + good[at + len(element) :]
    assert decoder_for(group, 7).decode([good, spoilt]).statuses.tolist() == [RowStatus.FOUND, RowStatus.CORRUPT]
