import json
import math
from collections import Counter
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranker.api.predict import PredictRequest, parse
from ranker.errors import InvalidRequest
from ranker.ranking.context.reader import ContextReader
from ranker.vectors.feature import LARGEST
from ranker.vectors.schema import FeatureSchema

BASE: dict[str, Any] = {"user": {"features": ["age"]}, "product": {"features": ["stock"]}}
SCHEMA = FeatureSchema.from_mapping(
    BASE
    | {
        "context": {
            "features": [
                {"name": "hour", "default": 12},
                {"name": "device", "categories": {"ios": 0, "android": 1}, "default": -1},
                {
                    "name": "area",
                    "from": "zipCode",
                    "categories": {"10115": 9},
                    "prefixes": {"1": 1, "10": 2, "101": 3},
                    "default": -2,
                },
            ]
        },
        "productContext": {
            "features": [
                {"name": "price", "default": 5.5},
                {"name": "badge", "categories": {"new": 1, "sale": 2}, "default": -3},
            ]
        },
    }
)
PRICE = "productContext.price"
DEFAULTS = [12, -1, -2, 5.5, -3]


class Rounded:
    """Adds up what a reader says of whole numbers that float32 changes."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def __call__(self, feature: str, count: int) -> None:
        self.counts[feature] += count


@pytest.mark.parametrize(
    ("context", "product_context", "counts"),
    [
        ({"hour": 16777217}, {"price": [1764341743, 16777218, None, 2**53 + 1]}, {"context.hour": 1, PRICE: 2}),
        ({"hour": 1764341743.0}, {"price": [-16777217, 16777217, 0.5, True]}, {"context.hour": 1, PRICE: 2}),
        ({"hour": 2**24}, {"price": [16777217.5, -(2**62), 123456790.0, float(np.float32(1e20))]}, {}),
        ({"hour": False}, {"price": [None] * 4}, {}),
    ],
)
def test_whole_numbers_that_float32_changes_are_taken_counted_and_said_once(
    caplog: pytest.LogCaptureFixture, context: Any, product_context: Any, counts: dict[str, int]
) -> None:
    told = Rounded()
    reader = ContextReader(SCHEMA, on_rounded=told)
    for _ in range(2):
        rows = reader.read(context, product_context, "", 4)
        assert rows is not None
        assert rows[0, 0] == np.float32(context["hour"])
    assert told.counts == {name: 2 * count for name, count in counts.items()}
    said = [message for message in caplog.messages if "whole number that float32 has as" in message]
    assert [message.split(" is ")[0] for message in said] == [f"A request's {name}" for name in counts]
    if context == {"hour": 16777217}:
        assert said[0].startswith(
            "A request's context.hour is 16777217, a whole number that float32 has as 16777216, and"
        )
        assert said[1].startswith(
            "A request's productContext.price is 1764341743, a whole number that float32 has as 1764341760, and"
        )


class Told:
    """Adds up what a reader reports."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()

    def __call__(self, feature: str, reason: str, count: int) -> None:
        self.counts[feature, reason] += count


def read(
    context: object = None, product_context: object = None, zip_code: str = "", n: int = 2, told: Told | None = None
) -> list[list[float]]:
    reader = ContextReader(SCHEMA, told) if told else ContextReader(SCHEMA)
    rows = reader.read(context, product_context, zip_code, n)  # type: ignore[arg-type]  # values of any type, as callers send
    assert rows is not None
    assert rows.dtype == np.float32
    return rows.tolist()  # type: ignore[no-any-return]  # NumPy says no more


def problems(context: object = None, product_context: object = None, zip_code: str = "") -> str:
    with pytest.raises(InvalidRequest) as caught:
        read(context, product_context, zip_code)
    return str(caught.value)


def test_row_is_the_context_then_the_products_own() -> None:
    rows = read({"hour": 14, "device": "android"}, {"price": [1, 2.5], "badge": ["sale", "new"]}, zip_code="10115")
    assert rows == [[14, 1, 9, 1, 2], [14, 1, 9, 2.5, 1]]


@pytest.mark.parametrize(("context", "product_context"), [(None, None), ({}, {}), ({"hour": None, "device": None}, {})])
def test_what_is_absent_or_null_takes_the_default(context: object, product_context: object) -> None:
    told = Told()
    assert read(context, product_context, told=told) == [DEFAULTS] * 2
    assert told.counts == {
        ("context.hour", "absent"): 1,
        ("context.device", "absent"): 1,
        ("context.area", "absent"): 1,
        ("productContext.price", "absent"): 2,
        ("productContext.badge", "absent"): 2,
    }


def test_null_and_unknown_categories_take_the_default_one_by_one_and_are_counted() -> None:
    told = Told()
    rows = read(
        {"hour": 0, "device": "fridge"},
        {"price": [None, 0, None, 7], "badge": ["hot", None, "sale", "cold"]},
        zip_code="9",
        n=4,
        told=told,
    )
    assert rows == [[0, -1, -2, 5.5, -3], [0, -1, -2, 0, -3], [0, -1, -2, 5.5, 2], [0, -1, -2, 7, -3]]
    assert told.counts == {
        ("context.device", "unknown_category"): 1,
        ("context.area", "unknown_category"): 1,
        ("productContext.price", "absent"): 2,
        ("productContext.badge", "absent"): 1,
        ("productContext.badge", "unknown_category"): 2,
    }


@pytest.mark.parametrize(
    ("zip_code", "number"), [("10115", 9), ("10116", 3), ("10999", 2), ("19000", 1), ("20095", -2), ("", -2)]
)
def test_zip_code_is_mapped_whole_else_by_its_longest_prefix(zip_code: str, number: float) -> None:
    assert read(zip_code=zip_code)[0][2] == number


def test_booleans_are_one_and_zero() -> None:
    assert [row[3] for row in read({"hour": True}, {"price": [True, False]})] == [1, 0]
    mixed = read({}, {"price": [True, 2, 0.5, None]}, n=4)
    assert [row[3] for row in mixed] == [1, 2, 0.5, 5.5]
    assert read({"hour": False})[0][0] == 0


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    said = problems({"hour": 1, "huor": 2, "area": "x"}, {"prize": [1, 2]})
    assert "context: this model takes 'hour', 'device', not 'huor', 'area'" in said
    assert "productContext: this model takes 'price', 'badge', not 'prize'" in said


def test_a_model_without_context_takes_none() -> None:
    reader = ContextReader(FeatureSchema.from_mapping(BASE))
    for context, product_context in ((None, None), ({}, {})):
        assert reader.read(context, product_context, "10115", 3) is None
    with pytest.raises(InvalidRequest, match="context: this model takes none, not 'hour'"):
        reader.read({"hour": 1}, None, "", 3)
    with pytest.raises(InvalidRequest, match="productContext: this model takes none, not 'price'"):
        reader.read(None, {"price": [1, 2, 3]}, "", 3)


@pytest.mark.parametrize(
    ("context", "said"),
    [
        ({"hour": "14"}, "context.hour: Input should be a number or a boolean"),
        ({"hour": [14]}, "context.hour: Input should be a number or a boolean"),
        ({"hour": {}}, "context.hour: Input should be a number or a boolean"),
        ({"hour": math.nan}, "context.hour: Input should be a finite number"),
        ({"hour": -math.inf}, "context.hour: Input should be a finite number"),
        ({"hour": 1e39}, "context.hour: Input should be a finite number"),
        ({"hour": 10**400}, "context.hour: Input should be a finite number"),
        ({"device": 0}, "context.device: Input should be a category, which is a string"),
        ({"device": True}, "context.device: Input should be a category, which is a string"),
        ({"device": ["ios"]}, "context.device: Input should be a category, which is a string"),
    ],
)
def test_wrong_context_is_named(context: object, said: str) -> None:
    assert said in problems(context)


@pytest.mark.parametrize(
    ("product_context", "said"),
    [
        ({"price": [1]}, "productContext.price: Input should have one value for each of the 2 products, not 1"),
        ({"price": []}, "productContext.price: Input should have one value for each of the 2 products, not 0"),
        ({"badge": ["new"] * 3}, "productContext.badge: Input should have one value for each of the 2 products, not 3"),
        ({"price": [1, "2"]}, "productContext.price.1: Input should be a number, a boolean or null"),
        ({"price": [[1], 2]}, "productContext.price.0: Input should be a number, a boolean or null"),
        ({"price": [None, {}]}, "productContext.price.1: Input should be a number, a boolean or null"),
        ({"price": [1, math.nan]}, "productContext.price.1: Input should be a finite number"),
        ({"price": [None, math.inf]}, "productContext.price.1: Input should be a finite number"),
        ({"price": [1, -1e39]}, "productContext.price.1: Input should be a finite number"),
        ({"price": [None, 10**400]}, "productContext.price.1: Input should be a finite number"),
        ({"badge": ["new", 1]}, "productContext.badge.1: Input should be a string or null"),
        ({"badge": [["new"], "new"]}, "productContext.badge.0: Input should be a string or null"),
    ],
)
def test_wrong_product_context_is_named(product_context: object, said: str) -> None:
    assert said in problems(product_context=product_context)


def test_every_problem_is_named_at_once() -> None:
    said = problems({"hour": "x", "device": 1}, {"price": [1]})
    assert [name in said for name in ("context.hour", "context.device", "productContext.price")] == [True] * 3


def test_long_names_and_many_of_them_make_a_short_sentence() -> None:
    said = problems({f"{i}{'x' * 1000}": i for i in range(1000)})
    assert " and 990 more" in said
    assert len(said) < 1000


@pytest.mark.parametrize(("count", "more"), [(9, ""), (10, ""), (11, " and 1 more")])
def test_ten_names_are_listed_with_forty_characters_each(count: int, more: str) -> None:
    listed = ", ".join(repr(f"{i}" + 39 * "x") for i in range(min(count, 10)))
    assert problems({f"{i}{'x' * 40}": i for i in range(count)}).endswith(f"not {listed}{more}.")


@pytest.mark.parametrize("number", [LARGEST, -LARGEST])
def test_any_number_of_float32_may_be_brought(number: float) -> None:
    assert read({"hour": number}, {"price": [number, 1]}) == [[number, -1, -2, number, -3], [number, -1, -2, 1, -3]]
    assert "productContext.price.1: " in problems(product_context={"price": [number, 10**400]})


BOUNDED = FeatureSchema.from_mapping(
    BASE
    | {
        "context": {
            "features": [{"name": "hour", "max": 23}, {"name": "device", "categories": {"a": 1}, "default": 0}]
        },
        "productContext": {"features": ["boost", {"name": "slot", "min": 1, "max": 9, "default": 1}, "stock"]},
    }
)


@pytest.mark.parametrize(
    ("context", "product_context", "said"),
    [
        ({"hour": 24}, {}, ["context.hour: 24 is beyond -inf to 23"]),
        ({"hour": 24}, {"slot": [1, 0]}, ["context.hour: 24 is", "productContext.slot.1: 0 is beyond 1 to 9"]),
        ({"hour": 23}, {"slot": [10, 11]}, ["productContext.slot.0: 10 is beyond 1 to 9"]),
        ({"hour": 24, "device": 5}, {}, ["context.device: Input should be a category, which is a string"]),
        ({"hour": 23}, {"boost": [0, -1], "slot": [1, 9], "stock": [99, 99]}, []),
    ],
)
def test_values_beyond_their_bounds_are_named_where_nothing_else_is_wrong(
    context: dict[str, Any], product_context: dict[str, Any], said: list[str]
) -> None:
    refused: AbstractContextManager[Any] = pytest.raises(InvalidRequest) if said else nullcontext()
    with refused as caught:
        ContextReader(BOUNDED).read(context, product_context, "", 2)
    found = caught.value.problems if caught else ()
    assert [each.startswith(start) for each, start in zip(found, said, strict=True)] == [True] * len(said)


def test_only_feature_of_a_request_is_held_to_its_bounds() -> None:
    reader = ContextReader(FeatureSchema.from_mapping(BASE | {"context": {"features": [{"name": "hour", "max": 23}]}}))
    with pytest.raises(InvalidRequest, match=r"context\.hour: 24 is beyond -inf to 23"):
        reader.read({"hour": 24}, None, "", 2)


def test_columns_of_groups_hold_their_defaults_until_their_rows_are_there() -> None:
    groups = {"g": {"per": "user", "key": "g:{userId}", "features": [{"name": "clicks", "default": 7}]}}
    schema = FeatureSchema.from_mapping(BASE | {"context": {"features": ["hour"]}, "groups": groups})
    rows = ContextReader(schema).read({"hour": 14}, None, "", 2)
    assert rows is not None
    assert rows.tolist() == [[14, 7], [14, 7]]


values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.integers())
names = st.sampled_from(["hour", "device", "area", "price", "badge", "other"])


@given(
    context=st.none() | st.dictionaries(names, values),
    product_context=st.none() | st.dictionaries(names, st.lists(values, min_size=3, max_size=3) | st.lists(values)),
    zip_code=st.text(max_size=5),
)
def test_any_context_is_finite_rows_or_refused(context: Any, product_context: Any, zip_code: str) -> None:
    body = {"requestId": "r", "userId": "u", "productIds": list("abc"), "zipCode": zip_code}
    with suppress(InvalidRequest):
        request = parse(
            json.dumps(body | {"context": context, "productContext": product_context}).encode(), max_products=5
        )
        rows = ContextReader(SCHEMA).read(request.context, request.productContext, request.zipCode, 3)
        assert rows is not None
        assert rows.shape == (3, 5)
        assert np.isfinite(rows).all()


def test_both_fields_are_read_from_json_in_either_way() -> None:
    body = {
        "requestId": "r",
        "userId": "u",
        "productIds": ["a", "b"],
        "context": {"hour": 14, "device": "ios"},
        "productContext": {"price": [12.5, None]},
    }
    parsed = parse(orjson.dumps(body), max_products=5)
    assert PredictRequest(**body) == parsed
    assert (parsed.context, parsed.productContext) == (body["context"], body["productContext"])
