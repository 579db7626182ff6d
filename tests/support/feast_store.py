"""What a real Feast wrote into Redis, kept by `tests/golden/write_feast.py`, and a schema that reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from redis import Redis

from ranker.vectors.schema import FeatureSchema

GOLDEN = Path(__file__).parent.parent / "golden" / "feast.json"
DATA: dict[str, Any] = {
    "user": {
        "format": "feast",
        "feast": {"project": "shop", "view": "user_stats", "join_key": "user_id"},
        "features": [
            {"name": "age", "missing": "nan"},
            "spend",
            {"name": "clicks", "type": "int32"},
            {"name": "member", "type": "bool"},
            {"name": "city", "type": "text", "length": 8},
            {"name": "taste", "shape": [2]},
            {"name": "viewed", "type": "product", "length": 3},
            {"name": "seen_at", "type": "int64"},
            {"name": "tags", "type": "category", "vocabulary": ["a", "b"], "length": 2},
        ],
    },
    "product": {
        "format": "feast",
        "feast": {"project": "shop", "view": "product_stats", "join_key": "product_id", "type": "int64"},
        "features": ["price", {"name": "stock", "default": 7}],
    },
    "context": {"features": [{"name": "seller", "type": "int32"}]},
    "groups": {
        "seller": {
            "per": "user",
            "key": "{context.seller}",
            "format": "feast",
            "feast": {"project": "shop", "view": "seller_stats", "join_key": "seller_id", "type": "int32"},
            "features": ["rating"],
        }
    },
}
SCHEMA = FeatureSchema.from_mapping(DATA)
SEVERAL: dict[str, Any] = {
    "product": {"features": ["price"]},
    "context": {"features": [{"name": "category", "type": "text", "length": 16}, {"name": "seller", "type": "int32"}]},
    "groups": {
        "affinity": {
            "per": "user",
            "key": "user_id={userId},category={context.category}",
            "format": "feast",
            "feast": {"project": "shop", "view": "affinity", "join_keys": {"user_id": "string", "category": "string"}},
            "features": ["ctr"],
        },
        "offers": {
            "per": "product",
            "key": "user_id={userId},product_id={productId},seller_id={context.seller}",
            "format": "feast",
            "feast": {
                "project": "shop",
                "view": "offers",
                "join_keys": {"user_id": "string", "product_id": "int64", "seller_id": "int32"},
            },
            "features": ["offer"],
        },
    },
}
"""Views of several join keys."""
_WRITTEN: dict[str, Any] = json.loads(GOLDEN.read_text())
KEYS: dict[str, dict[str, str]] = _WRITTEN["keys"]
"""Key → field → value, in hexadecimal."""
EXPIRED: dict[str, Any] = _WRITTEN["expired"]
"""What Feast itself gave for a row whose view's TTL had passed."""


def fill(client: Redis) -> None:
    client.flushall()
    for key, fields in KEYS.items():
        mapping = {bytes.fromhex(field): bytes.fromhex(value) for field, value in fields.items()}
        client.hset(bytes.fromhex(key), mapping=mapping)  # type: ignore[arg-type]  # bytes are fields, too
