"""What two models have in common: their schemas, and the order they give to real features in a real Redis."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result
from redis import Redis

from ranker.cli.model.group import model
from ranker.redis.clients import connect
from ranker.scoring.loaded import LoadedModel
from ranker.upkeep.comparison import graph_differences, schema_differences, stored_agreement, synthetic_agreement
from ranker.vectors.schema import FeatureSchema
from ranker.vectors.stored.encoding import encode
from tests.support.models import loaded_model, mlp_onnx, temporary_model_store

PRODUCTS = 60


def schema(key: str, *products: object, user: Sequence[str] = ("age",), **groups: object) -> FeatureSchema:
    return FeatureSchema.model_validate(
        {
            "user": {"key": f"{key}:user:{{id}}", "features": list(user)},
            "product": {"key": f"{key}:product:{{id}}", "features": list(products)},
            **groups,
        }
    )


OLD = schema("cmp1", "price", "margin")
NEW = schema("cmp2", "margin", "price", {"name": "stock", "default": 3})


@pytest.fixture
def store(redis_url: str) -> Iterator[Redis]:
    random = np.random.default_rng(3)
    with Redis.from_url(redis_url) as client:
        for found in (OLD, NEW):
            values = random.normal(size=(PRODUCTS, found.product.width)).astype(np.float32)
            for i, vector in enumerate(encode(values, found.fingerprint)):
                client.set(found.product.key.format(id=i), vector)
            client.set(found.user.key.format(id="u"), encode(np.ones((1, 1), np.float32), found.fingerprint)[0])
        yield client
        for key in client.scan_iter("cmp*"):
            client.delete(key)


def test_a_nan_that_stays_is_no_difference() -> None:
    nan = schema("cmp1", "price", {"name": "margin", "missing": "nan"})
    assert list(schema_differences(nan, nan)) == []
    assert list(schema_differences(OLD, nan)) == [
        "product: other defaults: margin 0 -> nan",
        "product: read otherwise: margin",
    ]


def test_differences_are_told_one_by_one() -> None:
    assert list(schema_differences(OLD, OLD)) == []
    assert list(schema_differences(OLD, NEW)) == [
        "user: key cmp1:user:{id} -> cmp2:user:{id}",
        "product: key cmp1:product:{id} -> cmp2:product:{id}",
        "product: added stock",
        "product: in another order",
    ]
    other = schema("cmp1", "price", {"name": "margin", "default": 2}, context={"features": ["hour"]})
    assert list(schema_differences(OLD, other)) == [
        "product: other defaults: margin 0 -> 2",
        "context: added altogether",
    ]
    assert list(schema_differences(other, OLD))[-1] == "context: removed altogether"
    assert list(graph_differences(loaded_model(mlp_onnx(3), OLD), loaded_model(mlp_onnx(4), NEW))) == [
        "inputs: features (n, 3) float32 -> features (n, 4) float32"
    ]


def test_differences_in_what_the_graph_takes_and_gives_are_told() -> None:
    def saying(**said: Any) -> FeatureSchema:
        return FeatureSchema.from_mapping(OLD.to_metadata() | said)

    assert list(schema_differences(saying(score="ctr * cvr"), saying(score="ctr + cvr"))) == [
        "score: ctr * cvr -> ctr + cvr"
    ]
    assert list(schema_differences(OLD, saying(rows="together"))) == ["rows: independent -> together"]
    ordered = saying(columns=["price", "margin", "user"])
    assert list(schema_differences(ordered, OLD)) == ['columns: ["price", "margin", "user"] -> unset']
    mask = saying(inputs={"x": ["price", "margin"], "m": "user"})
    assert list(schema_differences(OLD, mask)) == ['inputs: unset -> {"x": ["price", "margin"], "m": "user"}']
    assert list(schema_differences(OLD, saying(output="y"))) == ["output: unset -> y"]


def test_differences_of_groups_and_of_feasts_views_are_told() -> None:
    group = {"per": "user", "key": "live:{userId}", "features": ["clicks"]}
    feast = {"project": "p", "view": "v", "join_key": "id"}

    def with_group(**changed: Any) -> FeatureSchema:
        return FeatureSchema.from_mapping(OLD.to_metadata() | {"groups": {"live": group | changed}})

    of_feast = {"key": "{userId}", "format": "feast", "feast": feast}
    assert list(schema_differences(with_group(), with_group(ttl_s=30))) == ["live: ttl_s unset -> 30.0"]
    assert list(schema_differences(with_group(), with_group(**of_feast))) == [
        "live: key live:{userId} -> {userId}",
        "live: format ranker -> feast",
        "live: feast.project unset -> p",
        "live: feast.view unset -> v",
        "live: feast.join_key unset -> id",
    ]
    expiring = of_feast | {"feast": feast | {"ttl_s": 60}}
    assert list(schema_differences(with_group(**of_feast), with_group(**expiring))) == [
        "live: feast.ttl_s unset -> 60.0"
    ]


def test_model_agrees_wholly_with_itself(store: Redis, redis_url: str) -> None:
    one = loaded_model(mlp_onnx(3), OLD)
    client = connect(redis_url)
    agreement = stored_agreement(client, one, one, requests=20, products=30, top_k=5)
    client.close()
    assert agreement is not None
    assert (agreement.requests, agreement.products, agreement.ordered) == (20, 30, 20)
    assert agreement.correlation == pytest.approx(1)
    assert agreement.overlap == 1
    assert agreement.missing == (0, 0)


def test_each_model_reads_its_own_keys_and_misses_are_told(store: Redis, redis_url: str) -> None:
    for i in range(PRODUCTS // 2):
        store.delete(NEW.product.key.format(id=i))
    client = connect(redis_url)
    models = loaded_model(mlp_onnx(3), OLD), loaded_model(mlp_onnx(4), NEW)
    agreement = stored_agreement(client, *models, requests=5, products=PRODUCTS, top_k=10)
    client.close()
    assert agreement is not None
    assert agreement.missing == (0, 0.5)
    assert abs(agreement.correlation) < 0.9


def test_same_names_get_the_same_made_up_values_whatever_their_order() -> None:
    turned = schema("cmp1", "margin", "price")
    weights = {"age": 0.5, "price": 2.0, "margin": -1.0}
    models = [linear(found, weights) for found in (OLD, turned)]
    agreement = synthetic_agreement(*models, requests=10, products=40, top_k=10)
    assert agreement.correlation == pytest.approx(1)


def linear(found: FeatureSchema, weights: dict[str, float]) -> LoadedModel:
    from onnx import TensorProto, helper, numpy_helper

    names = [*found.user.names, *found.product.names]
    matrix = np.array([[weights[name]] for name in names], np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["features", "w"], ["scores"])],
        "linear",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", len(names)])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 1])],
        [numpy_helper.from_array(matrix, "w")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return loaded_model(made.SerializeToString(), found)


# --- the command --------------------------------------------------------------------------------------------------


@pytest.fixture
def tags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, redis_url: str) -> Iterator[tuple[str, str]]:
    monkeypatch.setenv("RANKER_REDIS_URL", redis_url)
    (tmp_path / "store").mkdir()
    with temporary_model_store(tmp_path / "store"):
        for version, found in enumerate((OLD, NEW), 1):
            (tmp_path / "model.onnx").write_bytes(mlp_onnx(found.width))
            (tmp_path / "schema.yaml").write_text(yaml.safe_dump(found.to_metadata(), sort_keys=False))
            files = (str(tmp_path / "model.onnx"), "--schema", str(tmp_path / "schema.yaml"))
            done = CliRunner().invoke(model, ["import", *files, "--name", "cmp", "--version", str(version)])
            assert done.exit_code == 0, done.output
        yield "cmp:1", "cmp:2"


def diff(*arguments: str) -> Result:
    return CliRunner().invoke(model, ["diff", "--requests", "5", *arguments])


def test_command_tells_differences_and_agreement(store: Redis, tags: tuple[str, str]) -> None:
    done = diff(*tags, "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert [told[side]["tag"] for side in "ab"] == list(tags)
    assert told["a"]["fingerprint"] == f"{OLD.fingerprint:08x}"
    assert "product: added stock" in told["differences"]
    assert told["agreement"]["products"] == PRODUCTS
    assert "product: in another order" in diff(*tags).stdout


def test_command_fails_where_models_differ_more_than_asked_for(store: Redis, tags: tuple[str, str]) -> None:
    assert diff(tags[0], tags[0], "--min-correlation", "0.99", "--min-overlap", "1").exit_code == 0
    missed = diff(*tags, "--min-correlation", "0.99")
    assert missed.exit_code == 1
    assert "Too different: correlation" in missed.stderr
    assert diff(*tags, "--synthetic", "--min-overlap", "0").exit_code == 0


def test_command_compares_nothing_with_an_empty_store(tags: tuple[str, str]) -> None:
    done = diff(*tags)
    assert done.exit_code == 0
    assert "nothing" in done.stdout
    assert diff(*tags, "--min-overlap", "0").exit_code == 1
