"""A score that is its row's own, near the defaults and far from them; and a trial that ends."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from ranker.errors import ModelRejected
from ranker.scoring.graph import proof
from ranker.scoring.model import OnnxModel
from tests.support.models import endless, mlp_onnx, onnx_bytes, schema_of_width, tensor
from tests.unit.scoring.test_model import EXPORTS, FEATURES, SCHEMA, WIDTH, quiet, rows, training_set

__all__ = ["training_set"]  # a fixture

SUM = helper.make_node("ReduceSum", ["features", "axes"], ["sum"], keepdims=1)


def prove(content: bytes, **options: Any) -> None:
    OnnxModel(content, SCHEMA, **options).refuse_batch_effects()


def compared_with_the_batch(scale: float, *, ids: bool = False, linear: float = 0.0) -> bytes:
    """tanh of what column 0 differs by, in units of `scale`, from its mean over the batch; and what is the row's own.

    With ids, the last column is looked up in a table of ten; `linear` times the row's sum is added.
    """
    nodes = [
        helper.make_node("Slice", ["features", "zero", "one", "one"], ["views"]),
        helper.make_node("ReduceMean", ["views"], ["mean"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["views", "mean"], ["differs"]),
        helper.make_node("Mul", ["differs", "unit"], ["scaled"]),
        helper.make_node("Tanh", ["scaled"], ["company"]),
        SUM,
        helper.make_node("Mul", ["sum", "linear"], ["own"]),
        helper.make_node("Add", ["company", "own"], ["both"]),
    ]
    constants = {
        "zero": np.array([0]),
        "one": np.array([1]),
        "axes": np.array([1]),
        "unit": np.array([1 / scale], np.float32),
        "linear": np.array([linear], np.float32),
    }
    if ids:
        nodes += [
            helper.make_node("Gather", ["features", "last"], ["id"], axis=1),
            helper.make_node("Cast", ["id"], ["row"], to=TensorProto.INT64),
            helper.make_node("Gather", ["table", "row"], ["embedded"]),
            helper.make_node("Add", ["both", "embedded"], ["scores"]),
        ]
        constants |= {"last": np.array([WIDTH - 1]), "table": np.arange(10, dtype=np.float32)}
    else:
        nodes.append(helper.make_node("Identity", ["both"], ["scores"]))
    return onnx_bytes(nodes, [FEATURES], [tensor("scores", ["n", 1])], constants)


@pytest.mark.parametrize("scale", [1e5, 1e6, 1e7])
@pytest.mark.parametrize("linear", [0.0, 1.0])
@pytest.mark.parametrize("ids", [False, True])
def test_a_part_of_the_batch_that_shows_far_from_the_defaults_alone_is_refused(
    scale: float, linear: float, ids: bool
) -> None:
    content = compared_with_the_batch(scale, ids=ids, linear=linear)
    OnnxModel(content, SCHEMA)  # near the defaults, nothing is to be seen
    with pytest.raises(ModelRejected, match=r"with it: one got .* alone and .* among .* ReduceMean works over axis 0"):
        prove(content)


@pytest.mark.parametrize("export", EXPORTS, ids=lambda export: export.__name__)
def test_what_libraries_export_is_proved_independent_far_away(export: Any, training_set: Any) -> None:
    with quiet():
        content, _ = export(*training_set)
    prove(content)
    model = OnnxModel(content, SCHEMA)
    assert proof.doubts(model.score, SCHEMA) == []


@pytest.mark.parametrize("width", [3, 64, 900])
def test_rounding_of_large_sums_is_no_dependence(width: int) -> None:
    schema = schema_of_width(1, width - 1)
    for seed in range(5):
        OnnxModel(mlp_onnx(width, hidden=256, seed=seed), schema).refuse_batch_effects()


def test_waves_of_large_numbers_are_no_dependence() -> None:
    nodes = [SUM, helper.make_node("Sin", ["sum"], ["scores"])]
    prove(onnx_bytes(nodes, [FEATURES], [tensor("scores", ["n", 1])], {"axes": np.array([1])}))


def test_quantisation_by_the_batch_is_named() -> None:
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["features"], ["q", "scale", "zero"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["rounded"]),
        helper.make_node("ReduceSum", ["rounded", "axes"], ["scores"], keepdims=0),
    ]
    content = onnx_bytes(nodes, [FEATURES], [tensor("scores", ["n"])], {"axes": np.array([1])})
    with pytest.raises(ModelRejected, match=r"quantised dynamically .*quantize_static, or the float32 graph"):
        prove(content)


def test_one_score_for_nearly_all_rows_is_doubted() -> None:
    nodes = [SUM, helper.make_node("Mul", ["sum", "zero"], ["scores"])]
    constants = {"axes": np.array([1]), "zero": np.zeros(1, np.float32)}
    model = OnnxModel(onnx_bytes(nodes, [FEATURES], [tensor("scores", ["n", 1])], constants), SCHEMA)
    (doubt,) = proof.doubts(model.score, SCHEMA)
    assert doubt.startswith("64 of 64 rows")
    assert "same score, 0:" in doubt
    own = OnnxModel(mlp_onnx(WIDTH), SCHEMA)
    assert proof.doubts(own.score, SCHEMA) == []


def test_a_sigmoid_at_its_end_for_rows_away_from_the_defaults_is_no_doubt() -> None:
    nodes = [
        SUM,
        helper.make_node("Abs", ["sum"], ["away"]),
        helper.make_node("Mul", ["away", "steep"], ["raised"]),
        helper.make_node("Sub", ["raised", "far"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["scores"]),
    ]
    constants = {"axes": np.array([1]), "steep": np.float32([-20]), "far": np.float32([2])}
    model = OnnxModel(onnx_bytes(nodes, [FEATURES], [tensor("scores", ["n", 1])], constants), SCHEMA)
    assert proof.doubts(model.score, SCHEMA) == []


def test_a_graph_without_an_end_is_refused_when_its_time_is_over(capfd: pytest.CaptureFixture[str]) -> None:
    began = time.monotonic()
    with pytest.raises(ModelRejected, match=r"did not end within 1 s.*--time-limit"):
        OnnxModel(endless(WIDTH), SCHEMA, limit_s=1.0)
    assert time.monotonic() - began < 30
    assert capfd.readouterr().err == ""


def test_a_model_that_was_proved_scores_without_a_limit() -> None:
    model = OnnxModel(mlp_onnx(WIDTH), SCHEMA, limit_s=60.0)
    model.refuse_batch_effects(60.0)
    np.testing.assert_array_equal(model.score(rows(5)), OnnxModel(mlp_onnx(WIDTH), SCHEMA).score(rows(5)))


def sums(matrix: np.ndarray) -> np.ndarray:
    scores: np.ndarray = matrix.sum(axis=1)
    return scores


def test_a_score_that_company_makes_nan_or_a_number_is_refused() -> None:
    def spoilt(matrix: np.ndarray) -> np.ndarray:
        return sums(matrix) if len(matrix) == 1 else np.full(len(matrix), np.nan, np.float32)

    def healed(matrix: np.ndarray) -> np.ndarray:
        return sums(matrix) if len(matrix) > 1 else np.full(1, np.nan, np.float32)

    for score in (spoilt, healed):
        with pytest.raises(ModelRejected, match=r"depends on the rows scored with it.*would change rankings\.$"):
            proof.refuse_difference(score, rows(3))
    with pytest.raises(ModelRejected, match=r"would change rankings\. Because of this\.$"):
        proof.refuse_batch_effects(spoilt, SCHEMA, "Because of this.")


def test_infinite_and_nan_scores_that_stay_are_no_difference() -> None:
    def ends(matrix: np.ndarray) -> np.ndarray:
        return np.where(matrix[:, 0] > 0.2, np.inf, np.where(matrix[:, 1] > 0.2, -np.inf, np.nan)).astype(np.float32)

    proof.refuse_difference(ends, rows(20))
    proof.refuse_batch_effects(ends, SCHEMA)


def test_order_counts_where_scores_move_by_more_than_rounding() -> None:
    def by_place(moves: float) -> Any:
        return lambda matrix: sums(matrix) * (1 + np.float32(moves) * np.arange(len(matrix), dtype=np.float32))

    assert not proof.depends_on_order(sums, SCHEMA)
    assert not proof.depends_on_order(by_place(1e-5), SCHEMA)
    assert not proof.depends_on_order(lambda matrix: np.arange(len(matrix), dtype=np.float32) * 4e-6, SCHEMA)
    assert proof.depends_on_order(by_place(0.01), SCHEMA)
    assert not proof.depends_on_order(lambda matrix: np.full(len(matrix), np.nan, np.float32), SCHEMA)
