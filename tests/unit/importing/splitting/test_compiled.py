"""Graphs that the import has built nodes before and behind are split as any other."""

from __future__ import annotations

import lightgbm
import numpy as np
import onnx
from onnx import TensorProto, helper
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType

from ranker.importing.compile import compile_graph
from ranker.importing.splitting.split import Split, split
from ranker.scoring.model import OnnxModel
from ranker.scoring.split.model import SplitModel
from ranker.scoring.split.parts import Side
from ranker.vectors.schema import FeatureSchema
from tests.support.models import onnx_bytes, schema_of_width, tensor

node = helper.make_node


def taken_apart(content: bytes, schema: FeatureSchema, rows: np.ndarray) -> Split:
    """Compile a graph and split it, having seen that its parts score as it does."""
    compiled = compile_graph(content, schema)
    assert compiled != content
    model = OnnxModel(compiled, schema)
    made = split(compiled, model.inputs, model.output, schema)
    assert isinstance(made, Split), made
    np.testing.assert_allclose(SplitModel(made.parts, schema).score(rows), model.score(rows), rtol=1e-5, atol=1e-6)
    return made


def test_typed_inputs_are_made_by_the_side_that_has_the_features() -> None:
    """Ids as digits, a history with its mask, a category, and a formula with a feature behind the graph."""
    schema = FeatureSchema.from_mapping(
        {
            "user": {"features": [{"name": "seen", "type": "product", "length": 3}, {"name": "age"}]},
            "product": {"features": [{"name": "item", "type": "int64"}, {"name": "price", "default": 2.0}]},
            "inputs": {"history": "seen", "mask": {"mask": "seen"}, "item": "item", "age": "age"},
            "score": "sigmoid(logit) * price",
        }
    )
    nodes = [
        node("Gather", ["table", "history"], ["h"]),
        node("Cast", ["mask"], ["m"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["m", "last"], ["m3"]),
        node("Mul", ["h", "m3"], ["masked"]),
        node("ReduceSum", ["masked", "one"], ["pooled"], keepdims=0),
        node("Gather", ["table", "item"], ["i"]),
        node("Concat", ["pooled", "i", "age"], ["x"], axis=1),
        node("Gemm", ["x", "w", "b"], ["z"]),
        node("Relu", ["z"], ["r"]),
        node("MatMul", ["r", "v"], ["logit"]),
    ]
    random = np.random.default_rng(0)
    constants = {
        name: random.normal(size=shape).astype(np.float32)
        for name, shape in {"table": (20, 4), "w": (9, 6), "b": (6,), "v": (6, 1)}.items()
    }
    constants |= {"last": np.array([2]), "one": np.array([1])}
    inputs = [
        tensor("history", ["n", 3], TensorProto.INT64),
        tensor("mask", ["n", 3], TensorProto.BOOL),
        tensor("item", ["n"], TensorProto.INT64),
        tensor("age", ["n", 1]),
    ]
    rows = np.repeat(schema.defaults[np.newaxis], 40, axis=0)
    for group in ("user", "product"):
        for feature, at in schema.columns_of(group):
            if feature.name == "seen":
                rows[:, at.start] = random.integers(0, 4, 40)
                rows[:, at.start + 1 : at.stop : 3] = random.integers(0, 20, (40, 3))
            elif feature.name == "item":
                rows[:, at.start] = random.integers(0, 20, 40)
            else:
                rows[:, at] = random.normal(size=(40, 1))
    made = taken_apart(onnx_bytes(nodes, inputs, [tensor("logit", ["n", 1])], constants), schema, rows)
    assert made.parts.pair is not None
    of_pair = [one.op_type for one in onnx.load_from_string(made.parts.pair).graph.node]
    assert of_pair.count("MatMul") == 1  # the last layer
    assert made.moved[Side.REQUEST]["ReduceSum"] == 1
    assert len(made.parts.pair_needs_product) == 7  # what the first layer makes of the product, and its price


def test_large_ids_of_both_sides_are_compared_to_the_last_digit() -> None:
    schema = FeatureSchema.from_mapping(
        {
            "user": {"features": [{"name": "last", "type": "int64"}, {"name": "age"}]},
            "product": {"features": [{"name": "item", "type": "int64"}, {"name": "price"}]},
            "inputs": {"last": "last", "item": "item", "age": "age", "price": "price"},
        }
    )
    nodes = [
        node("Equal", ["last", "item"], ["same"]),
        node("Cast", ["same"], ["seen"], to=TensorProto.FLOAT),
        node("Concat", ["age", "price"], ["x"], axis=1),
        node("MatMul", ["x", "w"], ["h"]),
        node("Tanh", ["h"], ["t"]),
        node("Concat", ["t", "seen"], ["y"], axis=1),
        node("MatMul", ["y", "v"], ["scores"]),
    ]
    constants = {"w": np.full((2, 3), 0.5, np.float32), "v": np.ones((4, 1), np.float32)}
    inputs = [tensor(name, ["n", 1], TensorProto.INT64) for name in ("last", "item")]
    inputs += [tensor(name, ["n", 1]) for name in ("age", "price")]
    rows = np.zeros((4, schema.width), dtype=np.float32)
    digits = {name: at for group in ("user", "product") for f, at in schema.columns_of(group) if (name := f.name)}
    rows[:, digits["last"]] = [5, 0, 1]  # 5 + 2 ** 44, of which float32 has no last digits
    rows[:, digits["item"]] = [[5, 0, 1], [6, 0, 1], [4, 0, 1], [5, 1, 1]]
    content = onnx_bytes(nodes, inputs, [tensor("scores", ["n", 1])], constants)
    made = taken_apart(content, schema, rows)
    np.testing.assert_array_equal(SplitModel(made.parts, schema).score(rows), [1, 0, 0, 0])


def test_trees_of_a_classifier_with_dictionaries_are_evaluated_side_by_side() -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(400, 12)).astype(np.float32)
    clicked = (features[:, 0] * features[:, 8] + features[:, 3] > 0).astype(int)
    booster = lightgbm.LGBMClassifier(n_estimators=8, num_leaves=15, verbose=-1).fit(features, clicked)
    content = convert_lightgbm(booster, initial_types=[("features", FloatTensorType([None, 12]))], target_opset=15)
    schema = schema_of_width(5, 7)
    made = taken_apart(content.SerializeToString(), schema, features[:50])
    assert made.parts.trees is not None
    assert made.parts.request is made.parts.product is None
    scores = SplitModel(made.parts, schema).score(features[:50])
    np.testing.assert_allclose(scores, booster.predict_proba(features[:50])[:, 1], rtol=1e-5)
