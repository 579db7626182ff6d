"""A schema with groups under keys of every kind, and how to write their vectors."""

from __future__ import annotations

from typing import Any

from redis import Redis

from ranker import FeatureWriter
from ranker.vectors.schema import FeatureSchema

DATA: dict[str, Any] = {
    "user": {"features": ["age", {"name": "segment", "type": "category", "vocabulary": ["new", "vip"]}]},
    "product": {
        "features": [
            "price",
            {"name": "seller_id", "type": "int64"},
            {"name": "category", "type": "text", "length": 12, "missing": "default", "default": ""},
        ]
    },
    "context": {"features": [{"name": "store", "type": "text", "length": 8, "default": "main"}, "hour"]},
    "productContext": {"features": ["position"]},
    "groups": {
        "user_live": {"per": "user", "key": "user:live:{userId}", "ttl_s": 30, "features": ["clicks_1h", "carts_1h"]},
        "seller": {
            "per": "product",
            "key": "seller:{product.seller_id}",
            "features": ["rating", {"name": "tier", "type": "category", "vocabulary": ["a", "b"], "default": 1}],
        },
        "affinity": {
            "per": "product",
            "key": "aff:{userId}:{product.category}",
            "features": [{"name": "ctr_30d", "default": 0.5}],
        },
        "shop": {"per": "user", "key": "shop:{context.store}:{user.segment}", "features": ["open"]},
        "stock": {"per": "product", "key": "stock:{productId}", "format": "hash", "features": ["left"]},
    },
}
SCHEMA = FeatureSchema.from_mapping(DATA)


def fill(client: Redis, url: str, schema: FeatureSchema = SCHEMA) -> None:
    """Write a user, and three products of two sellers and two categories, with what their groups hold."""
    import pandas as pd

    client.flushall()
    with FeatureWriter(url, schema) as writer:
        writer.write_users(["u"], pd.DataFrame({"age": [30.0], "segment": ["vip"]}))
        products = {
            "price": [1.0, 2.0, 3.0],
            "seller_id": [1 << 40, 7, 1 << 40],
            "category": ["shoes", "hats", "shoes"],
        }
        writer.write_products(["a", "b", "c"], pd.DataFrame(products))
        writer.write_group("user_live", ["u"], pd.DataFrame({"clicks_1h": [5.0], "carts_1h": [2.0]}))
        writer.write_group("seller", [str(1 << 40)], pd.DataFrame({"rating": [4.5], "tier": ["a"]}))
        writer.write_group("affinity", ["u:shoes"], pd.DataFrame({"ctr_30d": [0.25]}))
        writer.write_group("shop", ["main:vip"], pd.DataFrame({"open": [1.0]}))
    client.hset("stock:a", "left", "9")
