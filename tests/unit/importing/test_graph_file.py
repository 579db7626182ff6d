"""The package onnx is needed where a graph is changed, and nowhere else."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from onnx import helper

from ranker.errors import ImportPackageMissing, ModelRejected
from ranker.importing.compile import compile_graph
from ranker.scoring.model import OnnxModel
from tests.support.models import mlp_onnx, mlp_scores, schema_of_width, tensor
from tests.unit.importing.test_preamble import schema, weighted

GRAPH = weighted([(name, ["n", 1], "float") for name in ("age", "spend", "price", "stock", "margin")], [1] * 5)


def test_a_graph_that_fits_is_imported_and_a_built_one_is_served_without_the_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = compile_graph(GRAPH, schema())
    monkeypatch.setitem(sys.modules, "onnx", None)
    rows = np.ones((2, 5), np.float32)
    assert OnnxModel(made, schema()).score(rows).tolist() == [11111, 11111]
    fitting = schema_of_width(2, 3)
    scores = OnnxModel(compile_graph(mlp_onnx(5), fitting), fitting).score(rows)
    np.testing.assert_allclose(scores, mlp_scores(rows), rtol=1e-5)


def test_the_package_is_asked_for_where_a_graph_must_be_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportPackageMissing, match=r"needs the package onnx.*Install 'bento-ranker\[import\]'"):
        compile_graph(GRAPH, schema())


def test_an_opset_that_nothing_can_be_built_on_is_refused() -> None:
    nodes = [helper.make_node("Neg", ["price"], ["scores"])]
    graph = helper.make_graph(
        nodes, "g", [tensor("price", ["n", 1]), tensor("age", ["n", 1])], [tensor("scores", ["n", 1])]
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 6)], ir_version=3)
    with pytest.raises(ModelRejected, match=r"opset 6, and nothing can be built on one before 7.*opset_version=17"):
        compile_graph(made.SerializeToString(), schema())


def test_constants_that_are_declared_as_inputs_too_are_no_inputs() -> None:
    weights = helper.make_tensor("w", 1, [1, 1], [3.0])
    nodes = [helper.make_node("MatMul", ["price", "w"], ["t"]), helper.make_node("Add", ["t", "age"], ["scores"])]
    inputs = [tensor("price", ["n", 1]), tensor("age", ["n", 1]), tensor("w", [1, 1])]
    graph = helper.make_graph(nodes, "g", inputs, [tensor("scores", ["n", 1])], [weights])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 7)], ir_version=3)
    model = OnnxModel(compile_graph(made.SerializeToString(), schema()), schema())
    assert model.score(np.array([[1, 0, 2, 0, 0]], np.float32)).tolist() == [7]
