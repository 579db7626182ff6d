"""A feature as the schema describes it: what it is told for a mistake, and which number a context's text stands for."""

from typing import Any

import pytest

from ranker.errors import InvalidSchema
from ranker.vectors.feature import ContextFeature, Feature
from ranker.vectors.schema import FeatureSchema


@pytest.mark.parametrize(
    ("vocabulary", "said"),
    [
        (["y", "x", "x"], "'x' stands twice in the vocabulary"),
        (5, "vocabulary: write a list"),
        ([], "must not be empty"),
    ],
)
def test_vocabulary_that_is_none_is_refused_with_what_is_wrong(vocabulary: Any, said: str) -> None:
    brand = {"name": "brand", "type": "category", "vocabulary": vocabulary}
    with pytest.raises(InvalidSchema, match=said):
        FeatureSchema.from_mapping({"product": {"features": [brand]}})


@pytest.mark.parametrize(("zip_code", "number"), [("10115", 1), ("10999", 3), ("19", 2), ("2", None), ("", None)])
def test_category_is_mapped_by_its_whole_text_then_by_its_longest_prefix(zip_code: str, number: float | None) -> None:
    region = ContextFeature(name="region", categories={"10115": 1}, prefixes={"1": 2, "10": 3}, default=0)
    assert region.number(zip_code) == number


def test_category_without_prefixes_is_mapped_by_its_whole_text_alone() -> None:
    device = ContextFeature(name="device", categories={"phone": 1}, default=0)
    assert (device.number("phone"), device.number("phones")) == (1, None)


@pytest.mark.parametrize(
    ("said", "default", "held"),
    [
        ({"length": 3}, [7, 8], (7, 8)),
        ({"shape": [2]}, [7, 8], (7, 8)),
        ({"length": 2, "shape": [2]}, [[1, 2]], ((1, 2),)),
        ({"type": "category", "vocabulary": ["x"]}, "x", "x"),
        ({}, "2.5", 2.5),
        ({}, True, 1.0),
    ],
)
def test_default_is_a_number_of_one_column_and_as_it_is_given_of_more(said: Any, default: Any, held: Any) -> None:
    made = Feature(name="a", default=default, **said).default
    assert (made, type(made)) == (held, type(held))
