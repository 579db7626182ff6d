"""A suggested schema, its questions answered, imports the graph it was made from and scores as the graph does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import yaml
from onnx import TensorProto, helper

from ranker.importing.compile import compile_graph
from ranker.importing.suggestion import suggest
from ranker.scoring.model import OnnxModel
from ranker.vectors.feature.columns import Elements, to_columns
from ranker.vectors.schema import FeatureSchema
from tests.support.models import mlp_onnx, onnx_bytes, tensor
from tests.unit.importing.test_preamble import run
from tests.unit.scoring.test_model import quiet


def suggested(content: bytes) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load(suggest(content))
    return read


def columns_of(schema: FeatureSchema, elements: dict[str, Any]) -> np.ndarray:
    """The matrix of elements by feature; a sequence's are as many as are not zero."""
    parts = []
    for group in schema.groups.values():
        for feature in group.features:
            items = np.asarray(elements[feature.name])
            items = items.reshape(len(items), -1)
            parts.append(to_columns(feature, Elements(items, (items != 0).sum(1) if feature.is_sequence else None)))
    return np.concatenate(parts, axis=1)


def test_sklearns_pipeline_over_a_frame_with_texts_is_known_with_its_vocabularies() -> None:
    import pandas as pd
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

    random = np.random.default_rng(0)
    n = 200
    frame = pd.DataFrame(
        {
            "user_age": random.random(n, dtype=np.float32),
            "price": random.random(n, dtype=np.float32),
            "segment": random.choice(["new", "regular", "vip"], n),
            "brand": random.choice(["acme", "best", "core", "dash"], n),
            "stock": random.integers(0, 50, n),
        }
    )
    clicked = ((frame.user_age > 0.5) ^ (frame.segment == "vip") ^ (frame.brand == "acme")).astype(int)
    steps = [
        ("numbers", StandardScaler(), ["user_age", "price", "stock"]),
        ("hot", OneHotEncoder(handle_unknown="ignore"), ["segment"]),
        ("rank", OrdinalEncoder(), ["brand"]),
    ]
    types = [
        (name, StringTensorType([None, 1]) if name in ("segment", "brand") else Int64TensorType([None, 1]) if name == "stock" else FloatTensorType([None, 1]))  # noqa: E501 - as one writes it
        for name in frame.columns
    ]  # fmt: skip
    with quiet():
        pipeline = make_pipeline(ColumnTransformer(steps), LogisticRegression()).fit(frame, clicked)
        content = to_onnx(pipeline, initial_types=types).SerializeToString()
    found = suggested(content)
    categories = {
        f["name"]: f["vocabulary"]
        for part in ("user", "product")
        for f in found[part]["features"]
        if isinstance(f, dict) and f.get("type") == "category"
    }
    assert categories == {"segment": ["new", "regular", "vip"], "brand": ["acme", "best", "core", "dash"]}
    assert found["user"]["features"][0] == "user_age"
    schema = FeatureSchema.from_mapping(found)
    codes = {name: [texts.index(text) for text in frame[name]] for name, texts in categories.items()}
    matrix = columns_of(schema, {name: np.asarray(codes.get(name, frame[name]))[:, np.newaxis] for name in frame})
    scores = OnnxModel(compile_graph(content, schema), schema).score(matrix)
    with quiet():
        np.testing.assert_allclose(scores, pipeline.predict_proba(frame)[:, 1], atol=1e-5)


def dlrm_like() -> bytes:
    """Dense (n, 3) and two ids (n,) with their tables."""
    nodes = [
        helper.make_node("Gather", ["t1", "user_id"], ["e1"]),
        helper.make_node("Gather", ["t2", "item_id"], ["e2"]),
        helper.make_node("Concat", ["dense", "e1", "e2"], ["x"], axis=1),
        helper.make_node("MatMul", ["x", "w"], ["scores"]),
    ]
    random = np.random.default_rng(0)
    constants = {
        "t1": random.random((20, 4), dtype=np.float32),
        "t2": random.random((30, 4), dtype=np.float32),
        "w": random.random((11, 1), dtype=np.float32),
    }
    inputs = [tensor("dense", ["n", 3]), tensor("user_id", ["n"], TensorProto.INT64), tensor("item_id", ["n"], TensorProto.INT64)]  # fmt: skip # noqa: E501 - one look
    return onnx_bytes(nodes, inputs, [tensor("scores", ["n", 1])], constants)


def test_tables_of_ids_are_told_and_vectors_have_their_shape() -> None:
    text = suggest(dlrm_like())
    assert "user_id  # a table of 20 rows: 0 to 19" in text
    assert "item_id  # a table of 30 rows: 0 to 29" in text
    assert "{name: dense, shape: [3]}  # ? product's" in text
    schema = FeatureSchema.from_mapping(yaml.safe_load(text))
    random = np.random.default_rng(1)
    given = {"dense": random.random((9, 3), dtype=np.float32), "user_id": random.integers(0, 20, 9), "item_id": random.integers(0, 30, 9)}  # fmt: skip # noqa: E501 - one look
    scores = OnnxModel(compile_graph(dlrm_like(), schema), schema).score(columns_of(schema, given))
    np.testing.assert_allclose(scores, run(dlrm_like(), given), rtol=1e-5)


def din_like() -> bytes:
    """A history (n, 4) with its mask and a candidate (n,)."""
    nodes = [
        helper.make_node("Gather", ["t", "hist_item_id"], ["h"]),
        helper.make_node("Gather", ["t", "item_id"], ["c"]),
        helper.make_node("Unsqueeze", ["hist_mask", "last"], ["m"]),
        helper.make_node("Mul", ["h", "m"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "one"], ["u"], keepdims=0),
        helper.make_node("Mul", ["u", "c"], ["both"]),
        helper.make_node("ReduceSum", ["both", "one"], ["scores"], keepdims=0),
    ]
    constants = {"t": np.random.default_rng(0).random((50, 3), dtype=np.float32), "last": np.array([2]), "one": np.array([1])}  # fmt: skip # noqa: E501 - one look
    inputs = [
        tensor("hist_item_id", ["n", 4], TensorProto.INT64),
        tensor("hist_mask", ["n", 4]),
        tensor("item_id", ["n"], TensorProto.INT64),
    ]
    return onnx_bytes(nodes, inputs, [tensor("scores", ["n"])], constants)


def test_a_history_is_the_users_with_its_mask() -> None:
    found = suggested(din_like())
    assert found["user"]["features"] == [{"name": "hist_item_id", "type": "product", "length": 4}]
    assert found["inputs"] == {"hist_mask": {"mask": "hist_item_id"}}
    schema = FeatureSchema.from_mapping(found)
    history = np.array([[7, 8, 9, 0], [1, 0, 0, 0], [0, 0, 0, 0]])
    given = {"hist_item_id": history, "item_id": np.array([3, 4, 5])}
    scores = OnnxModel(compile_graph(din_like(), schema), schema).score(columns_of(schema, given))
    given["hist_mask"] = (history != 0).astype(np.float32)
    np.testing.assert_allclose(scores, run(din_like(), given), rtol=1e-5)


def test_two_heads_are_joined_by_a_formula_to_think_of() -> None:
    nodes = [helper.make_node("Identity", ["user"], ["ctr"]), helper.make_node("Identity", ["item"], ["cvr"])]
    heads = [tensor("ctr", ["n", 1]), tensor("cvr", ["n", 1])]
    content = onnx_bytes(nodes, [tensor("user", ["n", 1]), tensor("item", ["n", 1])], heads)
    assert "score: ctr * cvr  # ? or `output:` with one of them" in suggest(content)
    schema = FeatureSchema.from_mapping(suggested(content))
    assert OnnxModel(compile_graph(content, schema), schema).score(np.array([[3, 5]], np.float32)).tolist() == [15]


def test_a_user_given_once_and_a_slate_go_together() -> None:
    nodes = [
        helper.make_node("MatMul", ["user", "w"], ["u"]),
        helper.make_node("Reshape", ["u", "column"], ["uc"]),
        helper.make_node("MatMul", ["candidates", "uc"], ["s"]),
        helper.make_node("Squeeze", ["s", "last"], ["scores"]),
    ]
    inputs = [tensor("user", [1, 2]), tensor("candidates", [1, "n", 3])]
    constants = {"w": np.ones((2, 3), np.float32), "column": np.array([3, 1]), "last": np.array([2])}
    content = onnx_bytes(nodes, inputs, [tensor("scores", [1, "n"])], constants)
    text = suggest(content)
    assert "rows: together  # ? candidates takes a whole list" in text
    schema = FeatureSchema.from_mapping(yaml.safe_load(text))
    rows = np.array([[1, 2, 3, 4, 5], [1, 2, 6, 7, 8]], np.float32)
    scores = OnnxModel(compile_graph(content, schema), schema).score(rows)
    np.testing.assert_allclose(scores, run(content, {"user": rows[:1, :2], "candidates": rows[np.newaxis, :, 2:]}))


def test_the_columns_of_a_matrix_are_left_to_name_in_their_order() -> None:
    text = suggest(mlp_onnx(3))
    found = yaml.safe_load(text)
    assert found["columns"] == ["feature_0", "feature_1", "feature_2"] == found["product"]["features"]
    assert "features: []  # ? move here what is the user's; a schema needs one" in text
    found["user"]["features"].append(found["product"]["features"].pop(1))
    schema = FeatureSchema.from_mapping(found)
    row = np.array([[2, 1, 3]], np.float32)  # feature_1, feature_0, feature_2
    scores = OnnxModel(compile_graph(mlp_onnx(3), schema), schema).score(row)
    np.testing.assert_allclose(scores, run(mlp_onnx(3), {"features": np.array([[1, 2, 3]], np.float32)}))


@pytest.mark.parametrize(
    ("classes", "line"),
    [
        (["click", "no_click"], 'output: "p[no_click]"  # ? which of the classes ranks: click, no_click'),
        (["0", "1"], None),
    ],
)
def test_classes_that_do_not_say_which_ranks_are_asked_for(classes: list[str], line: str | None) -> None:
    node = helper.make_node(
        "LinearClassifier",
        ["x"],
        ["label", "p"],
        domain="ai.onnx.ml",
        coefficients=[1.0, 0, -1.0, 0],
        intercepts=[0.0, 0.0],
        classlabels_strings=classes,
        post_transform="SOFTMAX",
    )
    text = suggest(onnx_bytes([node], [tensor("x", ["n", 2])], [tensor("p", ["n", 2])]))
    assert (line in text) if line else ("output:" not in text)
