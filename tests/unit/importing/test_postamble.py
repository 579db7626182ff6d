"""Outputs that are no plain tensors of float32 become some, and score as the exported graph does."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from ranker.errors import ModelRejected
from ranker.importing.compile import compile_graph
from ranker.importing.layout import Layout
from ranker.scoring.model import OnnxModel
from ranker.vectors.schema import FeatureSchema
from tests.support.models import onnx_bytes, tensor
from tests.unit.scoring.test_model import SCHEMA, convert_lightgbm, convert_sklearn, quiet, rows, saying


def imported(content: bytes, schema: FeatureSchema = SCHEMA) -> OnnxModel:
    return OnnxModel(compile_graph(content, schema), schema)


def zipped(kind: str, names: list[Any]) -> tuple[bytes, np.ndarray]:
    """A classifier as its exporter writes it by default, with a ZipMap, and its own P(names[0]) for 50 rows."""
    from lightgbm import LGBMClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

    x = rows(300)
    y = np.array(names)[(x[:, 0] < 0).astype(int)]
    models: dict[str, Any] = {
        "sklearn": LogisticRegression(),
        "network": MLPClassifier([8], max_iter=50, random_state=0),
        "lightgbm": LGBMClassifier(n_estimators=12, num_leaves=7, n_jobs=1, verbose=-1),
    }
    with quiet():
        model = models[kind].fit(x, y)
        content = convert_lightgbm(model) if kind == "lightgbm" else convert_sklearn(model)
        return content, model.predict_proba(rows(50))[:, list(model.classes_).index(names[0])]


@pytest.mark.parametrize("kind", ["sklearn", "network", "lightgbm"])
def test_the_default_export_of_a_classifier_scores_like_its_library(kind: str) -> None:
    content, wanted = zipped(kind, [1, 0])
    model = imported(content)
    np.testing.assert_allclose(model.score(rows(50)), wanted, atol=1e-5)
    assert model.output.column_named == "column 1 (class 1 of 0, 1)"


@pytest.mark.parametrize("kind", ["sklearn", "network"])
def test_the_positive_class_of_a_zipmap_must_be_named_where_it_is_not_plain(kind: str) -> None:
    content, wanted = zipped(kind, ["click", "no_click"])
    with pytest.raises(ModelRejected, match=r"click and no_click.*`output: \"(\w+)\[click\]\"`") as refused:
        imported(content)
    line = str(refused.value).split('`output: "')[1].split('"')[0]
    np.testing.assert_allclose(imported(content, saying(SCHEMA, output=line)).score(rows(50)), wanted, atol=1e-5)


@pytest.mark.parametrize("also_in", [False, True])
def test_half_precision_scores_are_widened(also_in: bool) -> None:
    kind = TensorProto.FLOAT16 if also_in else TensorProto.FLOAT
    nodes = [
        helper.make_node("ReduceSum", ["features", "axes"], ["sums"], keepdims=0),
        helper.make_node("Cast", ["sums"], ["scores"], to=TensorProto.FLOAT16),
        helper.make_node("Neg", ["scores"], ["unused"]),
    ]
    declared = [tensor("features", ["n", SCHEMA.width], kind)]
    content = onnx_bytes(nodes, declared, [tensor("scores", ["n"], TensorProto.FLOAT16)], {"axes": np.array([1])})
    feed = rows(20).astype(np.float16 if also_in else np.float32)
    expected = onnxruntime.InferenceSession(content).run(None, {"features": feed})[0]
    model = imported(content)
    # ONNX Runtime computes in float32 where the CPU has no halves, and then does not round to them in between.
    np.testing.assert_allclose(model.score(rows(20)), expected.astype(np.float32), rtol=1e-3)
    assert model.output.name == "scores"


def test_of_two_heads_in_half_precision_none_is_chosen_by_its_name() -> None:
    nodes = [helper.make_node("ReduceSum", ["features", "axes"], ["sums"], keepdims=0)]
    nodes += [helper.make_node("Cast", ["sums"], [name], to=TensorProto.FLOAT16) for name in ("click_prob", "utility")]
    outputs = [tensor(name, ["n"], TensorProto.FLOAT16) for name in ("click_prob", "utility")]
    content = onnx_bytes(nodes, [tensor("features", ["n", SCHEMA.width])], outputs, {"axes": np.array([1])})
    with pytest.raises(ModelRejected, match="`output: click_prob` or `output: utility`"):
        imported(content)
    assert imported(content, saying(SCHEMA, output="utility")).output.name == "utility"


def test_what_was_made_is_not_made_again() -> None:
    made = compile_graph(zipped("sklearn", [1, 0])[0], SCHEMA)
    with pytest.raises(ModelRejected, match="Import the file that the exporter wrote"):
        compile_graph(made, SCHEMA)


def test_the_default_export_of_a_pipeline_on_a_data_frame_scores_like_its_library() -> None:
    import pandas as pd
    from skl2onnx import to_onnx
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    names = [located.feature.name for located in Layout(SCHEMA).features]
    frame = pd.DataFrame(rows(300), columns=names).astype(float)
    with quiet():
        together = make_column_transformer(("passthrough", names))
        model = make_pipeline(together, LogisticRegression()).fit(frame, (frame[names[0]] > 0).astype(int))
        content = to_onnx(model, frame[:1]).SerializeToString()
    with pytest.raises(Exception, match=r"tensor\(double\).*ZipMap"):
        onnxruntime.InferenceSession(content)
    np.testing.assert_allclose(imported(content).score(rows(50)), model.predict_proba(frame[:50])[:, 1], atol=1e-5)


def test_a_graph_of_operators_for_trees_alone_is_built_on() -> None:
    """CatBoost's: no operator, and so no opset, of the standard ones."""
    tree = helper.make_node(
        "TreeEnsembleClassifier",
        ["features"],
        ["label", "tensor"],
        domain="ai.onnx.ml",
        nodes_treeids=[0, 0, 0],
        nodes_nodeids=[0, 1, 2],
        nodes_featureids=[1, 0, 0],
        nodes_values=[0.25, 0.0, 0.0],
        nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"],
        nodes_truenodeids=[1, 0, 0],
        nodes_falsenodeids=[2, 0, 0],
        class_treeids=[0, 0, 0, 0],
        class_nodeids=[1, 1, 2, 2],
        class_ids=[0, 1, 0, 1],
        class_weights=[2.0, -2.0, -1.0, 1.0],
        classlabels_int64s=[0, 1],
        post_transform="LOGISTIC",
    )
    zipmap = helper.make_node("ZipMap", ["tensor"], ["probabilities"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])
    kind = helper.make_sequence_type_proto(
        helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    )
    outputs = [tensor("label", [None], TensorProto.INT64), helper.make_value_info("probabilities", kind)]
    graph = helper.make_graph([tree, zipmap], "CatBoostModel", [tensor("features", [None, SCHEMA.width])], outputs)
    content = helper.make_model(graph, opset_imports=[helper.make_opsetid("ai.onnx.ml", 2)], ir_version=3)
    scores = imported(content.SerializeToString()).score(rows(50))
    wanted = 1 / (1 + np.exp(np.where(rows(50)[:, 1] <= 0.25, 2.0, -1.0)))
    np.testing.assert_allclose(scores, wanted, atol=1e-6)


def test_an_operator_that_onnx_runtime_has_for_float32_alone_is_refused_with_what_to_export_from() -> None:
    from skl2onnx import to_onnx
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline

    x = rows(300)
    with quiet():
        model = make_pipeline(SimpleImputer(), LinearRegression()).fit(x, x[:, 0])
        doubles = to_onnx(model, x[:1].astype(np.float64)).SerializeToString()
        singles = to_onnx(model, x[:1].astype(np.float32)).SerializeToString()
    with pytest.raises(ModelRejected, match=r"Imputer.*export from float32, such as a frame's \.astype"):
        imported(doubles)
    np.testing.assert_allclose(imported(singles).score(x), model.predict(x), atol=1e-4)
