"""Features as frames: written by name, read back as the service reads them."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from redis import Redis

from ranker import AsyncFeatureWriter, FeatureReader, FeatureWriter
from ranker.errors import InvalidRows, NameTaken, NoIds, NoSuchLibrary, WrongColumns
from ranker.vectors.schema import FeatureSchema
from tests.support.sample import SCHEMA

FRAME = pd.DataFrame({"stock": [3, 4], "id": ["a", "b"], "age": [1.5, 2.5], "price": [9.0, 8.0]})


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table])
def test_frame_is_written_by_name_and_read_back(redis_client: Redis, redis_url: str, make: Any) -> None:
    with FeatureWriter(redis_url, SCHEMA) as writer:
        writer.write_frame(make({name: FRAME[name].tolist() for name in FRAME.columns}), entity="product")
        writer.write_frame(make({"id": [7], "spend": [2.0], "age": [30]}), entity="user")
    redis_client.set("product:odd", b"no vector")
    with FeatureReader(redis_url, SCHEMA) as reader:
        products, users = reader.read_products(["b", "none", "a", "odd"]), reader.read_users([7])
    assert list(products.columns) == ["id", "price", "stock", "age", "status"]
    assert products.status.tolist() == ["found", "missing", "found", "corrupt"]
    np.testing.assert_array_equal(products.price, np.array([8, np.nan, 9, np.nan], np.float32))
    np.testing.assert_array_equal(products.stock, np.array([4, np.nan, 3, np.nan], np.float32))
    assert products.price.dtype == np.float32
    assert users.to_dict("records") == [{"id": "7", "age": 30.0, "spend": 2.0, "status": "found"}]


def test_ids_may_be_the_index_and_async_writes_the_same(redis_client: Redis, redis_url: str) -> None:
    async def write() -> None:
        async with AsyncFeatureWriter(redis_url, SCHEMA) as writer:
            await writer.write_frame(
                FRAME.rename(columns={"id": "sku"}).set_index("sku"), entity="product", id_column="sku"
            )

    asyncio.run(write())
    assert FeatureReader(redis_url, SCHEMA).rows("product", ["a", "b"]).values[:, 0].tolist() == [9, 8]


def test_frame_that_does_not_fit_is_refused(redis_client: Redis, redis_url: str) -> None:
    with FeatureWriter(redis_url, SCHEMA) as writer:
        for frame, error, match in (
            (FRAME.assign(colour=1), WrongColumns, "colour"),
            (FRAME.drop(columns="price"), WrongColumns, "price"),
            (FRAME.drop(columns="id"), NoIds, "'id'"),
            (FRAME.assign(id=[1.5, 2.5]), InvalidRows, "no string"),
        ):
            with pytest.raises(error, match=match):
                writer.write_frame(frame, entity="product")
    assert redis_client.dbsize() == 0


def test_typed_features_are_written_and_read_as_values(redis_client: Redis, redis_url: str) -> None:
    schema = FeatureSchema.from_mapping(
        {
            "user": {"features": ["age"]},
            "product": {
                "features": [
                    "price",
                    {"name": "taste", "shape": [2]},
                    {"name": "kind", "type": "category", "vocabulary": ["hat", "shoe"]},
                    {"name": "seen", "type": "product", "length": 3},
                    {"name": "made_at", "type": "int64"},
                ]
            },
        }
    )
    rows = {
        "id": ["a"],
        "price": [9.5],
        "taste": [[1.0, 2.0]],
        "kind": ["shoe"],
        "seen": [[7, 8]],
        "made_at": [1 << 60],
    }
    with FeatureWriter(redis_url, schema) as writer:
        writer.write_frame(pd.DataFrame(rows), entity="product")
    with FeatureReader(redis_url, schema) as reader:
        read = reader.read_products(["a", "none"])
    assert {name: column[:1] for name, column in read.to_dict("list").items()} == {**rows, "status": ["found"]}
    assert read.loc[1, ["taste", "kind", "seen", "made_at"]].isna().all()


def test_integers_stay_exact_beside_rows_that_are_not_found_and_are_written_again(
    redis_client: Redis, redis_url: str
) -> None:
    features = [{"name": "made_at", "type": "int64", "missing": "default"}, {"name": "kin", "type": "int32"}]
    schema = FeatureSchema.from_mapping({"user": {"features": ["age"]}, "product": {"features": features}})
    exact = (1 << 60) + 1
    with FeatureWriter(redis_url, schema) as writer, FeatureReader(redis_url, schema) as reader:
        writer.write_frame(pd.DataFrame({"id": ["a"], "made_at": [exact], "kin": [7]}), entity="product")
        writer.flush()
        read = reader.read_products(["a", "none"])
        assert read.made_at.tolist() == [exact, pd.NA]
        writer.write_frame(read.drop(columns="status").assign(id=["b", "c"], kin=[8, 9]), entity="product")
        writer.flush()
        again = reader.read_products(["b", "c"])
    assert (again.made_at.tolist(), again.kin.tolist()) == ([exact, 0], [8, 9])


@pytest.mark.parametrize(
    ("library", "kind"), [("pandas", pd.DataFrame), ("polars", pl.DataFrame), ("pyarrow", pa.Table)]
)
def test_frame_is_of_the_library_that_is_asked_for(
    redis_client: Redis, redis_url: str, library: Any, kind: type
) -> None:
    with FeatureReader(redis_url, SCHEMA, library=library) as reader:
        assert isinstance(reader.read_products(["a"]), kind)
        assert len(reader.read_products([])) == 0


def test_columns_beside_the_features_take_no_features_place(redis_url: str) -> None:
    schema = FeatureSchema.from_mapping({"user": {"features": ["status"]}, "product": {"features": ["x"]}})
    with pytest.raises(NameTaken, match="status"):
        FeatureReader(redis_url, schema).read_users(["u"])
    with pytest.raises(NoSuchLibrary, match="modin"):
        FeatureReader(redis_url, schema, library="modin").read_products(["p"])  # type: ignore[arg-type]
