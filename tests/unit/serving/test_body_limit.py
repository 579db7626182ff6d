"""The largest body: there is room for whatever the served schemas allow, unless the operator says how much."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ranker.serving.body_limit import largest_body_bytes, with_body_limit
from ranker.settings.environment import Settings
from ranker.vectors.rows import MAX_ID_LENGTH
from ranker.vectors.schema import FeatureSchema

LONGEST_NUMBER = -1.2345678901234567e-308
STORED = {"user": {"features": ["age"]}, "product": {"features": ["price"]}}
FEATURES: list[tuple[dict[str, Any], Any]] = [
    ({"name": "price"}, LONGEST_NUMBER),
    ({"name": "taste", "shape": [64]}, [LONGEST_NUMBER] * 64),
    ({"name": "grid", "shape": [8, 1]}, [[LONGEST_NUMBER]] * 8),
    ({"name": "id", "type": "int64"}, -(1 << 63)),
    ({"name": "ids", "type": "product", "length": 5}, [-(1 << 63)] * 5),
    ({"name": "on_sale", "type": "bool"}, False),
    ({"name": "sku", "type": "text", "length": 12}, "\x01" * 12),
    ({"name": "tags", "type": "category", "vocabulary": ["a", "ü" * 100], "length": 9}, ["ü" * 100] * 9),
    ({"name": "shop", "categories": {"\x02" * 70: 1.0}, "default": 0}, "\x02" * 70),
]


@pytest.mark.parametrize(("feature", "value"), FEATURES, ids=[feature["name"] for feature, _ in FEATURES])
@pytest.mark.parametrize("group", ["context", "productContext"])
def test_every_request_that_the_schema_allows_has_room(feature: dict[str, Any], value: Any, group: str) -> None:
    products = 1000
    features = [feature | {"name": f"{feature['name']}{'ü' * 60}{i}"} for i in range(3)]
    schema = FeatureSchema.from_mapping(STORED | {group: {"features": features}})
    values = [value] * products if group == "productContext" else value
    body = {
        "requestId": "\x01" * MAX_ID_LENGTH,
        "userId": "\x01" * MAX_ID_LENGTH,
        "productIds": [f"{i:0{MAX_ID_LENGTH}}" for i in range(products)],
        group: {one["name"]: values for one in features},
    }
    assert len(json.dumps(body)) <= largest_body_bytes(schema, products)


WIDE = FeatureSchema.from_mapping(STORED | {"productContext": {"features": [{"name": "v", "shape": [512]}]}})
PLAIN = FeatureSchema.from_mapping(STORED)


def test_narrow_schemas_keep_the_default_and_wide_ones_get_room() -> None:
    settings = Settings()
    assert with_body_limit(settings, [PLAIN]) == settings
    assert with_body_limit(settings, [PLAIN, WIDE]).max_body_bytes == largest_body_bytes(WIDE, 1000) > 14_000_000


def test_many_products_have_room_for_their_ids() -> None:
    assert with_body_limit(Settings(max_products=100_000), [PLAIN]).max_body_bytes > 100_000 * MAX_ID_LENGTH


def test_limit_that_is_set_holds_and_no_body_is_larger_than_all_may_be() -> None:
    assert with_body_limit(Settings(max_body_bytes=1 << 20), [WIDE]).max_body_bytes == 1 << 20
    assert with_body_limit(Settings(max_buffered_mb=4), [WIDE]).max_body_bytes == 4 << 20
