"""Ids of groups' keys: from which values of a request and of what was found for it, and which have none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from ranker.features.groups.keys import GroupKeys, stored_texts
from ranker.vectors.feature import Feature
from ranker.vectors.feature.columns import Elements, to_columns
from ranker.vectors.rows import Ask, Features, ProductId, Rows, RowStatus, UserId
from ranker.vectors.schema import FeatureSchema
from tests.support.groups import DATA, SCHEMA
from tests.support.typed import columns

BIG = str(1 << 40)
ASKED = [
    Ask(UserId("u"), [ProductId("a"), ProductId("b")], {"store": "main"}),
    Ask(None, [ProductId("c")], {"store": "east"}),
    Ask(UserId("v"), [ProductId("b"), ProductId("d"), ProductId("a")]),
]
SHOES, HATS, NONE = [1.0, 1 << 40, "shoes"], [2.0, 7, "hats"], [3.0, -5, ""]


def found() -> list[Features]:
    users = [[30.0, "vip"], [0.0, "new"], [20.0, "new"]]
    products = [[SHOES, HATS], [SHOES], [HATS, NONE, SHOES]]
    return [
        Features(Rows.known(columns(SCHEMA.user, user)), Rows.known(columns(SCHEMA.product, *rows)))
        for user, rows in zip(users, products, strict=True)
    ]


@pytest.mark.parametrize(
    ("group", "counts", "ids"),
    [
        ("user_live", [1, 1, 1], ["u", None, "v"]),
        ("stock", [2, 1, 3], [*"abcbda"]),
        ("seller", [2, 1, 3], [BIG, "7", BIG, "7", "-5", BIG]),
        ("affinity", [2, 1, 3], ["u:shoes", "u:hats", None, "v:hats", None, "v:shoes"]),
        ("shop", [1, 1, 1], ["main:vip", None, None]),
    ],
)
def test_ids_of_a_round_lie_behind_one_another_and_are_none_where_a_value_is_lacking(
    group: str, counts: list[int], ids: list[str | None]
) -> None:
    keys = GroupKeys(SCHEMA, group)
    assert keys.counts(ASKED) == counts
    assert keys.ids(ASKED, found()) == ids


def test_keys_of_products_hold_values_that_a_request_has_once() -> None:
    group = {"per": "product", "key": "{context.store}/{product.category}-{user.segment}:x", "features": ["ctr"]}
    keys = GroupKeys(FeatureSchema.from_mapping(DATA | {"groups": {"mixed": group}}), "mixed")
    asked = [ask._replace(user_id=UserId("w"), texts={"store": place}) for ask, place in zip(ASKED, "xyz", strict=True)]
    assert keys.ids(asked, found()) == [
        *("x/shoes-vip", "x/hats-vip", "y/shoes-new", "z/hats-new"),
        *(None, "z/shoes-new"),
    ]


def test_keys_of_the_request_alone_need_nothing_that_was_found() -> None:
    assert GroupKeys(SCHEMA, "stock").ids(ASKED[:2]) == ["a", "b", "c"]
    assert GroupKeys(SCHEMA, "user_live").ids(ASKED[:2]) == ["u", None]


TYPED = FeatureSchema.from_mapping(
    {
        "user": {"features": ["age"]},
        "product": {
            "features": [
                {"name": "code", "type": "category", "vocabulary": ["x", "y"], "unknown": -1},
                {"name": "count", "type": "int32"},
                {"name": "number", "type": "int64"},
                {"name": "name", "type": "text", "length": 4},
            ]
        },
    }
).product
ROWS: list[list[Any]] = [["y", -5, 1 << 62, "né"], ["x", 3, -1, "ab"], ["y", 4, 8, "cdef"]]
TEXTS = {
    "code": ["y", "x", "y"],
    "count": ["-5", "3", "4"],
    "number": [str(1 << 62), "-1", "8"],
    "name": ["né", "ab", "cdef"],
}


@pytest.mark.parametrize("name", TEXTS)
def test_value_has_a_text_in_rows_that_were_found_with_it_and_in_no_others(name: str) -> None:
    (feature,) = [feature for feature in TYPED.features if feature.name == name]
    at = TYPED.slices[name]

    def texts(*parts: Rows) -> list[str | None]:
        return list(stored_texts(feature, at, parts))

    values = columns(TYPED, *ROWS)
    first, second = Rows.known(values[:1]), Rows.known(values[1:])
    a, b, c = TEXTS[name]
    assert texts(first, second) == [a, b, c]
    lacking = Rows(values[1:], np.array([RowStatus.MISSING, RowStatus.FOUND], np.uint8), complete=False)
    assert texts(first, lacking) == [a, None, c]
    corrupt = Rows(values[1:], np.array([RowStatus.FOUND, RowStatus.CORRUPT], np.uint8), complete=False)
    assert texts(first, corrupt) == [a, b, None]
    holed = values[1:].copy()
    holed[0, at.stop - 1] = np.nan
    assert texts(first, Rows.known(holed)) == [a, None, c]


def test_category_beyond_the_vocabulary_and_text_that_is_empty_make_no_key() -> None:
    code, _, _, name = TYPED.features
    assert stored_texts(code, slice(0, 1), [Rows.known(np.array([[-1], [2], [1]], np.float32))]) == [None, None, "y"]
    empty = to_columns(name, Elements(np.zeros((1, 4), np.uint8)))
    assert stored_texts(name, slice(0, name.width), [Rows.known(empty)]) == [None]


def test_bytes_that_are_no_text_are_spelled_with_the_sign_for_what_is_not_known() -> None:
    name = TYPED.features[-1]
    stored = to_columns(name, Elements(np.array([[0xFF, 97, 0, 0]], np.uint8)))
    assert stored_texts(name, slice(0, name.width), [Rows.known(stored)]) == ["\ufffda"]


def test_text_of_a_code_is_taken_without_a_look_at_the_whole_vocabulary() -> None:
    class Vocabulary(tuple[str, ...]):
        __slots__ = ()

        def __iter__(self) -> Iterator[str]:
            raise AssertionError("there may be millions")

    shade = Feature(name="shade", type="category", vocabulary=["x", "y"], unknown=-1)
    shade = shade.model_copy(update={"vocabulary": Vocabulary(("x", "y"))})
    rows = Rows.known(np.array([[1], [-1], [2], [0], [np.nan]], np.float32))
    assert stored_texts(shade, slice(0, 1), [rows]) == ["y", None, None, "x", None]
