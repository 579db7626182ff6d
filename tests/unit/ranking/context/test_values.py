"""Typed features of a request: vectors, categories, exact whole numbers and histories."""

from typing import Any

import numpy as np
import pytest

from ranker.errors import InvalidRequest
from ranker.ranking.context.reader import ContextReader
from ranker.vectors.feature.kinds import MAX_CODES
from ranker.vectors.schema import FeatureSchema

SCHEMA = FeatureSchema.from_mapping(
    {
        "user": {"features": ["age"]},
        "product": {"features": ["price"]},
        "context": {
            "features": [
                "hour",
                {"name": "now", "type": "int64"},
                {"name": "basket", "type": "product", "length": 2},
                {"name": "device", "type": "category", "vocabulary": ["ios", "web"], "default": "web"},
                {"name": "query", "shape": [2], "missing": "refuse"},
            ]
        },
        "productContext": {
            "features": [
                "boost",
                {"name": "shelf", "type": "category", "vocabulary": ["a", "b"], "unknown": -1},
                {"name": "image", "shape": [2], "default": 0.5},
            ]
        },
    }
)
CONTEXT = {"query": [1, 2]}


def read(context: dict[str, Any], product_context: dict[str, Any], n: int = 2) -> tuple[np.ndarray, list[Any]]:
    said: list[Any] = []
    rows = ContextReader(SCHEMA, lambda *what: said.append(what)).read(CONTEXT | context, product_context, "", n)
    assert rows is not None
    return rows, said


def test_values_fill_the_columns_of_their_features() -> None:
    context = {"hour": 3, "now": (1 << 44) + 5, "basket": [9], "device": "ios"}
    rows, said = read(context, {"boost": [1, 2], "shelf": ["b", "x"], "image": [[1, 2], [3, 4]]})
    once = [3, 5, 0, 1, 1, 9, 0, 0, 0, 0, 0, 0, 1, 2]
    assert rows.tolist() == [[*once, 1, 1, 1, 2], [*once, 2, -1, 3, 4]]
    assert said == []


def test_absent_and_unknown_values_take_the_default_and_are_counted() -> None:
    rows, said = read({"hour": 3, "device": "tv"}, {"boost": [1, 2], "shelf": ["a", None], "image": None})
    assert rows[:, 11].tolist() == [1, 1]
    assert rows[:, -3:].tolist() == [[0, 0.5, 0.5]] * 2
    assert ("context.device", "unknown_category", 1) in said
    assert ("context.basket", "absent", 1) in said
    assert ("productContext.shelf", "absent", 1) in said
    assert ("productContext.image", "absent", 2) in said


@pytest.mark.parametrize(
    ("context", "product_context", "said"),
    [
        ({"query": None}, {}, "context.query: Input should be there"),
        ({"query": [1]}, {}, r"context.query: Input should be float32 of shape \(2,\): \[1\] has not the shape"),
        ({"query": [10**400, 1]}, {}, "context.query: Input should be float32 of shape .* is beyond float32"),
        ({"now": 1.5}, {}, "context.now: Input should be int64: 1.5 is no whole number"),
        ({"basket": 5}, {}, "context.basket: Input should be a list of up to 2 of product: 5 is no list"),
        ({"device": 1.5}, {}, "context.device: Input should be category: 1.5 is no category"),
        ({}, {"image": [[1, 2], [3]]}, r"productContext.image.1: Input should be float32 of shape \(2,\)"),
        (
            {},
            {"image": [[1, 2]]},
            "productContext.image: Input should have one value for each of the 2",
        ),
    ],
)
def test_value_of_another_type_is_refused_by_name(
    context: dict[str, Any], product_context: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidRequest, match=said):
        read(context, product_context)


def test_absent_value_of_one_product_is_refused_with_its_place() -> None:
    feature = {"name": "stock", "type": "int64", "missing": "refuse"}
    reader = ContextReader(
        FeatureSchema.from_mapping(
            {
                "user": {"features": ["age"]},
                "product": {"features": ["price"]},
                "productContext": {"features": [feature]},
            }
        ),
        lambda *_: None,
    )
    with pytest.raises(InvalidRequest, match=r"productContext\.stock\.1: Input should be there"):
        reader.read({}, {"stock": [3, None]}, "", 2)
    with pytest.raises(InvalidRequest, match=r"productContext\.stock: Input should be there"):
        reader.read({}, {"stock": [None]}, "", 1)


def test_whole_numbers_of_a_vector_that_float32_changes_are_counted() -> None:
    said: list[Any] = []
    reader = ContextReader(SCHEMA, on_rounded=lambda *what: said.append(what))
    reader.read({"query": [1, 16_777_217]}, {"image": [[1.5, 2], [16_777_219, 16_777_217]]}, "", 2)
    assert said == [("context.query", 1), ("productContext.image", 1)]
    reader.read({"query": [1, 16_777_218], "now": (1 << 60) + 1}, {}, "", 2)
    assert len(said) == 2


def test_whole_number_that_is_the_text_of_a_category_is_not_rounded() -> None:
    said: list[Any] = []
    shelf = {"name": "shelf", "type": "category", "vocabulary": ["a", "16777219"], "unknown": MAX_CODES}
    product = {"features": ["price"]}
    schema = FeatureSchema.from_mapping({"product": product, "productContext": {"features": [shelf]}})
    rows = ContextReader(schema, on_rounded=lambda *what: said.append(what)).read(
        None, {"shelf": [16_777_217, 16_777_219, "a"]}, "", 3
    )
    assert rows is not None
    assert rows.tolist() == [[MAX_CODES], [1], [0]]
    assert said == []


def test_zip_code_may_be_a_category_with_a_vocabulary() -> None:
    area = {"name": "area", "from": "zipCode", "type": "category", "vocabulary": ["01067", "10115"], "unknown": -1}
    schema = FeatureSchema.from_mapping(
        {"user": {"features": ["a"]}, "product": {"features": ["b"]}, "context": {"features": [area]}}
    )
    rows = [ContextReader(schema).read(None, None, text, 1) for text in ("10115", "99999", "")]
    assert [row.tolist() for row in rows if row is not None] == [[[1]], [[-1]], [[0]]]


def test_first_of_several_unusable_values_is_named() -> None:
    with pytest.raises(InvalidRequest, match=r"productContext\.image\.2: "):
        read({}, {"image": [[1, 2], [1, 2], 5, "x", None, [1]]}, 6)
