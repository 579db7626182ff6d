"""Have a real Feast write its online store in Redis, and keep the bytes: `python write_feast.py HOST:PORT feast.json`.

Run once with `feast[redis]` installed, in an environment of its own, against an empty Redis; 0.67.0 wrote what is kept.
"""

from __future__ import annotations

import json
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import feast
import pandas as pd
import redis
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.types import Array, Bool, Float32, Float64, Int32, Int64, String, UnixTimestamp

AT = datetime(2026, 1, 2, 3, 4, 5)


def main(address: str, target: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        config = RepoConfig(
            project="shop",
            provider="local",
            registry=f"{folder}/registry.db",
            entity_key_serialization_version=3,
            online_store={"type": "redis", "connection_string": address},
            offline_store={"type": "file"},
        )
        store = FeatureStore(config=config)
        source = FileSource(path=f"{folder}/none.parquet", timestamp_field="at")
        user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
        product = Entity(name="product", join_keys=["product_id"], value_type=ValueType.INT64)
        seller = Entity(name="seller", join_keys=["seller_id"], value_type=ValueType.INT32)
        pd.DataFrame(
            {
                **{"at": [AT], "user_id": ["u"], "product_id": [1], "seller_id": pd.array([7], "int32")},
                **{"age": [1.0], "spend": [1.0], "clicks": [1], "member": [True], "city": ["x"], "taste": [[1.0]]},
                **{"viewed": [[1]], "seen_at": [AT], "price": [1.0], "tags": [["a"]], "rating": [1.0]},
                **{"category": ["x"], "ctr": [1.0], "stock": [1.0], "offer": [1.0]},
            }
        ).to_parquet(f"{folder}/none.parquet")
        users = {"age": Float32, "spend": Float64, "clicks": Int32, "member": Bool, "city": String}
        users |= {"taste": Array(Float32), "viewed": Array(Int64), "seen_at": UnixTimestamp, "tags": Array(String)}
        category = Entity(name="category", join_keys=["category"], value_type=ValueType.STRING)
        views = [
            ("user_stats", [user], users),
            ("product_stats", [product], {"price": Float32, "stock": Float32}),
            ("seller_stats", [seller], {"rating": Float32}),
            ("affinity", [user, category], {"ctr": Float32}),
            ("offers", [user, seller, product], {"offer": Float64}),
        ]
        made = [
            FeatureView(
                name=name,
                entities=entities,
                ttl=timedelta(days=1),
                schema=[Field(name=field, dtype=kind) for field, kind in fields.items()],
                source=source,
                online=True,
            )
            for name, entities, fields in views
        ]
        store.apply([user, product, seller, category, *made])
        whole = {"age": [30.5, None], "spend": [12.25, 0.0], "clicks": [-3, 4], "member": [True, False]}
        whole |= {"city": ["Köln", ""], "taste": [[0.5, -1.0], [0.0, 0.0]], "viewed": [[1 << 40, -7], [1]]}
        whole |= {"seen_at": [AT, AT], "tags": [["a", "b"], ["b"]]}
        ids = {"user_id": ["u", "ü"], "at": [AT, AT]}
        store.write_to_online_store("user_stats", pd.DataFrame(ids | whole))
        products = {"product_id": [1, -2, 1 << 40], "at": [AT] * 3, "price": [9.5, 0.0, 3.0], "stock": [1.0, 2.0, None]}
        store.write_to_online_store("product_stats", pd.DataFrame(products))
        sellers = {"seller_id": pd.array([7], "int32"), "at": [AT], "rating": [4.5]}
        store.write_to_online_store("seller_stats", pd.DataFrame(sellers))
        keys = {"user_id": ["u", "u,v"], "category": ["shoes", "hats=1"], "at": [AT, datetime.now(UTC)]}
        store.write_to_online_store("affinity", pd.DataFrame(keys | {"ctr": [0.25, 0.5]}))
        keys = {"user_id": ["ü"], "seller_id": pd.array([-7], "int32"), "product_id": [1 << 40], "at": [AT]}
        store.write_to_online_store("offers", pd.DataFrame(keys | {"offer": [2.5]}))
        # Its TTL has passed by months.
        asked = {"features": ["product_stats:price"], "entity_rows": [{"product_id": 1}], "full_feature_names": False}
        read = store.get_online_features(**asked).proto.results[-1]
        expired = {"status": FieldStatus.Name(read.statuses[0]), "value": read.values[0].float_val}
    host, port = address.split(":")
    client = redis.Redis(host, int(port))
    kept = {key.hex(): {f.hex(): v.hex() for f, v in client.hgetall(key).items()} for key in sorted(client.keys())}
    target.write_text(json.dumps({"feast": feast.__version__, "expired": expired, "keys": kept}, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
