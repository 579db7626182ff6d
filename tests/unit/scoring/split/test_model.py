from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from onnx import NodeProto, TensorProto, helper

from ranker.errors import ModelFailed, ModelRejected, WrongShape
from ranker.scoring.model import OnnxModel
from ranker.scoring.split.model import SplitModel, columns_of
from ranker.scoring.split.parts import Side
from ranker.scoring.split.product_part import ProductPart
from ranker.vectors.rows import Matrix, SplitRows
from ranker.vectors.schema import FeatureSchema
from tests.support.models import mlp_weights, onnx_bytes, schema_of_width, tensor
from tests.support.splits import BOOKS, CASES, PLAIN, WITH_CONTEXT, Cut, cut_mlp, cut_towers, cut_trees


def matrix_of(schema: FeatureSchema, n: int, seed: int = 0) -> Matrix:
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((n, schema.width)).astype(np.float32)
    matrix[:, schema.user.width] = rng.integers(0, BOOKS, n)
    return matrix


@pytest.mark.parametrize("case", CASES)
def test_whole_rows_get_the_whole_graphs_scores(case: str) -> None:
    schema, make = CASES[case]
    cut = make(schema)
    split, whole = SplitModel(cut.parts, schema), OnnxModel(cut.whole, schema)
    matrix = matrix_of(schema, 50)
    np.testing.assert_allclose(split.score(matrix), whole.score(matrix), rtol=1e-5, atol=1e-6)
    assert split.score(matrix[:0]).shape == (0,)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("lead", [0, 3])
def test_rounds_of_requests_get_the_whole_graphs_scores(case: str, lead: int) -> None:
    schema, make = CASES[case]
    cut = make(schema)
    split, whole = SplitModel(cut.parts, schema), OnnxModel(cut.whole, schema)
    counts = np.array([1, 7, 2, 30])
    matrix, columns = matrix_of(schema, 40), columns_of(schema)
    starts = np.cumsum(counts) - counts
    for side_columns in (columns[Side.REQUEST],):
        matrix[:, side_columns] = np.repeat(matrix[np.ix_(starts, side_columns)], counts, axis=0)
    row = np.zeros((40, lead + split.prepared_width), np.float32)  # as it lies behind a product's features
    row[:, lead:] = split.prepare(matrix[:, columns[Side.PRODUCT]])
    pair = matrix[:, columns[Side.PAIR]] if split.pair_width else None
    scores = split.score_parts(matrix[np.ix_(starts, columns[Side.REQUEST])], row[:, lead:], pair, counts)
    np.testing.assert_allclose(scores, whole.score(matrix), rtol=1e-5, atol=1e-6)


def test_what_stands_behind_trees_is_the_pair_parts() -> None:
    cut = cut_trees(WITH_CONTEXT)
    nodes = [
        helper.make_node("Gather", ["request_part", "row_request"], ["of_request"], axis=0),
        helper.make_node("Gather", ["of_request", "first"], ["age"], axis=1),
        helper.make_node("Mul", ["trees", "age"], ["both"]),
        helper.make_node("Reshape", ["both", "flat"], ["scores"]),
    ]
    inputs = [
        tensor("request_part", ["r", 3]),
        tensor("row_request", ["n"], TensorProto.INT64),
        tensor("trees", ["n", 1]),
    ]
    constants = {"first": np.array([0]), "flat": np.array([-1])}
    pair = onnx_bytes(nodes, inputs, [tensor("scores", ["n"])], constants)
    split, matrix = SplitModel(replace(cut.parts, pair=pair), WITH_CONTEXT), matrix_of(WITH_CONTEXT, 9)
    expected = OnnxModel(cut.whole, WITH_CONTEXT).score(matrix) * matrix[:, 0]
    np.testing.assert_array_equal(split.score(matrix), expected)
    np.testing.assert_array_equal(np.concatenate([split.score(row[np.newaxis]) for row in matrix]), expected)


def test_only_the_columns_that_the_pair_part_reads_are_kept() -> None:
    cut = cut_mlp(PLAIN, hidden=16)
    split = SplitModel(cut.parts, PLAIN)
    assert split.prepared_width == 16
    some = SplitModel(replace(cut_mlp(PLAIN, hidden=3).parts, pair_needs_product=(2, 0, 1)), PLAIN)
    products = matrix_of(PLAIN, 7)[:, 5:8]
    columns = SplitModel(cut_mlp(PLAIN, hidden=3).parts, PLAIN).prepare(products)
    np.testing.assert_array_equal(some.prepare(products)[:, :3], columns[:, [2, 0, 1]])
    assert SplitModel(cut_trees(PLAIN, 3, 65).parts, PLAIN).prepared_width == 3 * 2 * 2  # two words of 64 leaves a tree
    assert SplitModel(cut_towers(PLAIN, width=7).parts, PLAIN).prepared_width == 8  # even, for masks behind them


@pytest.mark.parametrize("kept", [(2, 0, 1, 3), (3, 2, 1, 0), (0, 1), (1, 3), (0, 1, 2, 3)])
def test_columns_are_kept_in_the_order_that_the_pair_part_reads_them(kept: tuple[int, ...]) -> None:
    parts, products = cut_mlp(PLAIN, hidden=4).parts, matrix_of(PLAIN, 7)[:, 5:8]
    columns = ProductPart(parts, PLAIN).prepare(products)
    part = ProductPart(replace(parts, pair_needs_product=kept), PLAIN)
    np.testing.assert_array_equal(part.prepare(products), columns[:, list(kept)])
    np.testing.assert_array_equal(part.kept(part.prepare(products)), columns[:, list(kept)])


def test_part_never_sees_a_row_alone() -> None:
    nodes = [
        helper.make_node("Shape", ["request"], ["rows"], start=0, end=1),
        helper.make_node("Equal", ["rows", "one"], ["alone"]),
        helper.make_node("Cast", ["alone"], ["more"], to=TensorProto.FLOAT),
        helper.make_node("Gemm", ["request", "w", "b"], ["part"]),
        helper.make_node("Add", ["part", "more"], ["request_part"]),
    ]
    weights = mlp_weights(PLAIN.width, 16)
    constants = {"one": np.array([1]), "w": weights["w1"][:5], "b": weights["b1"]}
    request = onnx_bytes(nodes, [tensor("request", ["r", 5])], [tensor("request_part", ["r", 16])], constants)
    cut = cut_mlp(PLAIN)
    split, rows = SplitModel(replace(cut.parts, request=request), PLAIN), matrix_of(PLAIN, 9)
    alone = np.concatenate([split.score(row[np.newaxis]) for row in rows])
    np.testing.assert_array_equal(alone, split.score(rows))


def test_large_rounds_are_scored_in_calls_that_a_cores_cache_holds() -> None:
    nodes = [
        helper.make_node("Shape", ["row_request"], ["rows"]),
        helper.make_node("Cast", ["rows"], ["count"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["product_part", "axes"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "none"], ["zeros"]),
        helper.make_node("Add", ["zeros", "count"], ["scores"]),
    ]
    constants = {"axes": np.array([1]), "none": np.float32([0])}

    def rows_beside(width: int, n: int) -> list[float]:
        inputs = [tensor("product_part", ["n", width]), tensor("row_request", ["n"], TensorProto.INT64)]
        pair = onnx_bytes(nodes, inputs, [tensor("scores", ["n"])], constants)
        split = SplitModel(replace(cut_mlp(PLAIN, hidden=width).parts, pair=pair), PLAIN)
        return split.score(matrix_of(PLAIN, n)).tolist()

    assert rows_beside(512, 1000) == [200.0] * 1000
    assert rows_beside(512, 300) == [300.0] * 300
    assert rows_beside(16, 1000) == [1000.0] * 1000


def test_row_has_the_same_score_in_a_call_of_many_and_of_few() -> None:
    split, matrix = SplitModel(cut_mlp(PLAIN, hidden=512).parts, PLAIN), matrix_of(PLAIN, 1001)
    few = np.concatenate([split.score(matrix[i : i + 7]) for i in range(0, len(matrix), 7)])
    np.testing.assert_array_equal(split.score(matrix), few)


def test_rows_of_a_large_round_keep_their_own_request_and_context_in_each_call() -> None:
    cut = cut_mlp(WITH_CONTEXT, hidden=512)
    split, whole = SplitModel(cut.parts, WITH_CONTEXT), OnnxModel(cut.whole, WITH_CONTEXT)
    matrix = matrix_of(WITH_CONTEXT, 1001)
    np.testing.assert_allclose(split.score(matrix), whole.score(matrix), rtol=1e-4, atol=1e-5)


def test_pair_part_of_more_scores_than_rows_is_refused() -> None:
    pair = onnx_bytes(
        [helper.make_node("Identity", ["product_part"], ["scores"])],
        [tensor("product_part", ["n", 16])],
        [tensor("scores", ["n", 16])],
        {},
    )
    with pytest.raises(ModelRejected, match="one score for each of 2 rows"):
        SplitModel(replace(cut_mlp(PLAIN).parts, pair=pair), PLAIN)


def test_unknown_id_fails_whoever_prepares_it() -> None:
    split = SplitModel(cut_towers(PLAIN).parts, PLAIN)
    products = np.array([[BOOKS, 0, 0]], np.float32)
    with pytest.raises(ModelFailed, match="1 rows"):
        split.prepare(products)


@pytest.mark.parametrize("shape", [(3,), (2, 7), (2, 9)])
def test_rows_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    split = SplitModel(cut_mlp(PLAIN).parts, PLAIN)
    with pytest.raises(WrongShape):
        split.score(np.zeros(shape, np.float32))
    with pytest.raises(WrongShape):
        split.score(np.zeros((2, 8)))
    with pytest.raises(WrongShape):
        split.prepare(np.zeros((2, 4), np.float32))


def test_parts_that_do_not_fit_are_refused() -> None:
    cut: Cut = cut_mlp(PLAIN)
    with pytest.raises(ModelRejected, match="neither"):
        SplitModel(replace(cut.parts, pair=None), PLAIN)
    with pytest.raises(ModelRejected, match="cannot score the default row"):
        SplitModel(replace(cut.parts, request=None), PLAIN)
    with pytest.raises(ModelRejected, match="column 16 of a product part of 16"):
        SplitModel(replace(cut.parts, pair_needs_product=(16,)), PLAIN)
    with pytest.raises(ModelRejected, match="default product"):
        SplitModel(cut.parts, schema_of_width(4, 4))
    with pytest.raises(ModelRejected):
        SplitModel(replace(cut.parts, pair=b"none"), PLAIN)


@pytest.mark.parametrize("case", ["mlp", "context", "trees-context"])
def test_rows_of_a_round_score_as_their_parts(case: str) -> None:
    schema, make = CASES[case]
    split = SplitModel(make(schema).parts, schema)
    matrix, columns, counts = matrix_of(schema, 5), columns_of(schema), np.array([2, 3])
    requests, prepared = matrix[:2, columns[Side.REQUEST]], split.prepare(matrix[:, columns[Side.PRODUCT]])
    pair = matrix[:, columns[Side.PAIR]] if split.pair_width else None
    expected = split.score_parts(requests, prepared, pair, counts)
    np.testing.assert_array_equal(split.score_rows(SplitRows(requests, prepared, pair, counts)), expected)
    assert (split.schema, split.request_width) == (schema, requests.shape[1])
    assert split.score(matrix[:0]).dtype == np.float32


@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("ReduceSum", ["request", "axes"], ["request_part"], keepdims=0),
        helper.make_node("Cast", ["request"], ["request_part"], to=TensorProto.DOUBLE),
        helper.make_node("Concat", ["request", "request"], ["request_part"], axis=0),
    ],
    ids=["one axis", "doubles", "more rows"],
)
def test_a_request_part_that_gives_no_row_of_float32_for_each_is_refused(node: NodeProto) -> None:
    kind = TensorProto.DOUBLE if node.op_type == "Cast" else TensorProto.FLOAT
    output = helper.make_tensor_value_info("request_part", kind, None)
    constants = {"axes": np.array([1])} if "axes" in node.input else {}
    request = onnx_bytes([node], [tensor("request", ["r", 5])], [output], constants)
    with pytest.raises(ModelRejected, match="The request part, of"):
        SplitModel(replace(cut_trees(PLAIN).parts, request=request), PLAIN)
