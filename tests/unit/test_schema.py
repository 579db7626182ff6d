import pytest

from ranker.errors import InvalidSchema
from ranker.schema import FeatureSchema

BASE = {"user": {"features": ["age"]}, "product": {"features": ["price", "stock"]}}


def schema(**changes: object) -> FeatureSchema:
    return FeatureSchema.from_mapping(BASE | changes)


def test_metadata_round_trip_keeps_everything() -> None:
    original = schema(product={"key": "p:{id}", "features": ["price", {"name": "stock", "default": 2.5}]})
    copy = FeatureSchema.from_mapping(original.to_metadata())
    assert copy == original
    assert copy.fingerprint == original.fingerprint
    assert copy.product.defaults.tolist() == [0.0, 2.5]


@pytest.mark.parametrize(
    "change",
    [
        {"product": {"features": ["stock", "price"]}},
        {"product": {"features": ["price", "stock", "x"]}},
        {"user": {"features": ["ag", "e"]}},
        {"user": {"features": ["age", "price"]}, "product": {"features": ["stock"]}},
    ],
)
def test_fingerprint_changes_with_names_order_and_owner(change: dict[str, object]) -> None:
    assert schema(**change).fingerprint != schema().fingerprint


def test_fingerprint_ignores_defaults_and_keys() -> None:
    changed = schema(product={"key": "p:{id}", "features": [{"name": "price", "default": 9}, "stock"]})
    assert changed.fingerprint == schema().fingerprint


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (None, "schema: "),
        ({"user": {"features": []}, "product": {"features": ["a"]}}, "user.features"),
        (BASE | {"user": {"features": ["a", "a"]}}, "feature names repeat: a"),
        (BASE | {"user": {"key": "user", "features": ["a"]}}, "{id} exactly once"),
        (BASE | {"item": {}}, "item"),
        (BASE | {"user": {"features": [{"name": "a", "default": "x"}]}}, "user.features.0.default"),
    ],
)
def test_invalid_schema_names_the_place(data: object, said: str) -> None:
    with pytest.raises(InvalidSchema, match=said.replace("{", r"\{")):
        FeatureSchema.from_mapping(data)
