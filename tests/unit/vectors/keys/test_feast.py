"""Feast's keys: which bytes are one of a view's, and which values have none."""

from __future__ import annotations

import struct

import pytest

from ranker.vectors.keys.feast import FeastView, JoinType

VIEW = FeastView(project="shop", view="stats", join_key="driver", type="int32")
SEVERAL = FeastView(project="shop", view="stats", join_keys={"user": "string", "day": "int64"})
KEY, HEAD = VIEW.key(["7"]), VIEW.key(["7"])[: -len("shop") - 12]


def test_values_come_back_from_the_key_that_they_make() -> None:
    assert VIEW.values(KEY) == ("7",)
    assert list(SEVERAL.types) == ["day", "user"]
    assert SEVERAL.values(SEVERAL.key(["-3", "é"])) == ("-3", "é")
    assert VIEW.key_parts[0].encode() == HEAD + struct.pack("<II", 3, 4)


@pytest.mark.parametrize(
    "key",
    [
        KEY[: -len("shop")] + b"\0" + b"shop",
        KEY[: -len("shop")] + b"shoe",
        b"\1" + KEY,
        KEY[: -len("shop") - 1] + b"shop",
        HEAD + struct.pack("<IIq", 3, 8, 7) + b"shop",
        HEAD + struct.pack("<IIi", 4, 4, 7) + b"shop",
        HEAD + struct.pack("<II", 3, 2) + b"\7\0" + b"shop",
        HEAD + b"\3\0\0\0" + b"shop",
    ],
    ids=[
        "bytes left",
        "other project",
        "other head",
        "too short",
        "longer whole number",
        "other type",
        "two bytes",
        "no length",
    ],
)
def test_key_of_something_else_has_no_values(key: bytes) -> None:
    assert VIEW.values(key) is None


@pytest.mark.parametrize(
    "text", ["x", "", "07", "+7", "-0", "\uff17", "1\uff17", "7 ", "1_0", str(1 << 31), str(-(1 << 31) - 1)]
)
def test_text_that_is_no_whole_number_of_the_type_has_a_key_that_nobody_writes(text: str) -> None:
    key = VIEW.key([text])
    assert not key.startswith(HEAD)
    assert VIEW.values(key) is None
    assert VIEW.values(VIEW.key([str(-(1 << 31))])) == (str(-(1 << 31)),)


@pytest.mark.parametrize("kind", ["string", "int32"])
def test_id_with_half_a_character_has_a_key_that_is_no_others(kind: JoinType) -> None:
    view = FeastView(project="shop", view="stats", join_key="driver", type=kind)
    keys = [view.key([text]) for text in ("\ud800", "\ud801", "7")]
    assert len(set(keys)) == 3
    assert [view.values(key) for key in keys] == [None, None, ("7",)]


def test_empty_text_comes_back_from_its_key() -> None:
    view = FeastView(project="shop", view="stats", join_key="driver")
    assert view.values(view.key([""])) == ("",)
