"""What real keys would make of a model is known before it serves: ids that a table lacks, and rows that mix."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from onnx import TensorProto, helper
from redis import Redis

from ranker import FeatureWriter
from ranker.cli.model.group import model
from ranker.errors import ModelRejected
from ranker.importing.compile import compile_graph
from ranker.redis.clients import connect
from ranker.scoring.model import OnnxModel
from ranker.upkeep.stored_trial import try_stored
from ranker.vectors.schema import FeatureSchema
from ranker.vectors.stored.encoding import encode
from tests.support.models import mlp_onnx, onnx_bytes, temporary_model_store, tensor

SCHEMA = FeatureSchema.from_mapping(
    {
        "user": {"key": "trial:u:{id}", "features": ["age"]},
        "product": {"key": "trial:p:{id}", "features": ["item_id", "price"]},
    }
)
PRODUCTS = 100
TABLE = 90


def embedding() -> bytes:
    """A score that looks an id up in a table of 90 rows."""
    nodes = [
        helper.make_node("Gather", ["features", "first"], ["column"], axis=1),
        helper.make_node("Cast", ["column"], ["id"], to=7),
        helper.make_node("Gather", ["table", "id"], ["scores"]),
    ]
    constants = {"first": np.array(1), "table": np.arange(TABLE, dtype=np.float32)}
    return onnx_bytes(nodes, [tensor("features", ["n", 3])], [tensor("scores", ["n"])], constants)


@pytest.fixture
def store(redis_url: str) -> Iterator[Redis]:
    values = np.stack([np.arange(PRODUCTS), np.ones(PRODUCTS)], axis=1).astype(np.float32)
    with Redis.from_url(redis_url) as client:
        for i, vector in enumerate(encode(values, SCHEMA.fingerprint)):
            client.set(f"trial:p:{i}", vector)
        client.set("trial:u:u", encode(np.ones((1, 1), np.float32), SCHEMA.fingerprint)[0])
        yield client
        for key in client.scan_iter("trial*"):
            client.delete(key)


def test_ids_that_a_table_lacks_are_found_before_the_model_serves(store: Redis, redis_url: str) -> None:
    client = connect(redis_url)
    with pytest.raises(ModelRejected, match=r"10 of 100 stored products .* for the user u: of item_id, 9\d is beyond"):
        try_stored(client, OnnxModel(embedding(), SCHEMA), 200)
    for i in range(TABLE, PRODUCTS):
        store.delete(f"trial:p:{i}")
    trial = try_stored(client, OnnxModel(embedding(), SCHEMA), 200)
    assert str(trial) == "90 stored products, 90 different scores"
    client.close()


def test_negative_ids_that_the_service_would_not_use_are_found(store: Redis, redis_url: str) -> None:
    """ONNX Runtime counts them from the table's end."""
    for i in range(TABLE, PRODUCTS):
        store.delete(f"trial:p:{i}")
    store.set("trial:p:7", encode(np.float32([[-1, 1]]), SCHEMA.fingerprint)[0])
    client = connect(redis_url)
    said = r"1 of 90 stored products cannot be scored, such as 7 for the user u: of item_id, -1 is beyond 0 to 89\."
    with pytest.raises(ModelRejected, match=said):
        try_stored(client, OnnxModel(embedding(), SCHEMA), 200)
    client.close()


def test_ids_in_the_history_of_one_of_several_users_are_found(redis_client: Redis, redis_url: str) -> None:
    schema = FeatureSchema.from_mapping(
        {"user": {"features": [{"name": "viewed", "type": "product", "length": 2}]}, "product": {"features": ["price"]}}
    )
    nodes = [
        helper.make_node("Gather", ["table", "viewed"], ["found"]),
        helper.make_node("ReduceSum", ["found", "axis"], ["history"], keepdims=1),
        helper.make_node("Add", ["history", "price"], ["scores"]),
    ]
    constants = {"table": np.arange(TABLE, dtype=np.float32), "axis": np.array([1])}
    inputs = [tensor("viewed", ["n", 2], TensorProto.INT64), tensor("price", ["n", 1])]
    content = onnx_bytes(nodes, inputs, [tensor("scores", ["n", 1])], constants)
    redis_client.flushall()
    with FeatureWriter(redis_url, schema) as writer:
        writer.write_users([f"u{i}" for i in range(12)], pd.DataFrame({"viewed": [[1]] * 12}))
        writer.write_users(["u5"], pd.DataFrame({"viewed": [[3, TABLE]]}))
        writer.write_products([f"p{i}" for i in range(24)], pd.DataFrame({"price": np.arange(24.0)}))
    client = connect(redis_url)
    with pytest.raises(
        ModelRejected, match=r"2 of 24 stored products .* for the user u5: of viewed, 90 is beyond 0 to"
    ):
        try_stored(client, OnnxModel(compile_graph(content, schema), schema), 24)
    client.close()


def test_products_without_usable_features_are_counted(store: Redis, redis_url: str) -> None:
    store.set("trial:p:3", b"no vector")
    client = connect(redis_url)
    trial = try_stored(client, OnnxModel(mlp_onnx(3), SCHEMA), 1000)
    assert trial is not None
    assert (trial.products, trial.without_features, trial.not_finite) == (PRODUCTS, 1, 0)
    client.close()


def test_nothing_stored_is_no_trial(redis_url: str) -> None:
    client = connect(redis_url)
    assert try_stored(client, OnnxModel(mlp_onnx(3), SCHEMA), 10) is None
    client.close()


def test_a_mixing_that_only_real_rows_show_is_refused(store: Redis, redis_url: str) -> None:
    """Above 50 of the ids, which near rows never reach and far ones miss, a row depends on the mean of all."""
    nodes = [
        helper.make_node("Gather", ["features", "first"], ["id"], axis=1),
        helper.make_node("Sub", ["id", "fifty"], ["from50"]),
        helper.make_node("Relu", ["from50"], ["above"]),
        helper.make_node("Min", ["above", "hundred"], ["bounded"]),
        helper.make_node("ReduceMean", ["bounded"], ["mean"], keepdims=0),
        helper.make_node("Sub", ["id", "mean"], ["scores"]),
    ]
    constants = {"first": np.array(1), "fifty": np.array(50, np.float32), "hundred": np.array(100, np.float32)}
    content = onnx_bytes(nodes, [tensor("features", ["n", 3])], [tensor("scores", ["n"])], constants)
    client = connect(redis_url)
    with pytest.raises(ModelRejected, match="depends on the rows scored with it"):
        try_stored(client, OnnxModel(compile_graph(content, SCHEMA), SCHEMA), 64)
    client.close()


def test_import_says_what_stored_keys_gave(
    store: Redis, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANKER_REDIS_URL", redis_url)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "schema.yaml").write_text(
        'user: {key: "trial:u:{id}", features: [age]}\nproduct: {key: "trial:p:{id}", features: [item_id, price]}\n'
    )
    (tmp_path / "store").mkdir()
    with temporary_model_store(tmp_path / "store"):
        assert "Stored keys  100 stored products" in " ".join(_import(tmp_path, mlp_onnx(3)).stdout.split("   "))
        refused = _import(tmp_path, embedding())
    assert refused.exit_code == 1
    assert refused.stderr.startswith("Error: 10 of 100 stored products cannot be scored")


def _import(folder: Path, content: bytes) -> Result:
    (folder / "model.onnx").write_bytes(content)
    arguments = ["import", "model.onnx", "--schema", "schema.yaml", "--name", "trial", "--check-keys", "500"]
    return CliRunner().invoke(model, arguments)
