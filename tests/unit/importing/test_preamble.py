"""Whatever inputs a graph has, the compiled one scores the matrix as the exported one scores what it was made for."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from ranker.errors import InvalidSchema
from ranker.importing.compile import compile_graph
from ranker.scoring.model import OnnxModel
from ranker.vectors.feature.columns import Elements, to_columns
from ranker.vectors.schema import FeatureSchema
from tests.support.models import mlp_onnx, onnx_bytes, tensor

N = 7
KINDS = {
    "float": np.float32,
    "double": np.float64,
    "float16": np.float16,
    "int64": np.int64,
    "int32": np.int32,
    "int16": np.int16,
    "uint8": np.uint8,
    "bool": np.bool_,
}


def schema(**more: Any) -> FeatureSchema:
    groups = {"user": {"features": ["age", "spend"]}, "product": {"features": ["price", "stock", "margin"]}}
    return FeatureSchema.from_mapping(groups | more)


def whole(n: int = N, width: int = 5) -> np.ndarray:
    """Rows of small whole numbers, which all kinds of tensors hold."""
    return np.random.default_rng(3).integers(0, 9, (n, width)).astype(np.float32)


def run(content: bytes, feeds: dict[str, np.ndarray]) -> np.ndarray:
    """Score with the exported graph itself."""
    return onnxruntime.InferenceSession(content).run(None, feeds)[0].reshape(-1)


def weighted(inputs: list[tuple[str, list[Any], str]], widths: list[int], out: list[Any] | None = None) -> bytes:
    """A graph that brings each input to (n, width) float, side by side, and multiplies with weights 1, 10, 100, …"""
    nodes, constants = [], {"w": (10.0 ** np.arange(sum(widths)))[:, np.newaxis].astype(np.float32)}
    for (name, _, _), width in zip(inputs, widths, strict=True):
        constants[f"shape_{name}"] = np.array([-1, width])
        nodes.append(helper.make_node("Reshape", [name, f"shape_{name}"], [f"flat_{name}"]))
        nodes.append(helper.make_node("Cast", [f"flat_{name}"], [f"cast_{name}"], to=TensorProto.FLOAT))
    nodes.append(helper.make_node("Concat", [f"cast_{name}" for name, _, _ in inputs], ["joined"], axis=1))
    nodes.append(helper.make_node("MatMul", ["joined", "w"], ["scores"]))
    declared = [tensor(name, shape, TensorProto.DataType.Value(kind.upper())) for name, shape, kind in inputs]
    return onnx_bytes(nodes, declared, [tensor("scores", out or ["n", 1])], constants)


def test_a_graph_that_takes_the_matrix_or_its_groups_stays_byte_for_byte() -> None:
    assert compile_graph(mlp_onnx(5), schema()) == mlp_onnx(5)
    groups = weighted([("user", ["n", 2], "float"), ("product", ["n", 3], "double")], [2, 3])
    assert compile_graph(groups, schema()) == groups


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("shape", [["n"], ["n", 1], ["n", 1, 1], [None], [None, None]])
def test_an_input_per_feature_takes_the_feature_of_its_name_in_its_kind_and_shape(kind: str, shape: list[Any]) -> None:
    order = ["stock", "age", "margin", "price", "spend"]  # the trainer's, not the schema's
    graph = weighted([(name, shape, kind) for name in order], [1] * 5)
    model = OnnxModel(compile_graph(graph, schema()), schema())
    rows = whole()
    named = dict(zip(["age", "spend", "price", "stock", "margin"], rows.T, strict=True))
    axes = [1 if axis != "n" and i else -1 for i, axis in enumerate(shape)] or [-1]
    axes[0] = -1
    feeds = {name: named[name].astype(KINDS[kind]).reshape(axes) for name in order}
    np.testing.assert_array_equal(model.score(rows), run(graph, feeds))


def test_keras_and_spark_names_are_known_without_their_endings() -> None:
    graph = weighted([(name, ["n", 1], "float") for name in ("Price:0", "age:0", "spend", "stock", "margin")], [1] * 5)
    model = OnnxModel(compile_graph(graph, schema()), schema())
    np.testing.assert_allclose(model.score(whole()), whole()[:, [2, 0, 1, 3, 4]] @ 10.0 ** np.arange(5))


def test_inputs_of_the_schema_may_be_lists_groups_and_features() -> None:
    inputs = {"dense": ["price", "age", "margin"], "sparse": ["user.spend", "product.stock"]}
    said = schema(inputs=inputs)
    graph = weighted([("dense", ["n", 3], "float"), ("sparse", ["n", 2], "int64")], [3, 2])
    model = OnnxModel(compile_graph(graph, said), said)
    rows = whole()
    feeds = {"dense": rows[:, [2, 0, 4]], "sparse": rows[:, [1, 3]].astype(np.int64)}
    np.testing.assert_array_equal(model.score(rows), run(graph, feeds))


def test_columns_of_the_schema_are_the_training_frames_order() -> None:
    said = schema(columns=["price", "age", "stock", "spend", "margin"])
    graph = weighted([("X", [None, 5], "float")], [5])
    model = OnnxModel(compile_graph(graph, said), said)
    np.testing.assert_array_equal(model.score(whole()), run(graph, {"X": whole()[:, [2, 0, 3, 1, 4]]}))


def test_columns_may_leave_features_out() -> None:
    said = schema(columns=["margin", "age"])
    graph = weighted([("X", [None, 2], "double")], [2])
    model = OnnxModel(compile_graph(graph, said), said)
    np.testing.assert_array_equal(model.score(whole()), run(graph, {"X": whole()[:, [4, 0]].astype(np.float64)}))


@pytest.mark.parametrize("fixed", [1, 3])
def test_an_example_batch_that_the_exporter_fixed_becomes_any(fixed: int) -> None:
    graph = weighted([("x", [fixed, 5], "float")], [5], [fixed, 1])
    model = OnnxModel(compile_graph(graph, schema()), schema())
    assert "declared for" in model.compiled.notes[0]
    np.testing.assert_allclose(model.score(whole()), whole() @ 10.0 ** np.arange(5))


def two_towers() -> bytes:
    """A user (1, 2) against products (n, 2) and a price (n, 1)."""
    nodes = [
        helper.make_node("MatMul", ["user", "w"], ["u"]),
        helper.make_node("Transpose", ["u"], ["ut"], perm=[1, 0]),
        helper.make_node("MatMul", ["product", "ut"], ["scores"]),
    ]
    return onnx_bytes(
        nodes,
        [tensor("user", [1, 2]), tensor("product", ["n", 3])],
        [tensor("scores", ["n", 1])],
        {"w": np.arange(6, dtype=np.float32).reshape(2, 3)},
    )


def broadcasting_towers() -> bytes:
    nodes = [
        helper.make_node("MatMul", ["user", "w"], ["u"]),
        helper.make_node("Mul", ["product", "u"], ["both"]),
        helper.make_node("ReduceSum", ["both", "axes"], ["scores"], keepdims=0),
    ]
    return onnx_bytes(
        nodes,
        [tensor("user", [1, 2]), tensor("product", ["n", 3])],
        [tensor("scores", ["n"])],
        {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "axes": np.array([1])},
    )


def test_a_user_given_once_is_given_to_each_row_where_that_scores_the_same() -> None:
    graph = broadcasting_towers()
    model = OnnxModel(compile_graph(graph, schema()), schema())
    rows = whole()
    alone = [run(graph, {"user": row[None, :2], "product": row[None, 2:]})[0] for row in rows]
    np.testing.assert_allclose(model.score(rows), alone)


def test_a_user_given_once_is_the_first_rows_where_rows_are_scored_together() -> None:
    graph, said = two_towers(), schema(rows="together")
    model = OnnxModel(compile_graph(graph, said), said)
    rows = whole()
    rows[:, :2] = [3, 4]  # one request's
    np.testing.assert_allclose(model.score(rows), run(graph, {"user": rows[:1, :2], "product": rows[:, 2:]}))
    assert "user is given once for each request" in model.compiled.notes


@pytest.mark.parametrize(
    ("user", "slate", "out"),
    [
        ([1, 2], [1, "n", 3], [1, "n"]),
        (["b", 2], ["b", "n", 3], ["b", "n"]),
        ([None, 2], [None, None, 3], [None, None]),
    ],
)
def test_a_slate_is_scored_in_one_call_with_an_axis_for_the_list(user: Any, slate: Any, out: Any) -> None:
    nodes = [
        helper.make_node("MatMul", ["slate", "w"], ["s"]),
        helper.make_node("ReduceMean", ["s"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("Sub", ["s", "mean"], ["centred"]),
        helper.make_node("ReduceSum", ["user", "axes"], ["u"], keepdims=1),
        helper.make_node("Mul", ["centred", "u"], ["times"]),
        helper.make_node("Squeeze", ["times", "last"], ["scores"]),
    ]
    constants = {"w": np.ones((3, 1), np.float32), "axes": np.array([1]), "last": np.array([2])}
    graph = onnx_bytes(nodes, [tensor("user", user), tensor("slate", slate)], [tensor("scores", out)], constants)
    said = schema(rows="together", inputs={"slate": "product"})
    model = OnnxModel(compile_graph(graph, said), said)
    rows = whole()
    rows[:, :2] = [3, 4]
    for n in (1, 2, N):
        expected = run(graph, {"user": rows[:1, :2], "slate": rows[np.newaxis, :n, 2:]})
        np.testing.assert_allclose(model.score(rows[:n]), expected, atol=1e-5)


# --- typed features ----------------------------------------------------------------------------------------------

TYPED = {
    "user": {
        "features": [
            {"name": "segment", "type": "category", "vocabulary": ["new", "regular", "vip"], "unknown": -1},
            {"name": "viewed", "type": "product", "length": 4},
            {"name": "taste", "shape": [2, 3]},
        ]
    },
    "product": {"features": [{"name": "item_id", "type": "int64"}, {"name": "sku", "type": "int32"}, "price"]},
}
IDS = np.array([0, 5, -7, 2**24 + 1, 2**40 + 3, -(2**62) - 1, 2**63 - 1])
SKUS = np.array([0, 5, -7, 2**24 + 1, 2**31 - 1, -(2**31), 4])


def typed_rows(found: FeatureSchema) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Rows of the typed schema, and the elements that they were made of."""
    random = np.random.default_rng(0)
    history = random.integers(-(2**60), 2**60, (N, 4))
    counts = np.array([0, 1, 2, 3, 4, 4, 2])
    history[np.arange(4) >= counts[:, np.newaxis]] = 0
    elements = {
        "segment": np.array([0, 1, 2, 0, -1, 2, 1])[:, np.newaxis],
        "viewed": history,
        "taste": random.random((N, 6), dtype=np.float32),
        "item_id": IDS[:, np.newaxis],
        "sku": SKUS[:, np.newaxis],
        "price": random.random((N, 1), dtype=np.float32),
    }
    features = [feature for group in found.groups.values() for feature in group.features]
    columns = [
        to_columns(feature, Elements(elements[feature.name], counts if feature.name == "viewed" else None))
        for feature in features
    ]
    return np.concatenate(columns, axis=1), elements | {"counts": counts[:, np.newaxis]}


def given(inputs: dict[str, Any], declared: list[onnx.ValueInfoProto], rows: np.ndarray) -> dict[str, np.ndarray]:
    """What a compiled graph's inputs get of rows; each of them is an output of a graph that only hands them on."""
    said = FeatureSchema.from_mapping(TYPED | {"inputs": inputs | {"price": "price"}})
    nodes = [helper.make_node("Identity", [node.name], [f"got_{node.name}"]) for node in declared]
    outputs = [helper.make_tensor_value_info(f"got_{n.name}", n.type.tensor_type.elem_type, None) for n in declared]
    nodes.append(helper.make_node("Identity", ["price"], ["scores"]))
    outputs.append(tensor("scores", ["n", 1]))
    made = compile_graph(
        onnx_bytes(nodes, [*declared, tensor("price", ["n", 1])], outputs), said.model_copy(update={"output": "scores"})
    )
    session = onnxruntime.InferenceSession(made)
    names = [f"got_{node.name}" for node in declared]
    return dict(zip([n.name for n in declared], session.run(names, {session.get_inputs()[0].name: rows}), strict=True))


@pytest.mark.parametrize("shape", [["n"], ["n", 1]])
def test_whole_numbers_beyond_float32_reach_the_graph_exactly(shape: list[Any]) -> None:
    rows, elements = typed_rows(FeatureSchema.from_mapping(TYPED))
    declared = [tensor("item_id", shape, TensorProto.INT64), tensor("sku", shape, TensorProto.INT32)]
    got = given({}, declared, rows)
    for name in ("item_id", "sku"):
        np.testing.assert_array_equal(got[name].reshape(N, 1), elements[name])
        assert got[name].ndim == len(shape)


def test_a_history_comes_with_its_mask_and_length() -> None:
    rows, elements = typed_rows(FeatureSchema.from_mapping(TYPED))
    inputs = {"hist": "viewed", "attention": {"mask": "viewed"}, "count": {"length": "viewed"}}
    declared = [
        tensor("hist", ["n", 4], TensorProto.INT64),
        tensor("attention", ["n", None], TensorProto.BOOL),
        tensor("viewed_mask", ["n", 4]),
        tensor("count", ["n"], TensorProto.INT32),
    ]
    got = given(inputs, declared, rows)
    filled = np.arange(4) < elements["counts"]
    np.testing.assert_array_equal(got["hist"], elements["viewed"])
    np.testing.assert_array_equal(got["attention"], filled)
    np.testing.assert_array_equal(got["viewed_mask"], filled.astype(np.float32))
    np.testing.assert_array_equal(got["count"], elements["counts"][:, 0])


def test_texts_reach_encoders_in_the_graph_and_codes_reach_embeddings() -> None:
    rows, elements = typed_rows(FeatureSchema.from_mapping(TYPED))
    declared = [tensor("segment", ["n", 1], TensorProto.STRING), tensor("code", ["n"], TensorProto.INT64)]
    got = given({"code": "segment"}, declared, rows)
    assert got["segment"][:, 0].tolist() == ["new", "regular", "vip", "new", "", "vip", "regular"]
    np.testing.assert_array_equal(got["code"], elements["segment"][:, 0])


def test_vectors_and_side_by_side_features_keep_their_shape() -> None:
    rows, elements = typed_rows(FeatureSchema.from_mapping(TYPED))
    declared = [
        tensor("taste", ["n", 2, 3], TensorProto.FLOAT16),
        tensor("flat", ["n", None]),
        tensor("mixed", ["n", 3], TensorProto.INT64),
    ]
    got = given({"flat": ["taste", "price"], "mixed": ["sku", "segment", "item_id"]}, declared, rows)
    np.testing.assert_array_equal(got["taste"], elements["taste"].reshape(N, 2, 3).astype(np.float16))
    np.testing.assert_array_equal(got["flat"], np.hstack([elements["taste"], elements["price"]]))
    np.testing.assert_array_equal(got["mixed"], np.hstack([elements[name] for name in ("sku", "segment", "item_id")]))


@pytest.mark.parametrize("opset", [7, 9, 11, 13, 18, 22])
def test_nodes_are_written_in_the_opset_of_the_graph(opset: int) -> None:
    nodes = [helper.make_node("Add", ["price", "age"], ["scores"])]
    inputs = [tensor(name, ["n", 1]) for name in ("price", "age")]
    graph = helper.make_graph(nodes, "g", inputs, [tensor("scores", ["n", 1])])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=3 if opset < 9 else 8)
    found = FeatureSchema.from_mapping(
        {"user": {"features": ["age", "spend"]}, "product": {"features": ["price", "stock", "margin"]}}
    )
    model = OnnxModel(compile_graph(made.SerializeToString(), found), found)
    np.testing.assert_array_equal(model.score(whole()), whole()[:, 0] + whole()[:, 2])


@pytest.mark.parametrize(("kind", "shape"), [("product", ()), ("float32", ()), ("float32", (2,))])
@pytest.mark.parametrize("padding", ["behind", "front"])
@pytest.mark.parametrize("order", ["newest_first", "oldest_first"])
def test_history_is_given_in_the_graphs_order_with_its_mask(
    order: str, padding: str, kind: str, shape: tuple[int, ...]
) -> None:
    feature = {"name": "seen", "type": kind, "length": 3, "order": order, "padding": padding, "shape": list(shape)}
    asked = schema(user={"features": [feature]}, product={"features": ["price"]})
    size = int(np.prod([3, *shape]))
    tensors = [("seen", ["n", 3, *shape], "int64" if kind == "product" else "float"), ("seen_mask", ["n", 3], "float")]
    graph = weighted([*tensors, ("price", ["n"], "float")], [size, 3, 1])
    histories = [[], [7], [7, 8], [7, 8, 9]]  # newest first, as stored
    stored, given = (np.zeros((4, 3, *shape)) for _ in range(2))
    mask = np.zeros((4, 3), np.float32)
    for i, ids in enumerate(histories):
        first = 3 - len(ids) if padding == "front" else 0
        for at, one in enumerate(ids):
            stored[i, at] = one + np.arange(max(1, size // 3)).reshape(shape) / 4 * (kind != "product")
        wanted = stored[i, : len(ids)]
        given[i, first : first + len(ids)] = wanted[::-1] if order == "oldest_first" else wanted
        mask[i, first : first + len(ids)] = 1
    items = stored.reshape(4, -1).astype(np.int64 if kind == "product" else np.float32)
    counts = np.array([len(ids) for ids in histories])
    columns = to_columns(asked.user.features[0], Elements(items, counts))
    rows = np.concatenate([columns, np.full((4, 1), 2, np.float32)], axis=1).astype(np.float32)
    feeds = {"seen": given.astype(np.int64 if kind == "product" else np.float32), "seen_mask": mask}
    feeds["price"] = np.full(4, 2, np.float32)
    scores = OnnxModel(compile_graph(graph, asked), asked).score(rows)
    np.testing.assert_allclose(scores, run(graph, feeds), rtol=1e-6)


def test_order_of_what_is_no_sequence_is_refused() -> None:
    for feature in ({"name": "age", "order": "oldest_first"}, {"name": "taste", "shape": [3], "padding": "front"}):
        with pytest.raises(InvalidSchema, match=r"`order` and `padding` are those of a sequence: give it a `length`"):
            schema(user={"features": [feature]})


def test_order_changes_neither_stored_bytes_nor_their_fingerprint() -> None:
    plain: dict[str, Any] = {"name": "seen", "type": "product", "length": 3}
    turned = schema(user={"features": [plain | {"order": "oldest_first", "padding": "front"}]})
    assert turned.fingerprint == schema(user={"features": [plain]}).fingerprint
    assert FeatureSchema.from_mapping(turned.to_metadata()) == turned
    assert "order" not in str(schema(user={"features": [plain]}).to_metadata())
