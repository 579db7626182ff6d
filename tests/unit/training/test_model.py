"""Stored models offline: frames to the rows that are served, rankings as they are served, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from onnx import helper, numpy_helper

import ranker
from ranker import Model, import_model
from ranker.errors import (
    DuplicateProducts,
    InvalidRequest,
    InvalidRows,
    ModelNotFound,
    ModelRejected,
    NoIds,
    UnknownLists,
    WrongColumn,
    WrongColumns,
    WrongMatrix,
)
from ranker.scoring.model import OnnxModel
from ranker.vectors.schema import FeatureSchema
from tests.support.models import mlp_onnx, onnx_bytes, temporary_model_store, tensor
from tests.support.sample import SCHEMA

# An import that compares nothing says so.
pytestmark = pytest.mark.filterwarnings("ignore:Nothing was compared")

RICH = FeatureSchema.from_mapping(
    {
        "user": {"features": ["age"]},
        "product": {"features": ["price", {"name": "stock", "missing": "nan"}]},
        "context": {
            "features": [
                {"name": "hour", "default": 12},
                {"name": "device", "categories": {"ios": 1, "android": 2}, "default": 9},
            ]
        },
        "productContext": {"features": [{"name": "shelf", "categories": {"top": 5}, "default": -1}, "age"]},
    }
)


@pytest.fixture(autouse=True)
def store(tmp_path: Path) -> Iterator[None]:
    with temporary_model_store(tmp_path):
        yield


def imported(schema: FeatureSchema = SCHEMA) -> tuple[Model, OnnxModel]:
    """A stored model, and the same graph scored by itself."""
    graph = mlp_onnx(schema.width)
    return import_model(graph, schema, name="shoes", version="2"), OnnxModel(graph, schema)


FRAME = pd.DataFrame(
    {
        "product.age": [1.0, 2.0, 3.0],
        "stock": [4, 5, 6],
        "price": [0.5, 0.25, 0.75],
        "spend": np.array([7, 7, 8], np.float32),
        "user.age": [30, 40, 50],
        "clicked": ["yes", "no", "no"],
    }
)
MATRIX = FRAME[["user.age", "spend", "price", "stock", "product.age"]].to_numpy(np.float32)


def test_imported_model_is_loaded_by_its_tag() -> None:
    model, _ = imported()
    assert model.tag == Model.load("shoes:2").tag == Model.load("shoes").tag == "shoes:2"
    assert Model.load("shoes:2").schema.fingerprint == SCHEMA.fingerprint
    assert repr(model) == "<Model shoes:2: 2 user, 3 product>"
    with pytest.raises(ModelNotFound, match="shoes:2"):
        Model.load("shoes:3")


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table, lambda columns: columns])
def test_frame_is_scored_by_the_names_of_its_columns(make: Any) -> None:
    model, graph = imported()
    given = make({name: FRAME[name].tolist() for name in FRAME.columns})
    np.testing.assert_array_equal(model.score(given), graph.score(MATRIX))
    np.testing.assert_array_equal(model.score(MATRIX), graph.score(MATRIX))


def test_many_rows_are_scored_in_parts_as_in_one() -> None:
    model, graph = imported()
    matrix = np.random.default_rng(0).normal(size=(4097, SCHEMA.width)).astype(np.float32)
    np.testing.assert_array_equal(model.score(matrix), graph.score(matrix))
    assert model.score(matrix[:0]).shape == (0,)


def test_name_of_two_groups_is_never_guessed() -> None:
    model, _ = imported()
    with pytest.raises(WrongColumns, match=r"product\.age"):
        model.score(FRAME.rename(columns={"product.age": "age"}))
    with pytest.raises(WrongColumns, match="price"):
        model.score(FRAME.drop(columns="price"))
    with pytest.raises(WrongColumns, match="price"):
        model.score(pd.concat([FRAME, FRAME[["price"]]], axis=1))


def test_what_could_not_be_stored_is_refused() -> None:
    model, _ = imported()
    with pytest.raises(InvalidRows, match="price is NaN, and the schema"):
        model.score(FRAME.assign(price=[1, np.nan, 2]))
    with pytest.raises(InvalidRows, match="stock"):
        model.score(FRAME.assign(stock=16_777_217))
    assert model.score(FRAME.assign(stock=16_777_217), allow_rounding=True).shape == (3,)
    with pytest.raises(WrongColumn, match="price"):
        model.score(FRAME.assign(price="cheap"))
    with pytest.raises(WrongMatrix):
        model.score(MATRIX[:, :4])


def test_context_in_a_frame_is_what_requests_would_bring() -> None:
    model, graph = imported(RICH)
    given = pd.DataFrame(
        {
            "user.age": [30.0] * 3,
            "price": [1.0, 2.0, 3.0],
            "stock": [np.nan, 1.0, 2.0],
            "hour": [3, np.nan, 5],
            "device": ["android", "fridge", None],
            "shelf": ["top", None, "bottom"],
            "productContext.age": [1, 2, 3],
        }
    )
    rows = [[30, 1, np.nan, 3, 2, 5, 1], [30, 2, 1, 12, 9, -1, 2], [30, 3, 2, 5, 9, -1, 3]]
    np.testing.assert_array_equal(model.score(given), graph.score(np.array(rows, np.float32)))
    with pytest.raises(WrongColumn, match="hour"):
        model.score(given.assign(hour="noon"))
    with pytest.raises(InvalidRows, match="hour"):
        model.score(given.assign(hour=np.inf))


def test_ranking_is_in_the_order_of_scores_and_named_by_ids() -> None:
    model, graph = imported()
    products = FRAME[["price", "stock", "product.age"]].assign(id=[10, 11, 12])
    scores = graph.score(np.hstack([np.tile([[30, 1.5]], (3, 1)), MATRIX[:, 2:]]).astype(np.float32))
    order = (-scores).argsort(kind="stable")
    for given in (
        products,
        products.set_index("id"),
        pl.from_pandas(products),
        products.rename(columns={"product.age": "age"}),
    ):
        ranking = model.rank({"age": 30, "spend": 1.5}, given)
        assert ranking.ids == [str(10 + i) for i in order]
        np.testing.assert_array_equal(ranking.scores, scores[order])
    best = model.rank(pd.DataFrame({"age": [30], "spend": [1.5]}), products, top_k=1).to_frame()
    assert best.to_dict("list") == {"id": [str(10 + order[0])], "score": [scores[order[0]]], "rank": [1]}


def test_products_that_were_not_found_rank_by_the_policy() -> None:
    model, graph = imported()
    products = FRAME[["price", "stock", "product.age"]].assign(id=["a", "b", "c"], status=["found", "missing", "found"])
    products.loc[1, "price"] = np.nan
    last = model.rank(None, products, missing_product="last")
    assert (last.ids[-1], last.missing) == ("b", ["b"])
    assert model.rank(None, products, missing_product="drop").missing == ["b"]
    default = model.rank(None, products)
    row = np.concatenate([SCHEMA.user.defaults, SCHEMA.product.defaults])[np.newaxis]
    assert default.scores[default.ids.index("b")] == pytest.approx(graph.score(row)[0], rel=1e-6)


def test_ranking_refuses_what_a_request_could_not_ask() -> None:
    model, _ = imported()
    products = FRAME[["price", "stock", "product.age"]].assign(id=["a", "b", "a"])
    with pytest.raises(DuplicateProducts, match="'a'"):
        model.rank(None, products)
    with pytest.raises(NoIds, match="sku"):
        model.rank(None, products, id_column="sku")
    with pytest.raises(InvalidRequest, match="colour"):
        model.rank(None, products.assign(id=["a", "b", "c"]), context={"colour": 1})
    with pytest.raises(WrongColumns, match="spend"):
        model.rank({"age": 30}, products.assign(id=["a", "b", "c"]))


def test_model_is_imported_from_whatever_holds_it(tmp_path: Path) -> None:
    graph, schema = mlp_onnx(SCHEMA.width), SCHEMA.to_metadata()
    file = tmp_path / "model.onnx"
    file.write_bytes(graph)

    class Proto:
        def SerializeToString(self) -> bytes:
            return graph

    tags = {import_model(onnx, schema, name="m").tag for onnx in (graph, file, str(file), Proto())}
    assert len(tags) == 1
    with pytest.raises(ModelRejected):
        import_model(mlp_onnx(3), schema, name="m")


def test_doubts_of_an_import_are_warnings() -> None:
    graph = onnx.load_from_string(mlp_onnx(SCHEMA.width))
    for weights in graph.graph.initializer:
        if weights.name == "w2":
            weights.CopyFrom(numpy_helper.from_array(np.zeros_like(numpy_helper.to_array(weights)), "w2"))
    with pytest.warns(UserWarning, match="the same score"):
        import_model(graph, SCHEMA, name="constant")


def test_import_compares_with_the_trainers_own_scores() -> None:
    graph = mlp_onnx(SCHEMA.width)
    own = OnnxModel(graph, SCHEMA).score(MATRIX)
    model = import_model(graph, SCHEMA, name="m", check=pl.from_pandas(FRAME.assign(y=own)), score_column="y")
    assert model.tag.startswith("m:")
    swapped = FRAME.assign(y=OnnxModel(graph, SCHEMA).score(MATRIX[:, [0, 1, 3, 2, 4]]))
    with pytest.raises(ModelRejected, match="otherwise than its trainer"):
        import_model(graph, SCHEMA, name="other", check=swapped, score_column="y")
    with pytest.raises(ModelNotFound):
        Model.load("other")
    with pytest.warns(UserWarning, match="Nothing was compared"):
        import_model(graph, SCHEMA, name="m")
    with pytest.raises(TypeError, match="go together"):
        import_model(graph, SCHEMA, name="m", check=FRAME)


def test_lists_that_are_scored_together_are_never_mixed_nor_guessed() -> None:
    nodes = [
        helper.make_node("ReduceSum", ["features", "axes"], ["sum"], keepdims=1),
        helper.make_node("ReduceMean", ["sum"], ["mean"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["sum", "mean"], ["scores"]),
    ]
    width = SCHEMA.width
    graph = onnx_bytes(nodes, [tensor("features", ["n", width])], [tensor("scores", ["n", 1])], {"axes": np.array([1])})
    model = import_model(graph, SCHEMA.to_metadata() | {"rows": "together"}, name="slate", version="1")
    frame = FRAME.assign(page=["a", "b", "a"])
    sums = MATRIX.sum(axis=1)
    expected = [sums[0] - (sums[0] + sums[2]) / 2, 0, sums[2] - (sums[0] + sums[2]) / 2]
    np.testing.assert_allclose(model.score(frame, list_column="page"), expected, rtol=1e-5)
    for given in (frame, MATRIX):
        with pytest.raises(UnknownLists, match="slate:1"):
            model.score(given)
    products = FRAME[["price", "stock", "product.age"]].assign(id=["a", "b", "c"])
    scores = model.rank({"age": 1, "spend": 2}, products).scores
    assert scores.sum() == pytest.approx(0, abs=1e-5)


def test_users_features_may_be_vectors() -> None:
    schema = {"user": {"features": [{"name": "taste", "shape": [2]}]}, "product": {"features": ["price"]}}
    graph = mlp_onnx(3)
    model = import_model(graph, schema, name="vectors")
    products = pd.DataFrame({"id": ["a", "b"], "price": [1.0, 2.0]})
    expected = OnnxModel(graph, model.schema).score(np.array([[3, 4, 1], [3, 4, 2]], np.float32))
    assert sorted(model.rank({"taste": [3, 4]}, products).scores) == pytest.approx(sorted(expected))
    frame = pd.DataFrame({"taste": [[3, 4], np.array([3.0, 4.0])], "price": [1.0, 2.0]})
    np.testing.assert_array_equal(model.score(frame), expected)


def test_public_names_are_listed_and_there() -> None:
    assert set(ranker.__all__) <= set(dir(ranker))
    assert all(getattr(ranker, name) is not None for name in ranker.__all__)
    with pytest.raises(AttributeError):
        _ = ranker.nothing
