"""A suggested schema, its questions answered, imports the graph it was made from and scores as the graph does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import yaml
from onnx import TensorProto, helper

from ranker.importing.compile import compile_graph
from ranker.importing.suggesting.suggestion import count_questions, suggest
from ranker.scoring.model import OnnxModel
from ranker.vectors.feature.columns import Elements, to_columns
from ranker.vectors.schema import FeatureSchema
from tests.support.models import mlp_onnx, onnx_bytes, tensor
from tests.support.suggested import Answers, answer
from tests.unit.importing.test_preamble import run
from tests.unit.scoring.test_model import quiet


def suggested(content: bytes) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load(suggest(content))
    return read


def line_of(text: str, name: str) -> str:
    """The line of a suggestion that has a feature."""
    (line,) = [line for line in text.splitlines() if line.strip().startswith((f"- {name}", f"- {{name: {name},"))]
    return line


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
    text = suggest(content)
    found = yaml.safe_load(text)
    categories = {
        f["name"]: f["vocabulary"]
        for part in ("user", "product")
        for f in found[part]["features"]
        if isinstance(f, dict) and f.get("type") == "category"
    }
    assert categories == {"segment": ["new", "regular", "vip"], "brand": ["acme", "best", "core", "dash"]}
    assert found["user"]["features"][0] == "user_age"
    assert "  # ? user's" in line_of(text, "segment")
    assert "?" not in line_of(text, "user_age")
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
    assert "{name: dense, shape: [3]}  # ? product's; one vector, or features by name: then list them, and say " in text
    assert "inputs: {dense: [a, b, …]}" in text
    schema = FeatureSchema.from_mapping(yaml.safe_load(text))
    random = np.random.default_rng(1)
    given = {"dense": random.random((9, 3), dtype=np.float32), "user_id": random.integers(0, 20, 9), "item_id": random.integers(0, 30, 9)}  # fmt: skip # noqa: E501 - one look
    scores = OnnxModel(compile_graph(dlrm_like(), schema), schema).score(columns_of(schema, given))
    np.testing.assert_allclose(scores, run(dlrm_like(), given), rtol=1e-5)


def ids_in_one_tensor(pick: str) -> tuple[bytes, list[int]]:
    """Three ids (n, 3), each looked up in a table of its own, taken out as exporters do."""
    sizes = [20, 4, 30]
    random = np.random.default_rng(0)
    constants = {f"t{i}": random.random((size, 4), dtype=np.float32) for i, size in enumerate(sizes)}
    nodes = []
    if pick == "split":
        nodes = [helper.make_node("Split", ["ids"], ["c0", "c1", "c2"], axis=1)]
    for i in range(3):
        if pick == "gather":  # PyTorch: ids[:, i]
            constants[f"i{i}"] = np.array(i)
            nodes.append(helper.make_node("Gather", ["ids", f"i{i}"], [f"c{i}"], axis=1))
        elif pick == "slice":  # ids[:, i:i+1]
            constants |= {f"s{i}": np.array([i]), f"e{i}": np.array([i + 1]), "axes": np.array([1])}
            nodes.append(helper.make_node("Slice", ["ids", f"s{i}", f"e{i}", "axes"], [f"c{i}"]))
        nodes.append(helper.make_node("Gather", [f"t{i}", f"c{i}"], [f"e{i}x"]))
    if pick != "gather":
        constants["flat"] = np.array([-1, 4])
        nodes += [helper.make_node("Reshape", [f"e{i}x", "flat"], [f"f{i}"]) for i in range(3)]
    parts = [f"e{i}x" if pick == "gather" else f"f{i}" for i in range(3)]
    constants["w"] = random.random((12, 1), dtype=np.float32)
    nodes += [helper.make_node("Concat", parts, ["x"], axis=1), helper.make_node("MatMul", ["x", "w"], ["scores"])]
    inputs = [tensor("ids", ["n", 3], TensorProto.INT64)]
    other = [tensor("price", ["n", 1])]
    nodes[-1] = helper.make_node("MatMul", ["x", "w"], ["s"])
    nodes.append(helper.make_node("Add", ["s", "price"], ["scores"]))
    return onnx_bytes(nodes, [*inputs, *other], [tensor("scores", ["n", 1])], constants), sizes


@pytest.mark.parametrize("pick", ["gather", "slice", "split"])
def test_ids_of_one_tensor_with_tables_of_their_own_are_features_of_their_own(pick: str) -> None:
    content, sizes = ids_in_one_tensor(pick)
    text = suggest(content)
    for i, size in enumerate(sizes):
        assert line_of(text, f"ids_{i}").endswith(
            f"# ? its name in the training frame, and its group; a table of {size} rows: 0 to {size - 1}"
        )
    answers: Answers = {"ids_0": ("user", ["user_no"]), "ids_1": ("user", ["city"]), "ids_2": ("product", ["no"])}
    schema = FeatureSchema.from_mapping(answer(text, answers))
    assert schema.inputs == {"ids": ("user_no", "city", "no")}
    random = np.random.default_rng(1)
    ids = np.stack([random.integers(0, size, 9) for size in sizes], axis=1)
    price = random.random((9, 1), dtype=np.float32)
    given = {"user_no": ids[:, 0], "city": ids[:, 1], "no": ids[:, 2], "price": price}
    scores = OnnxModel(compile_graph(content, schema), schema).score(columns_of(schema, given))
    np.testing.assert_allclose(scores, run(content, {"ids": ids, "price": price}), rtol=1e-5)


def test_ids_of_one_tensor_in_one_table_stay_one_feature() -> None:
    nodes = [
        helper.make_node("Gather", ["t", "ids"], ["e"]),
        helper.make_node("ReduceSum", ["e", "axes"], ["s"], keepdims=0),
        helper.make_node("Add", ["s", "price"], ["scores"]),
    ]
    constants = {"t": np.ones((9, 2), np.float32), "axes": np.array([1, 2])}
    inputs = [tensor("ids", ["n", 3], TensorProto.INT64), tensor("price", ["n"])]
    text = suggest(onnx_bytes(nodes, inputs, [tensor("scores", ["n"])], constants))
    assert line_of(text, "ids") == "    - {name: ids, shape: [3]}  # ? product's; a table of 9 rows: 0 to 8"


def din_like(padded: bool = False) -> bytes:
    """A history (n, 4) with its mask and a candidate (n,), by one table, whose first row may be 0."""
    nodes = [
        helper.make_node("Gather", ["t", "hist_item_id"], ["h"]),
        helper.make_node("Gather", ["t", "item_id"], ["c"]),
        helper.make_node("Unsqueeze", ["hist_mask", "last"], ["m"]),
        helper.make_node("Mul", ["h", "m"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "one"], ["u"], keepdims=0),
        helper.make_node("Mul", ["u", "c"], ["both"]),
        helper.make_node("ReduceSum", ["both", "one"], ["scores"], keepdims=0),
    ]
    table = np.random.default_rng(0).random((50, 3), dtype=np.float32)
    table[0] *= not padded
    constants = {"t": table, "last": np.array([2]), "one": np.array([1])}
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


@pytest.mark.parametrize("padded", [True, False])
def test_0_is_what_fills_a_history_and_no_id_of_it(padded: bool) -> None:
    line = line_of(suggest(din_like(padded)), "hist_item_id")
    assert line.endswith("a table of 50 rows: ids from 1 to 49, for 0 fills what is empty")
    asked = "row 0 of the table is not 0, and empty places get it; "
    order = "newest first, zeros behind (else order: oldest_first, padding: front)"
    assert f"# ? {order}; {'' if padded else asked}a table" in line


def test_two_heads_are_joined_by_a_formula_to_think_of() -> None:
    nodes = [helper.make_node("Identity", ["user"], ["ctr"]), helper.make_node("Identity", ["item"], ["cvr"])]
    heads = [tensor("ctr", ["n", 1]), tensor("cvr", ["n", 1])]
    content = onnx_bytes(nodes, [tensor("user", ["n", 1]), tensor("item", ["n", 1])], heads)
    assert "score: ctr * cvr  # ? or `output:` with one of them" in suggest(content)
    schema = FeatureSchema.from_mapping(suggested(content))
    assert OnnxModel(compile_graph(content, schema), schema).score(np.array([[3, 5]], np.float32)).tolist() == [15]


def test_a_vector_that_is_features_by_name_is_answered_by_listing_them() -> None:
    answers: Answers = {"dense": ("product", ["price", "stock", "rating"])}
    schema = FeatureSchema.from_mapping(answer(suggest(dlrm_like()), answers))
    random = np.random.default_rng(1)
    dense, ids = random.random((9, 3), dtype=np.float32), {"user_id": random.integers(0, 20, 9), "item_id": random.integers(0, 30, 9)}  # fmt: skip # noqa: E501 - one look
    given = {"price": dense[:, :1], "stock": dense[:, 1:2], "rating": dense[:, 2:], **ids}
    scores = OnnxModel(compile_graph(dlrm_like(), schema), schema).score(columns_of(schema, given))
    np.testing.assert_allclose(scores, run(dlrm_like(), {"dense": dense, **ids}), rtol=1e-5)


def test_numbers_before_an_imputer_are_missing_as_nan() -> None:
    nodes = [
        helper.make_node("Concat", ["user_spend", "price"], ["x"], axis=1),
        helper.make_node(
            "Imputer",
            ["x"],
            ["y"],
            domain="ai.onnx.ml",
            imputed_value_floats=[3.0, 5.0],
            replaced_value_float=float("nan"),
        ),
        helper.make_node("ReduceSum", ["y", "axes"], ["scores"], keepdims=0),
    ]
    inputs = [tensor("user_spend", ["n", 1]), tensor("price", ["n", 1])]
    content = onnx_bytes(nodes, inputs, [tensor("scores", ["n"])], {"axes": np.array([1])})
    text = suggest(content)
    assert line_of(text, "user_spend").endswith("{name: user_spend, missing: nan}  # the graph replaces NaN")
    schema = FeatureSchema.from_mapping(yaml.safe_load(text))
    rows = schema.defaults[np.newaxis]
    assert OnnxModel(compile_graph(content, schema), schema).score(rows).tolist() == [8]


def test_trees_ask_what_stands_for_an_absent_value() -> None:
    node = helper.make_node(
        "TreeEnsembleRegressor", ["x"], ["scores"], domain="ai.onnx.ml", n_targets=1,
        nodes_treeids=[0, 0, 0], nodes_nodeids=[0, 1, 2], nodes_featureids=[1, 0, 0],
        nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"],
        nodes_values=[0.5, 0.0, 0.0], nodes_truenodeids=[1, 0, 0], nodes_falsenodeids=[2, 0, 0],
        nodes_missing_value_tracks_true=[1, 0, 0],
        target_ids=[0, 0], target_nodeids=[1, 2], target_treeids=[0, 0], target_weights=[1.0, 2.0],
    )  # fmt: skip
    text = suggest(onnx_bytes([node], [tensor("x", ["n", 2])], [tensor("scores", ["n", 1])]))
    asked = "  missing: nan  # ? what training had for an absent value: leave this out if it had 0"
    assert text.splitlines().count(asked) == 2
    assert count_questions(text) == 2 + 2 + 1 + 2  # and keys, whose features are, and two names


def test_model_without_user_features_leaves_the_user_out() -> None:
    found = answer(suggest(mlp_onnx(3)), {})
    del found["user"]
    schema = FeatureSchema.from_mapping(found)
    row = np.array([[1, 2, 3]], np.float32)
    np.testing.assert_allclose(
        OnnxModel(compile_graph(mlp_onnx(3), schema), schema).score(row), run(mlp_onnx(3), {"features": row})
    )


def test_what_an_absent_value_becomes_is_asked_of_each_entity() -> None:
    asked = "  # ? missing: default, nan or refuse, where values may be absent: as training had it"
    assert suggest(mlp_onnx(3)).splitlines().count(asked) == 2
    schema = FeatureSchema.from_mapping(answer(suggest(dlrm_like()), {}, missing="default"))
    assert {feature.missing for group in schema.groups.values() for feature in group.features} == {"default"}


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
    assert "rows: together  # ? candidates takes a whole list: its products go in one call" in text
    schema = FeatureSchema.from_mapping(yaml.safe_load(text))
    rows = np.array([[1, 2, 3, 4, 5], [1, 2, 6, 7, 8]], np.float32)
    scores = OnnxModel(compile_graph(content, schema), schema).score(rows)
    np.testing.assert_allclose(scores, run(content, {"user": rows[:1, :2], "candidates": rows[np.newaxis, :, 2:]}))


def test_the_columns_of_a_matrix_are_left_to_name_in_their_order() -> None:
    text = suggest(mlp_onnx(3))
    found = yaml.safe_load(text)
    assert found["columns"] == ["feature_0", "feature_1", "feature_2"] == found["product"]["features"]
    assert "features: []  # ? move here what is the user's; leave `user:` out where the model has none" in text
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
