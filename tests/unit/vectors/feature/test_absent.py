"""A group's `missing` is for those of its features that say nothing, each as its type can hold it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ranker.vectors.feature import Feature
from ranker.vectors.feature.absent import has_nan
from ranker.vectors.feature.values import parse
from ranker.vectors.schema import FeatureSchema

LEVELS = ["low", "mid", "high"]


def in_group(missing: str, feature: Any) -> Feature:
    (found,) = FeatureSchema.from_mapping(
        {"user": {"missing": missing, "features": [feature]}, "product": {"features": ["p"]}}
    ).user.features
    return found


@pytest.mark.parametrize(
    "said",
    [
        {"type": "int32"},
        {"type": "int64"},
        {"type": "int64", "shape": [2]},
        {"type": "product", "length": 3},
        {"length": 3},
        {"type": "text", "length": 3},
        {"type": "category", "vocabulary": LEVELS, "length": 2},
        {"type": "category", "vocabulary": LEVELS, "unknown": 2, "length": 2},
    ],
)
def test_nan_of_a_group_leaves_what_cannot_be_nan_its_default(said: dict[str, Any]) -> None:
    feature = in_group("nan", {"name": "a", **said})
    assert (feature.missing, feature.may_lack) == ("default", True)
    np.testing.assert_array_equal(parse(feature, None), np.zeros(feature.width, np.float32))


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"shape": [2]},
        {"type": "float16"},
        {"type": "bool"},
        {"type": "category", "vocabulary": LEVELS},
        {"type": "category", "vocabulary": LEVELS, "unknown": "nan"},
        {"type": "category", "vocabulary": LEVELS, "unknown": 2, "shape": [2]},
    ],
)
def test_nan_of_a_group_is_that_of_all_its_other_features(said: dict[str, Any]) -> None:
    feature = in_group("nan", {"name": "a", **said})
    assert feature.missing == "nan"
    assert np.isnan(parse(feature, None)).all()


def test_a_category_with_a_code_for_what_it_does_not_know_has_it_for_an_absent_value() -> None:
    feature = in_group("nan", {"name": "a", "type": "category", "vocabulary": LEVELS, "unknown": 2})
    assert parse(feature, None).tolist() == parse(feature, "else").tolist() == [2]


@pytest.mark.parametrize("missing", ["default", "nan", "refuse"])
@pytest.mark.parametrize("own", [{"default": 7}, {"missing": "refuse"}, {"missing": "default"}])
def test_what_a_feature_says_itself_stays(missing: str, own: dict[str, Any]) -> None:
    feature = in_group(missing, {"name": "a", "type": "int64", **own})
    assert (feature.missing, feature.default) == (own.get("missing"), own.get("default", 0.0))


@pytest.mark.parametrize("missing", ["default", "refuse"])
def test_other_words_of_a_group_are_for_every_type(missing: str) -> None:
    for said in ({}, {"type": "int64"}, {"type": "category", "vocabulary": LEVELS, "unknown": 2}):
        assert in_group(missing, {"name": "a", **said}).missing == missing


def test_the_default_that_took_nans_place_survives_the_stored_model() -> None:
    features = ["age", {"name": "viewed", "type": "product", "length": 3}, {"name": "at", "type": "int64"}]
    segment = {"name": "segment", "type": "category", "vocabulary": LEVELS, "unknown": 2}
    schema = FeatureSchema.from_mapping(
        {"user": {"missing": "nan", "features": [*features, segment]}, "product": {"features": ["p"]}}
    )
    stored = FeatureSchema.from_mapping(schema.to_metadata())
    assert [f.missing for f in stored.user.features] == ["nan", "default", "default", "default"]
    np.testing.assert_array_equal(stored.user.defaults, schema.user.defaults)


def test_whole_numbers_and_sequences_have_no_nan() -> None:
    assert has_nan("float32", None)
    assert has_nan("category", None)
    assert not has_nan("float32", 3)
    assert not has_nan("int32", None)
