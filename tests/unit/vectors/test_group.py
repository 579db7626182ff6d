"""The layout of typed features: which columns are whose, and what a schema of them may say."""

from typing import Any

import numpy as np
import pytest

from ranker.errors import InvalidSchema
from ranker.vectors.schema import FeatureSchema

USER = {
    "features": [
        "age",
        {"name": "segment", "type": "category", "vocabulary": ["new", "vip"], "default": "vip"},
        {"name": "taste", "shape": [2]},
        {"name": "viewed", "type": "product", "length": 2},
    ]
}
TYPED = {"user": USER, "product": {"features": ["price"]}, "context": {"features": [{"name": "now", "type": "int64"}]}}


def schema(**features: Any) -> FeatureSchema:
    return FeatureSchema.from_mapping(
        {"user": {"features": ["age"]}, "product": {"features": [{"name": "a", **features}, "b"]}}
    )


def test_columns_of_a_group_lie_side_by_side_in_order() -> None:
    user = FeatureSchema.from_mapping(TYPED).user
    assert (len(user.features), user.width, len(user.defaults)) == (4, 11, 11)
    assert user.slices == {"age": slice(0, 1), "segment": slice(1, 2), "taste": slice(2, 4), "viewed": slice(4, 11)}
    assert user.column_names[:5] == ("age", "segment[0]", "taste[0]", "taste[1]", "viewed[0]")
    assert user.names == ("age", "segment", "taste", "viewed")
    assert user.defaults.tolist() == [0, 1] + [0] * 9


def test_columns_of_a_matrix_are_counted_over_all_groups() -> None:
    whole = FeatureSchema.from_mapping(TYPED)
    assert (whole.width, whole.stored_width) == (15, 12)
    ((now, at),) = whole.columns_of("context")
    assert (now.name, at) == ("now", slice(12, 15))
    assert whole.columns_of("product")[0][1] == slice(11, 12)


def test_plain_group_has_a_column_for_each_feature() -> None:
    plain = schema()
    assert plain.product.is_plain
    assert plain.product.column_names == plain.product.names == ("a", "b")
    assert plain.product.width == 2


def test_metadata_round_trip_keeps_types() -> None:
    original = FeatureSchema.from_mapping(TYPED)
    copy = FeatureSchema.from_mapping(original.to_metadata())
    assert copy == original
    assert copy.fingerprint == original.fingerprint
    assert original.to_metadata()["user"]["features"][0] == {"name": "age", "default": 0.0}


@pytest.mark.parametrize(
    "changed",
    [
        {"type": "int64"},
        {"type": "float16"},
        {"shape": [1]},
        {"shape": [2]},
        {"length": 1},
        {"type": "category", "vocabulary": ["x", "y"]},
        {"type": "category", "vocabulary": ["y", "x"]},
        {"type": "category", "vocabulary": ["xy"]},
    ],
)
def test_fingerprint_says_type_shape_length_and_vocabulary(changed: dict[str, Any]) -> None:
    every = [schema().fingerprint, schema(type="int32").fingerprint, schema(**changed).fingerprint]
    assert len(set(every)) == 3


def test_fingerprint_leaves_out_what_stored_bytes_do_not_say() -> None:
    one = schema(type="category", vocabulary=["x", "y"])
    other = schema(type="category", vocabulary=["x", "y"], default="y", unknown=0, missing="default")
    assert one.fingerprint == other.fingerprint


def test_typed_fingerprint_is_unchanged() -> None:
    assert f"{FeatureSchema.from_mapping(TYPED).fingerprint:08x}" == "356f958f"


@pytest.mark.parametrize(
    ("feature", "said"),
    [
        ({"type": "category"}, "`type: category` needs a `vocabulary`"),
        ({"vocabulary": ["x"]}, "a `vocabulary` is that of a category: give it"),
        ({"type": "category", "vocabulary": ["x", "x"]}, "stands twice in the vocabulary"),
        ({"type": "category", "vocabulary": [True]}, "put quotes round each text, for YAML reads on, yes"),
        ({"type": "category", "vocabulary": ["x"], "default": "y"}, "the default of a is none of its type: 'y' is not"),
        ({"type": "int64", "unknown": 0}, "`unknown` is the code of a category"),
        ({"type": "product"}, "`type: product` needs a `length`, how many products it remembers"),
        ({"type": "text"}, "`type: text` needs a `length`, the bytes of the longest text"),
        ({"type": "text", "length": 3, "shape": [2]}, "has no `shape`"),
        ({"type": "int64", "missing": "nan"}, "can be NaN, and no sequence: leave `nan` out"),
        ({"length": 3, "missing": "nan"}, "can be NaN, and no sequence: leave `nan` out"),
        ({"shape": [300, 300]}, "it would take 90,000 columns"),
        ({"shape": [2], "default": [1, 2, 3]}, "the default of a is none of its type: .*has not the shape"),
        ({"type": "int64", "default": 1.5}, "the default of a is none of its type: 1.5 is no whole number"),
        ({"type": "int8"}, "product.features.0.type"),
        ({"shape": [0]}, "product.features.0.shape.0"),
        ({"name": "b[0]", "default": 1}, None),
    ],
)
def test_schema_that_makes_no_sense_is_refused_with_its_place(feature: dict[str, Any], said: str | None) -> None:
    if said is None:
        assert schema(**feature).product.names == ("b[0]", "b")
        return
    with pytest.raises(InvalidSchema, match=said):
        schema(**feature)


def test_column_names_never_repeat() -> None:
    features = [{"name": "taste", "shape": [2]}, "taste[1]"]
    with pytest.raises(InvalidSchema, match=r"feature names repeat: taste\[1\]"):
        FeatureSchema.from_mapping({"user": {"features": features}, "product": {"features": ["p"]}})


def test_columns_of_one_group_are_limited() -> None:
    features = [{"name": "a", "shape": [65536]}, "b"]
    with pytest.raises(InvalidSchema, match="the features take 65,537 columns; 65,536 are the most"):
        FeatureSchema.from_mapping({"user": {"features": features}, "product": {"features": ["p"]}})


def test_defaults_are_read_only() -> None:
    defaults = FeatureSchema.from_mapping(TYPED).user.defaults
    assert defaults.dtype == np.float32
    assert not defaults.flags.writeable


def test_each_column_is_of_the_feature_between_whose_ends_it_lies() -> None:
    user = FeatureSchema.from_mapping(TYPED).user
    of = [user.feature_of(column) for column in range(user.width)]
    assert of == ["age", "segment", "taste", "taste"] + ["viewed"] * 7


@pytest.mark.parametrize(
    ("key", "entity_id"),
    [
        (b"shop:7:v1", "7"),
        (b"shop:a:v1:v1", "a:v1"),
        (b"shop::v1", None),
        (b"shop:v1", None),
        (b"shop", None),
        (b"show:7:v1", None),
        (b"shop:7:v2", None),
        (b"shop:\xff:v1", None),
    ],
)
def test_id_is_found_in_keys_of_the_entity_alone(key: bytes, entity_id: str | None) -> None:
    made = FeatureSchema.from_mapping(
        {"user": {"features": ["age"]}, "product": {"key": "shop:{id}:v1", "features": ["price"]}}
    )
    assert made.product.id_in(key) == entity_id
