"""A feature as the schema describes it: what it is told for a mistake, and which number a context's text stands for."""

from typing import Any

import pytest

from ranker.errors import InvalidSchema
from ranker.vectors.feature import ContextFeature
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
