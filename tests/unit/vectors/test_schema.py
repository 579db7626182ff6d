import json

import pytest

from ranker.errors import InvalidSchema
from ranker.vectors.schema import FeatureSchema

BASE = {"user": {"features": ["age"]}, "product": {"features": ["price", "stock"]}}


def schema(**changes: object) -> FeatureSchema:
    return FeatureSchema.from_mapping(BASE | changes)


def test_schema_without_a_user_has_no_user_columns_and_comes_back() -> None:
    schema = FeatureSchema.from_mapping({"product": {"features": ["price"]}, "context": {"features": ["hour"]}})
    assert (schema.has_user, list(schema.groups), list(schema.entities)) == (False, ["product", "context"], ["product"])
    assert (schema.width, schema.stored_width, schema.defaults.tolist()) == (2, 1, [0, 0])
    assert "user" not in schema.to_metadata()
    again = FeatureSchema.from_mapping(schema.to_metadata())
    assert (again, again.fingerprint) == (schema, schema.fingerprint)
    other = FeatureSchema.from_mapping({"user": {"features": ["age"]}, "product": {"features": ["price"]}})
    assert other.fingerprint != schema.fingerprint
    shared = schema.shared_keys(other)
    assert shared is None  # its user's keys are nobody's here
    with pytest.raises(InvalidSchema, match=r"user\.features"):
        FeatureSchema.from_mapping({"user": {"features": []}, "product": {"features": ["price"]}})


def test_metadata_round_trip_keeps_everything() -> None:
    original = schema(product={"key": "p:{id}", "features": ["price", {"name": "stock", "default": 2.5}]})
    copy = FeatureSchema.from_mapping(original.to_metadata())
    assert copy == original
    assert copy.fingerprint == original.fingerprint
    assert copy.product.defaults.tolist() == [0.0, 2.5]


CONTEXT = {
    "features": [
        "hour",
        {"name": "device", "categories": {"ios": 0, "android": 1}, "default": -1},
        {"name": "area", "from": "zipCode", "categories": {"01067": 3}, "prefixes": {"0": 1}, "default": -1},
    ]
}
PRODUCT_CONTEXT = {"features": [{"name": "price", "default": 2}, {"name": "b", "categories": {"x": 1}, "default": 0}]}


def test_metadata_round_trip_keeps_context_and_formats() -> None:
    original = schema(
        user={"format": "hash", "features": ["age", {"name": "spend", "default": 0}]},
        product={"format": "float64", "features": ["price"]},
        context=CONTEXT,
        productContext=PRODUCT_CONTEXT,
    )
    metadata = json.loads(json.dumps(original.to_metadata()))
    copy = FeatureSchema.from_mapping(metadata)
    assert copy.to_metadata() == metadata
    assert (copy.user.format, copy.product.format) == ("hash", "float64")
    assert [f.may_lack for f in copy.user.features] == [False, True]
    assert copy.context is not None
    assert [f.number("01067") for f in copy.context.features[1:]] == [None, 3]
    assert [(name, group.names) for name, group in copy.groups.items()] == [
        ("user", ("age", "spend")),
        ("product", ("price",)),
        ("context", ("hour", "device", "area")),
        ("productContext", ("price", "b")),
    ]
    assert copy.defaults.tolist() == [0, 0, 0, 0, -1, -1, 2, 0]
    assert (copy.stored_width, copy.width) == (3, 8)


def test_metadata_of_a_schema_without_context_stays_as_it_was() -> None:
    assert schema().to_metadata() == {
        "user": {"key": "user:{id}", "features": [{"name": "age", "default": 0.0}]},
        "product": {
            "key": "product:{id}",
            "features": [{"name": "price", "default": 0.0}, {"name": "stock", "default": 0.0}],
        },
    }


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


def test_fingerprint_ignores_what_requests_bring_and_formats() -> None:
    changed = schema(user={"features": ["age"], "format": "hash"}, context=CONTEXT, productContext=PRODUCT_CONTEXT)
    assert changed.fingerprint == schema().fingerprint


def column(group: str = "context", **what: object) -> dict[str, object]:
    return {group: {"features": [{"name": "a", **what}]}}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (None, "there is no schema: write `product:"),
        ({"user": {"features": []}, "product": {"features": ["a"]}}, "user.features"),
        (BASE | {"user": {"features": ["a", "a"]}}, "feature names repeat: a"),
        (BASE | {"user": {"key": "user", "features": ["a"]}}, "{id} exactly once"),
        (BASE | {"item": {}}, "item"),
        (BASE | {"user": {"features": [{"name": "a", "default": "x"}]}}, "user.features.0.default"),
        (BASE | {"user": {"features": ["a"], "format": "pickle"}}, "user.format"),
        (BASE | {"user": {"features": [{"name": "a", "categories": {"x": 1}}]}}, "user.features.0.categories"),
        (BASE | {"context": {"features": []}}, "context.features"),
        (BASE | {"context": {"features": ["a", "a"]}}, "feature names repeat: a"),
        (BASE | {"context": {"features": ["a"], "key": "{id}"}}, "context.key"),
        (BASE | column(categories={"x": 1}), "context.features.0: .*needs a default, for those it does not know"),
        (BASE | column(prefixes={"x": 1}), "context.features.0: .*needs a default"),
        (BASE | column(categories={1067: 1}, default=0), "0.categories: .*quotes round each key, .*1067"),
        (BASE | column(prefixes={False: 1}, default=0), "0.prefixes: .*quotes round each key, .*off, no and"),
        (BASE | column(categories=5, default=0), "context.features.0.categories"),
        (BASE | column(categories={}, default=0), "context.features.0.categories"),
        (BASE | column(categories={"x": float("nan")}, default=0), "context.features.0.categories.x"),
        (BASE | column(categories={"x": 1e39}, default=0), "context.features.0.categories.x"),
        (BASE | column(**{"from": "zipCode"}, default=0), "context.features.0: .*zipCode is text: give categories"),
        (BASE | column(**{"from": "userId"}, categories={"x": 1}, default=0), "context.features.0.from"),
        (BASE | column("productContext", categories={"x": 1}), "productContext.features.0: .*needs a default"),
        (BASE | column("productContext", prefixes={"x": 1}, default=0), "productContext.features.0.prefixes"),
    ],
)
def test_invalid_schema_names_the_place(data: object, said: str) -> None:
    with pytest.raises(InvalidSchema, match=said.replace("{", r"\{")):
        FeatureSchema.from_mapping(data)


@pytest.mark.parametrize(("stored", "refused"), [("hash", False), ("json", False), ("ranker", True), ("msgpack", True)])
def test_models_share_keys_where_features_are_read_by_name(stored: str, refused: bool) -> None:
    one, other = (
        schema(product={"format": stored, "features": features}) for features in (["price", "stock"], ["stock"])
    )
    assert (one.shared_keys(other) is not None) == refused


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"user": {"features": ["income"]}}, "it reads other user features under the same keys user:{id}. Give it"),
        ({"product": {"features": ["stock"]}}, "it reads other product features under the same keys product:{id}."),
        ({"user": {"features": ["x"]}, "product": {"features": ["y"]}}, "it reads other user features under"),
        (
            {"user": {"features": ["x"], "key": "u:{id}"}, "product": {"features": ["y"]}},
            "it reads other product features",
        ),
        ({"user": {"features": ["x"], "key": "u:{id}"}}, None),
        ({"user": {"features": [{"name": "age", "default": 5}]}}, None),
    ],
)
def test_models_with_other_features_under_the_same_keys_are_told_whose(
    changed: dict[str, object], said: str | None
) -> None:
    found = schema().shared_keys(schema(**changed))
    assert found is None if said is None else found is not None and found.startswith(said)


@pytest.mark.parametrize("format", ["hash", "json"])
def test_typed_features_under_their_names_come_back_from_metadata(format: str) -> None:
    user = {"format": format, "features": ["age", {"name": "ids", "type": "int64", "shape": [2]}]}
    schema = FeatureSchema.from_mapping({"user": user, "product": {"features": ["price"]}})
    assert FeatureSchema.from_mapping(schema.to_metadata()) == schema


@pytest.mark.parametrize("format", ["ranker", "hash", "json"])
def test_default_of_a_feature_that_each_row_must_have_comes_back_from_metadata(format: str) -> None:
    """It stands in for a whole row, which metadata must not make zeros of."""
    features = [
        {"name": "rating", "missing": "refuse", "default": 3.5},
        {"name": "tier", "type": "category", "vocabulary": ["a", "b"], "missing": "refuse", "default": "b"},
    ]
    schema = FeatureSchema.from_mapping({"product": {"format": format, "features": features}})
    again = FeatureSchema.from_mapping(json.loads(json.dumps(schema.to_metadata())))
    assert again.defaults.tolist() == [3.5, 1]
    assert [feature.may_lack for feature in again.product.features] == [False, False]
