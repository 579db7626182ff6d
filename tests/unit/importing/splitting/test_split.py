"""What is computed where: known models, and what their parts hold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from ranker.importing.splitting.split import NotSplit, Split, split
from ranker.scoring.model import OnnxModel
from ranker.scoring.split.model import SplitModel
from ranker.scoring.split.parts import Side
from ranker.vectors.schema import FeatureSchema
from tests.support.models import mlp_onnx, onnx_bytes, schema_of_width, tensor

MOVES = {"Cast", "Gather", "Identity", "Reshape", "Slice", "Concat", "Split", "Transpose", "Unsqueeze", "Squeeze"}
node = helper.make_node


def weights(*shape: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=shape) / np.sqrt(shape[0])).astype(np.float32)


def graph(
    nodes: Sequence[onnx.NodeProto], width: int | dict[str, int], constants: dict[str, np.ndarray] | None = None
) -> bytes:
    """A graph that gives `scores` of `features` (n, width), or of several inputs."""
    widths = {"features": width} if isinstance(width, int) else width
    places = {f"at{i}": np.array([i]) for i in range(20)}
    return onnx_bytes(
        nodes,
        [tensor(name, ["n", columns]) for name, columns in widths.items()],
        [tensor("scores", ["n", 1])],
        {**places, **(constants or {})},
    )


def taken_apart(content: bytes, schema: FeatureSchema) -> Split:
    """Split a graph, having seen that its parts score as it does, for several requests with products each."""
    model = OnnxModel(content, schema)
    made = split(content, model.inputs, model.output, schema)
    assert isinstance(made, Split), made
    parts = SplitModel(made.parts, schema)
    rows = np.random.default_rng(0).normal(size=(24, schema.width)).astype(np.float32)
    np.testing.assert_allclose(parts.score(rows), model.score(rows), rtol=1e-5, atol=1e-6)
    users, counts = schema.user.width, np.array([5, 1, 18])
    requests = np.repeat(rows[:3, :users], counts, axis=0)
    rows[:, :users] = requests
    if "context" not in schema.groups:
        scores = parts.score_parts(
            rows[[0, 5, 6], :users],
            parts.prepare(rows[:, users : schema.stored_width]),
            rows[:, schema.stored_width :] if "productContext" in schema.groups else None,
            counts,
        )
        np.testing.assert_allclose(scores, model.score(rows), rtol=1e-5, atol=1e-6)
    return made


def operators(content: bytes | None) -> list[str]:
    """Return the operators of a part that compute something."""
    if content is None:
        return []
    return [one.op_type for one in onnx.load_from_string(content).graph.node if one.op_type not in MOVES]


def kept_whole(content: bytes, schema: FeatureSchema) -> str:
    model = OnnxModel(content, schema)
    made = split(content, model.inputs, model.output, schema)
    assert isinstance(made, NotSplit)
    return made.reason


def test_pair_part_of_an_mlp_begins_behind_its_first_layer() -> None:
    made = taken_apart(mlp_onnx(12), schema_of_width(5, 7))
    assert operators(made.parts.request) == ["MatMul", "Add"]
    assert operators(made.parts.product) == ["MatMul"]
    assert operators(made.parts.pair) == ["Add", "Relu", "MatMul", "Add"]
    assert len(made.parts.pair_needs_product) == 32
    assert [kept.operator for kept in made.kept] == ["Relu", "MatMul", "Add"]
    assert made.kept[0].reason == "it takes what the request and the product give together"


def test_columns_of_a_request_weigh_in_wherever_they_stand() -> None:
    plain = {"features": [{"name": "a"}, {"name": "b"}]}
    schema = FeatureSchema.from_mapping({"user": plain, "product": plain, "context": plain, "productContext": plain})
    made = taken_apart(mlp_onnx(8, hidden=4), schema)
    inputs = {one.name: one.type.tensor_type.shape.dim[-1].dim_value for one in _inputs(made.parts.pair)}
    assert inputs == {"request_part": 4, "product_part": 4, "pair_columns": 2, "row_request": 0}
    assert operators(made.parts.pair).count("MatMul") == 2  # the columns that come with the pair, and the last layer


def towers() -> bytes:
    constants = {"wu": weights(5, 8), "wp": weights(7, 8), "wu2": weights(8, 4), "wp2": weights(8, 4)}
    nodes = []
    for side, (start, stop) in {"u": ("at0", "at5"), "p": ("at5", "at12")}.items():
        nodes += [
            node("Slice", ["features", start, stop, "at1"], [side]),
            node("MatMul", [side, f"w{side}"], [f"{side}1"]),
            node("Relu", [f"{side}1"], [f"{side}2"]),
            node("MatMul", [f"{side}2", f"w{side}2"], [f"{side}3"]),
        ]
    nodes += [node("Mul", ["u3", "p3"], ["m"]), node("ReduceSum", ["m", "at1"], ["scores"])]
    return graph(nodes, 12, constants)


def test_infinity_that_stands_twice_in_a_layer_is_weighed_twice() -> None:
    schema = schema_of_width(3, 2)
    nodes = [
        node("Concat", ["features", "features"], ["twice"], axis=1),
        node("MatMul", ["twice", "w"], ["scores"]),
    ]
    content = graph(nodes, 5, {"w": np.concatenate((np.ones((5, 1)), np.full((5, 1), -0.5))).astype(np.float32)})
    made = taken_apart(content, schema)
    rows = np.ones((6, 5), np.float32)
    rows[np.arange(5), np.arange(5)] = np.inf
    scores = SplitModel(made.parts, schema).score(rows)
    np.testing.assert_array_equal(scores, OnnxModel(content, schema).score(rows))
    assert np.isnan(scores).tolist() == [True] * 5 + [False]  # infinity less infinity


def test_pair_part_of_two_towers_is_the_dot_product_alone() -> None:
    made = taken_apart(towers(), schema_of_width(5, 7))
    assert operators(made.parts.pair) == ["Mul", "ReduceSum"]
    assert operators(made.parts.request) == operators(made.parts.product) == ["MatMul", "Relu", "MatMul"]
    assert len(made.parts.pair_needs_product) == 4


def test_layer_that_is_much_wider_than_what_it_takes_of_a_product_is_not_kept_with_it() -> None:
    made = taken_apart(mlp_onnx(6, hidden=64), schema_of_width(4, 2))
    assert made.parts.product is None
    assert made.parts.pair_needs_product == (0, 1)
    assert operators(made.parts.pair).count("MatMul") == 2


def test_imputer_is_pushed_to_the_sides() -> None:
    imputer = node(
        "Imputer", ["features"], ["x"], domain="ai.onnx.ml", imputed_value_floats=[1.0, 2, 3, 4],
        replaced_value_float=float("nan"),
    )  # fmt: skip
    content = graph([imputer, node("MatMul", ["x", "w"], ["scores"])], 4, {"w": weights(4, 1)})
    schema = schema_of_width(2, 2)
    made = taken_apart(content, schema)
    assert operators(made.parts.pair) == ["Add"]
    rows = np.full((2, 4), np.nan, dtype=np.float32)
    expected = OnnxModel(content, schema).score(rows)
    np.testing.assert_allclose(SplitModel(made.parts, schema).score(rows), expected, rtol=1e-6)


def test_scaler_is_pushed_to_the_sides() -> None:
    scaler = node("Scaler", ["features"], ["x"], domain="ai.onnx.ml", offset=[0.5, 1, 2, 3], scale=[1.0, 2, 0.5, 0.25])
    made = taken_apart(graph([scaler, node("MatMul", ["x", "w"], ["scores"])], 4, {"w": weights(4, 1)}),
                       schema_of_width(2, 2))  # fmt: skip
    assert operators(made.parts.product) == ["Sub", "Mul", "MatMul"]
    assert operators(made.parts.pair) == ["Add"]


def test_batch_normalization_is_folded_into_what_is_summed() -> None:
    constants = {"w": weights(5, 6), "w2": weights(6, 1), "shift": weights(6), "mean": weights(6, seed=1)}
    constants |= {"scale": np.full(6, 2, np.float32), "variance": np.full(6, 0.5, np.float32)}
    nodes = [
        node("Concat", ["user", "product"], ["x"], axis=1),
        node("MatMul", ["x", "w"], ["h"]),
        node("BatchNormalization", ["h", "scale", "shift", "mean", "variance"], ["b"]),
        node("Relu", ["b"], ["r"]),
        node("MatMul", ["r", "w2"], ["scores"]),
    ]
    made = taken_apart(graph(nodes, {"user": 2, "product": 3}, constants), schema_of_width(2, 3))
    assert operators(made.parts.pair) == ["Add", "Relu", "MatMul"]
    assert operators(made.parts.product) == ["MatMul", "Mul"]


def embeddings() -> bytes:
    """Ids of both sides in one table, and the rest, through a layer."""
    nodes = [
        node("Slice", ["user", "at0", "at1", "at1"], ["uid"]),
        node("Slice", ["product", "at0", "at1", "at1"], ["pid"]),
        node("Concat", ["uid", "pid"], ["ids"], axis=1),
        node("Clip", ["ids", "zero", "most"], ["clipped"]),
        node("Cast", ["clipped"], ["index"], to=TensorProto.INT64),
        node("Gather", ["table", "index"], ["found"]),
        node("Flatten", ["found"], ["flat"], axis=1),
        node("Concat", ["flat", "user", "product"], ["x"], axis=1),
        node("Gemm", ["x", "w", "b"], ["h"]),
        node("Relu", ["h"], ["r"]),
        node("MatMul", ["r", "w2"], ["scores"]),
    ]
    constants = {"table": weights(9, 4), "w": weights(13, 6), "b": weights(6), "w2": weights(6, 1)}
    constants |= {"zero": np.float32(0), "most": np.float32(8)}
    return graph(nodes, {"user": 2, "product": 3}, constants)


def test_ids_are_looked_up_by_the_side_that_brings_them() -> None:
    made = taken_apart(embeddings(), schema_of_width(2, 3))
    assert operators(made.parts.pair) == ["Add", "Relu", "MatMul"]
    assert made.moved[Side.PRODUCT]["Gather"] == made.moved[Side.REQUEST]["Gather"] == 1
    assert len(made.parts.pair_needs_product) == 6


def test_vectors_of_many_ids_are_put_beside_one_another_in_one_step() -> None:
    ids = 4
    nodes = [node("Clip", ["features", "zero", "most"], ["clipped"]), node("Abs", ["clipped"], ["absolute"])]
    for i in range(2 * ids):
        nodes += [
            node("Slice", ["absolute", f"at{i}", f"at{i + 1}", "at1"], [f"column{i}"]),
            node("Cast", [f"column{i}"], [f"id{i}"], to=TensorProto.INT64),
        ]
    nodes.append(node("Concat", [f"id{i}" for i in range(2 * ids)], ["ids"], axis=1))
    for i in range(2 * ids):
        nodes += [
            node("Gather", ["ids", f"at{i}"], [f"place{i}"], axis=1),
            node("Gather", [f"table{i}", f"place{i}"], [f"vector{i}"]),
        ]
    nodes += [
        node("Concat", [f"vector{i}" for i in range(2 * ids)], ["vectors"], axis=1),
        node("Transpose", ["vectors"], ["turned"], perm=[0, 2, 1]),
        node("MatMul", ["vectors", "turned"], ["products"]),
        node("Reshape", ["products", "flat"], ["all"]),
        node("MatMul", ["all", "w"], ["scores"]),
    ]
    constants = {f"table{i}": weights(9, 4, seed=i) for i in range(2 * ids)}
    constants |= {"zero": np.float32(0), "most": np.float32(8), "w": weights(4 * ids * ids, 1)}
    constants["flat"] = np.array([-1, 4 * ids * ids])
    made = taken_apart(graph(nodes, 2 * ids, constants), schema_of_width(ids, ids))
    for side in (Side.REQUEST, Side.PRODUCT):
        done = made.moved[side]
        assert done["Concat"] == 1
        assert done["Slice"] == ids  # its columns, and not its ids again
        assert done["Gather"] <= ids + 1


def test_sums_over_fields_of_both_sides_are_made_by_each() -> None:
    """Factorization machine: the square of a sum of embeddings, less the sum of their squares."""
    nodes = [
        node("Reshape", ["user", "two"], ["u"]),
        node("Reshape", ["product", "three"], ["p"]),
        node("Concat", ["u", "p"], ["e"], axis=1),
        node("ReduceSum", ["e", "at1"], ["sum"], keepdims=0),
        node("Mul", ["sum", "sum"], ["square"]),
        node("Mul", ["e", "e"], ["squares"]),
        node("ReduceSum", ["squares", "at1"], ["squared"], keepdims=0),
        node("Sub", ["square", "squared"], ["d"]),
        node("ReduceSum", ["d", "at1"], ["scores"], keepdims=1),
    ]
    shapes = {"two": np.array([-1, 2, 4]), "three": np.array([-1, 3, 4])}
    content = graph(nodes, {"user": 8, "product": 12}, shapes)
    made = taken_apart(content, schema_of_width(8, 12))
    assert sorted(set(operators(made.parts.pair))) == ["Add", "Mul", "ReduceSum"]
    assert len(made.parts.pair_needs_product) == 5  # the sum of its fields, and one number for their squares


def test_attention_over_a_history_takes_projections_of_each_side() -> None:
    """The history's and the candidate's own terms of the first layer are theirs; their product's is the pair's."""
    nodes = [
        node("Reshape", ["user", "history_shape"], ["history"]),
        node("Unsqueeze", ["product", "at1"], ["candidate"]),
        node("Expand", ["candidate", "repeated"], ["beside"]),
        node("Mul", ["history", "beside"], ["product_of"]),
        node("Concat", ["history", "beside", "product_of"], ["x"], axis=-1),
        node("MatMul", ["x", "w"], ["h"]),
        node("Relu", ["h"], ["r"]),
        node("MatMul", ["r", "w2"], ["attention"]),
        node("Mul", ["history", "attention"], ["weighted"]),
        node("ReduceSum", ["weighted", "at1"], ["pooled"], keepdims=0),
        node("Mul", ["pooled", "product"], ["m"]),
        node("ReduceSum", ["m", "at1"], ["scores"], keepdims=1),
    ]
    constants = {"history_shape": np.array([-1, 6, 4]), "repeated": np.array([1, 6, 4])}
    constants |= {"w": weights(12, 5), "w2": weights(5, 1)}
    made = taken_apart(graph(nodes, {"user": 24, "product": 4}, constants), schema_of_width(24, 4))
    assert operators(made.parts.request) == operators(made.parts.product) == ["MatMul"]
    assert operators(made.parts.pair).count("MatMul") == 2
    assert len(made.parts.pair_needs_product) == 9  # not once for each place of the history


AGES = {
    "days": [node("Sub", ["user", "time"], ["age"]), node("Div", ["age", "day"], ["days"])],
    "sum": [node("Neg", ["time"], ["back"]), node("Add", ["user", "back"], ["days"])],
    "double": [
        node("Cast", ["user"], ["wide_user"], to=TensorProto.DOUBLE),
        node("Cast", ["time"], ["wide_time"], to=TensorProto.DOUBLE),
        node("Div", ["wide_user", "exact_day"], ["now"]),
        node("Div", ["wide_time", "exact_day"], ["then"]),
        node("Sub", ["now", "then"], ["age"]),
        node("Cast", ["age"], ["days"], to=TensorProto.FLOAT),
    ],
}


@pytest.mark.parametrize("age", AGES)
def test_large_features_of_both_sides_are_subtracted_before_their_difference_is_weighed(age: str) -> None:
    """Such as an age: the time now less a product's, each of which float32 rounds by more once it is weighed."""
    nodes = [
        node("Split", ["product", "widths"], ["time", "others"], axis=1),
        *AGES[age],
        node("Concat", ["days", "others"], ["x"], axis=1),
        node("MatMul", ["x", "w"], ["h"]),
        node("Tanh", ["h"], ["t"]),
        node("MatMul", ["t", "w2"], ["scores"]),
    ]
    constants = {"widths": np.array([1, 6]), "day": np.array([0.7], dtype=np.float32), "exact_day": np.array([0.7])}
    constants |= {"w": weights(7, 8), "w2": weights(8, 1)}
    content, schema = graph(nodes, {"user": 1, "product": 7}, constants), schema_of_width(1, 7)
    made = taken_apart(content, schema)
    assert operators(made.parts.product).count("MatMul") == 1  # of the others
    rows = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    rows[:, :2] += 1e6
    whole, parts = OnnxModel(content, schema).score(rows), SplitModel(made.parts, schema).score(rows)
    np.testing.assert_allclose(parts, whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("by_place", [False, True])
def test_interactions_of_a_side_with_itself_are_its_own(by_place: bool) -> None:
    """DLRM: all embeddings times all others; of the product's with the request's, the pair part takes all at once."""
    constants = {"shape": np.array([-1, 3, 4]), "flat": np.array([-1, 36]), "w": weights(15, 8), "w2": weights(8, 1)}
    upper = np.triu(np.ones((6, 6)), 1)
    constants |= {"upper": np.flatnonzero(upper.ravel()), "places": np.argwhere(upper) - [6, 0]}
    nodes = [
        node("Reshape", ["user", "shape"], ["u"]),
        node("Reshape", ["product", "shape"], ["p"]),
        node("Concat", ["u", "p"], ["z"], axis=1),
        node("Transpose", ["z"], ["turned"], perm=[0, 2, 1]),
        node("MatMul", ["z", "turned"], ["products"]),
    ]
    if by_place:  # as PyTorch writes z[:, i, j]
        nodes += [
            node("Transpose", ["products"], ["rows_last"], perm=[1, 2, 0]),
            node("GatherND", ["rows_last", "places"], ["picked"]),
            node("Transpose", ["picked"], ["pairs"], perm=[1, 0]),
        ]
    else:
        nodes += [node("Reshape", ["products", "flat"], ["square"])]
        nodes += [node("Gather", ["square", "upper"], ["pairs"], axis=1)]
    nodes += [
        node("MatMul", ["pairs", "w"], ["h"]),
        node("Relu", ["h"], ["r"]),
        node("MatMul", ["r", "w2"], ["scores"]),
    ]
    made = taken_apart(graph(nodes, {"user": 12, "product": 12}, constants), schema_of_width(12, 12))
    assert operators(made.parts.request) == operators(made.parts.product) == ["MatMul", "MatMul"]
    assert made.parts.pair is not None
    taken = [one for one in onnx.load_from_string(made.parts.pair).graph.node if one.op_type == "Gather"]
    assert all("row_request" in one.input for one in taken)  # no columns are picked from what is multiplied
    assert [(kept.operator, kept.name) for kept in made.kept[:2]] == [("MatMul", "products"), ("MatMul", "h")]


def test_recurrent_network_over_a_history_is_the_requests() -> None:
    constants = {"shape": np.array([-1, 6, 2]), "w": weights(1, 12, 2), "r": weights(1, 12, 4)}
    nodes = [
        node("Reshape", ["user", "shape"], ["history"]),
        node("Transpose", ["history"], ["turned"], perm=[1, 0, 2]),
        node("GRU", ["turned", "w", "r"], ["", "last"], hidden_size=4),
        node("Squeeze", ["last", "at0"], ["state"]),
        node("Mul", ["state", "product"], ["m"]),
        node("ReduceSum", ["m", "at1"], ["scores"]),
    ]
    made = taken_apart(graph(nodes, {"user": 12, "product": 4}, constants), schema_of_width(12, 4))
    assert operators(made.parts.request) == ["GRU"]
    assert operators(made.parts.pair) == ["Mul", "ReduceSum"]


def test_body_of_a_branch_stays_in_the_pair_part_as_it_is() -> None:
    def body(name: str, operator: str) -> onnx.GraphProto:
        return helper.make_graph([node(operator, ["h"], [name])], name, [], [tensor(name, ["n", 4])])

    nodes = [
        node("MatMul", ["features", "w"], ["h"]),
        node("If", ["yes"], ["r"], then_branch=body("then", "Relu"), else_branch=body("else", "Neg")),
        node("MatMul", ["r", "w2"], ["scores"]),
    ]
    constants = {"w": weights(6, 4), "w2": weights(4, 1), "yes": np.array(True)}
    made = taken_apart(graph(nodes, 6, constants), schema_of_width(3, 3))
    assert operators(made.parts.pair) == ["Add", "If", "MatMul"]
    assert made.kept[0].reason == "it has a body of its own, which is left as it is"


def test_score_of_two_classes_is_the_column_that_ranks() -> None:
    nodes = [node("MatMul", ["features", "w"], ["h"]), node("Softmax", ["h"], ["scores"], axis=1)]
    content = onnx_bytes(nodes, [tensor("features", ["n", 4])], [tensor("scores", ["n", 2])], {"w": weights(4, 2)})
    schema = FeatureSchema.from_mapping({**schema_of_width(2, 2).to_metadata(), "output": "scores[1]"})
    taken_apart(content, schema)


def test_double_precision_is_kept_where_it_is_computed() -> None:
    nodes = [
        node("MatMul", ["features", "w"], ["h"]),
        node("Tanh", ["h"], ["t"]),
        node("MatMul", ["t", "v"], ["scores"]),
    ]
    content = onnx_bytes(
        nodes,
        [tensor("features", ["n", 4], TensorProto.DOUBLE)],
        [tensor("scores", ["n", 1], TensorProto.DOUBLE)],
        {"w": weights(4, 3).astype(np.float64), "v": weights(3, 1).astype(np.float64)},
    )
    made = taken_apart(content, schema_of_width(2, 2))
    assert operators(made.parts.product) == ["MatMul"]


@pytest.mark.parametrize("operator", ["Greater", "Floor", "ArgMax", "Relu"])
@pytest.mark.parametrize("of_both", [True, False])
def test_operations_with_steps_are_named_where_they_take_sums_of_both_sides(operator: str, of_both: bool) -> None:
    schema = schema_of_width(3, 2)
    inputs = ["layer", "half"] if operator == "Greater" else ["layer"]
    nodes = [
        node("Gather", ["features", "of_user"], ["user"], axis=1),
        node("MatMul", ["features", "w"] if of_both else ["user", "w_user"], ["layer"]),
        node(operator, inputs, ["stepped"], name="step", **({"axis": 1} if operator == "ArgMax" else {})),
        node("Cast", ["stepped"], ["number"], to=TensorProto.FLOAT),
        node("MatMul", ["features", "w"], ["other"]),
        node("Mul", ["number", "other"], ["both"]),
        node("ReduceSum", ["both", "at1"], ["scores"]),
    ]
    constants = {"w": weights(5, 4), "w_user": weights(3, 4), "half": np.float32(0.5), "of_user": np.arange(3)}
    content = graph(nodes, 5, constants)
    model = OnnxModel(content, schema)
    made = split(content, model.inputs, model.output, schema)
    assert isinstance(made, Split)
    assert [kept.name for kept in made.kept if kept.steps] == (["step"] if of_both and operator != "Relu" else [])


def test_columns_that_are_only_moved_are_no_reason_to_split() -> None:
    nodes = [
        node("Gather", ["features", "turned"], ["x"], axis=1),
        node("Softmax", ["x"], ["a"], axis=1),
        node("ReduceMax", ["a"], ["scores"], axes=[1]),
    ]
    content = graph(nodes, 4, {"turned": np.array([3, 0, 2, 1, 1])})
    assert "its first operation, Softmax (a)" in kept_whole(content, schema_of_width(2, 2))
    nodes[1:1] = [node("Cast", ["x"], ["d"], to=TensorProto.DOUBLE), node("Cast", ["d"], ["y"], to=TensorProto.FLOAT)]
    nodes[3].input[0] = "y"
    content = graph(nodes, 4, {"turned": np.array([3, 0, 2, 1, 1])})
    assert "its first operation, Softmax (a)" in kept_whole(content, schema_of_width(2, 2))


def test_graph_that_computes_nothing_of_one_side_stays_whole_and_says_why() -> None:
    nodes = [node("Softmax", ["features"], ["a"], axis=1), node("ReduceMax", ["a"], ["scores"], axes=[1])]
    assert kept_whole(graph(nodes, 4), schema_of_width(2, 2)) == (
        "Nothing can be computed before the pair is known: its first operation, Softmax (a), stays in the pair part: "
        "it takes what the request and the product give together."
    )


def test_rows_that_are_scored_together_stay_whole() -> None:
    schema = FeatureSchema.from_mapping({**schema_of_width(5, 7).to_metadata(), "rows": "together"})
    model = OnnxModel(mlp_onnx(12), schema_of_width(5, 7))
    made = split(mlp_onnx(12), model.inputs, model.output, schema)
    assert isinstance(made, NotSplit)
    assert "rows: together" in made.reason


def test_operation_over_the_rows_is_not_moved() -> None:
    nodes = [
        node("Softmax", ["features"], ["a"], axis=0),
        node("MatMul", ["a", "w"], ["h"]),
        node("Tanh", ["h"], ["t"]),
        node("ReduceMax", ["t"], ["scores"], axes=[1]),
    ]
    schema = schema_of_width(2, 2)
    model = OnnxModel(mlp_onnx(4), schema)
    made = split(graph(nodes, 4, {"w": weights(4, 2)}), model.inputs, model.output, schema)
    assert isinstance(made, NotSplit)
    assert "Softmax (a), stays in the pair part: it is not known to give each row" in made.reason


def _inputs(content: bytes | None) -> Sequence[onnx.ValueInfoProto]:
    assert content is not None
    return onnx.load_from_string(content).graph.input
