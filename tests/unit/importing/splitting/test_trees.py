"""Trees between other operations: which are evaluated side by side, and what becomes of the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from ranker.importing.splitting.split import Split, split
from ranker.scoring.model import OnnxModel
from ranker.scoring.split.model import SplitModel
from ranker.scoring.split.parts import Side
from ranker.vectors.schema import FeatureSchema
from tests.support.models import onnx_bytes, tensor
from tests.support.tree_nodes import as_first, grow

node = helper.make_node
POINTS = np.array([-1.0, -0.5, 0.0, 0.5, 1.0], np.float32)


def schema(user: int = 2, product: int = 3, pair: int = 2) -> FeatureSchema:
    groups = {"user": user, "product": product, "productContext": pair}
    return FeatureSchema.from_mapping(
        {name: {"features": [{"name": f"{name}{i}"} for i in range(width)]} for name, width in groups.items() if width}
    )


def regressor(takes: str, gives: str, width: int, trees: int = 5, seed: int = 0, double: bool = False) -> Any:
    random = np.random.default_rng(seed)
    grown = [grow(random, 12, width, ["LEQ", "LT", "GT"], POINTS, [[0]]) for _ in range(trees)]
    said = as_first(grown, "target", double)
    if double:
        said = {k: onnx.numpy_helper.from_array(v) if isinstance(v, np.ndarray) else v for k, v in said.items()}
    return node("TreeEnsembleRegressor", [takes], [gives], name=gives, domain="ai.onnx.ml", n_targets=1, **said)


def classifier(takes: str, width: int) -> Any:
    random = np.random.default_rng(0)
    grown = [grow(random, 12, width, ["LEQ"], POINTS, [[0]], 0.3) for _ in range(5)]
    said = {**as_first(grown, "class"), "classlabels_int64s": [0, 1], "post_transform": "LOGISTIC"}
    return node("TreeEnsembleClassifier", [takes], ["label", "scores"], domain="ai.onnx.ml", **said)


def taken_apart(
    nodes: Sequence[Any],
    constants: dict[str, np.ndarray] | None = None,
    of: FeatureSchema | None = None,
    columns: int = 1,
) -> Split:
    """Split a graph, having seen that its parts score as it does: thresholds hit, NaN and infinities."""
    of = of or schema()
    content = onnx_bytes(nodes, [tensor("features", ["n", of.width])], [tensor("scores", ["n", columns])], constants)
    model = OnnxModel(content, of)
    made = split(content, model.inputs, model.output, of)
    assert isinstance(made, Split), made
    random = np.random.default_rng(1)
    rows = random.choice([*POINTS, 0.25, -0.75, np.nan, np.inf, -np.inf], size=(200, of.width)).astype(np.float32)
    np.testing.assert_allclose(SplitModel(made.parts, of).score(rows), model.score(rows), rtol=1e-5, atol=1e-6)
    return made


def test_trees_over_the_columns_need_no_graph_at_all() -> None:
    made = taken_apart([regressor("features", "scores", 7)])
    assert made.parts.trees is not None
    assert made.parts.request is made.parts.product is made.parts.pair is None
    assert made.parts.pair_needs_product == ()
    assert made.kept == ()


def test_score_of_a_class_is_taken_of_the_trees_in_the_pair_part() -> None:
    made = taken_apart([classifier("features", 7)], columns=2)
    assert made.parts.trees is not None
    assert made.parts.pair is not None
    assert [one.name for one in onnx.load_from_string(made.parts.pair).graph.input] == ["trees"]


@pytest.mark.parametrize("double", [False, True])
def test_scaled_columns_are_what_the_trees_look_at(double: bool) -> None:
    of = schema(pair=0)
    nodes = [node("Scaler", ["features"], ["x"], domain="ai.onnx.ml", offset=[0.5] * 5, scale=[2.0] * 5)]
    if double:
        nodes.append(node("Cast", ["x"], ["y"], to=TensorProto.DOUBLE))
    nodes.append(regressor("y" if double else "x", "scores", 5, double=double))
    made = taken_apart(nodes, of=of)
    assert made.parts.trees is not None
    assert made.moved[Side.PRODUCT]["Mul"] == 1
    assert made.parts.pair_needs_product == ()  # only the masks are kept


def test_what_follows_trees_is_the_pair_part() -> None:
    nodes = [
        regressor("features", "t", 7),
        node("MatMul", ["features", "w"], ["l"]),
        node("Add", ["t", "l"], ["s"]),
        node("Sigmoid", ["s"], ["scores"]),
    ]
    made = taken_apart(nodes, {"w": np.linspace(-0.2, 0.2, 7, dtype=np.float32)[:, np.newaxis]})
    assert made.parts.trees is not None
    assert made.moved[Side.PRODUCT]["MatMul"] == 1
    assert len(made.parts.pair_needs_product) == 1


def test_largest_of_several_ensembles_is_evaluated_side_by_side() -> None:
    nodes = [
        regressor("features", "few", 7, 2),
        regressor("features", "many", 7, 9),
        node("Add", ["few", "many"], ["scores"]),
    ]
    made = taken_apart(nodes)
    assert made.parts.trees is not None
    assert (made.kept[0].operator, made.kept[0].name) == ("TreeEnsembleRegressor", "few")


def test_trees_that_look_at_one_side_are_an_operation_of_it() -> None:
    bounds = {"start": np.array([2]), "stop": np.array([5]), "axis": np.array([1])}
    nodes = [
        node("Slice", ["features", "start", "stop", "axis"], ["p"]),
        regressor("p", "of_product", 3),
        node("MatMul", ["features", "w"], ["l"]),
        node("Add", ["of_product", "l"], ["scores"]),
    ]
    made = taken_apart(nodes, {**bounds, "w": np.full((7, 1), 0.1, np.float32)})
    assert made.parts.trees is None
    assert made.moved[Side.PRODUCT]["TreeEnsembleRegressor"] == 1


def test_trees_over_what_both_sides_give_together_stay_a_node() -> None:
    nodes = [node("MatMul", ["features", "w"], ["h"]), regressor("h", "scores", 2)]
    made = taken_apart(nodes, {"w": np.ones((5, 2), np.float32)}, of=schema(pair=0))
    assert made.parts.trees is None
    assert made.kept[0].operator == "TreeEnsembleRegressor"
    assert made.kept[0].reason == "one of its columns is a sum of what both sides give"


def test_trees_whose_label_is_taken_stay_a_node() -> None:
    nodes = [
        classifier("features", 7),
        node("Cast", ["label"], ["l"], to=TensorProto.FLOAT),
        node("Reshape", ["l", "shape"], ["column"]),
        node("MatMul", ["features", "w"], ["m"]),
        node("Add", ["column", "m"], ["sum"]),
    ]
    nodes[0].output[1] = "probabilities"
    nodes[-1].output[0] = "scores"
    made = taken_apart(nodes, {"shape": np.array([-1, 1]), "w": np.full((7, 1), 0.1, np.float32)})
    assert made.parts.trees is None
    assert "TreeEnsembleClassifier" in [kept.operator for kept in made.kept]
