"""What could be taken for something else is refused, with the line to add; and the line works."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import yaml
from onnx import TensorProto, helper

from ranker.errors import ModelRejected
from ranker.importing.compile import compile_graph
from ranker.scoring.model import OnnxModel
from ranker.vectors.schema import FeatureSchema
from tests.support.models import onnx_bytes, tensor
from tests.unit.importing.test_preamble import TYPED, schema, weighted, whole


def line_in(refused: pytest.ExceptionInfo[ModelRejected]) -> Any:
    found = re.search(r"`(\w+: [^`]+)`", str(refused.value))
    assert found, refused.value
    return yaml.safe_load(found[1])


@pytest.mark.parametrize(
    "inputs",
    [
        [("a", ["n", 2], "float"), ("b", ["n", 3], "int64")],
        [("x1", ["n", 1], "int64"), ("x2", ["n", 1], "int64"), ("x3", ["n", 3], "float")],
        [("price", ["n", 1], "float"), ("x", ["n", 2], "float"), ("y", ["n", 2], "float")],
    ],
)
def test_inputs_whose_names_do_not_tell_are_refused_with_a_line_that_works(inputs: Any) -> None:
    graph = weighted(inputs, [shape[1] for _, shape, _ in inputs])
    with pytest.raises(ModelRejected, match="cannot be told") as refused:
        compile_graph(graph, schema())
    line = line_in(refused)
    if "FEATURE" in str(line):
        line["inputs"]["x"], line["inputs"]["y"] = ["age", "spend"], ["stock", "margin"]
    said = schema(**line)
    assert len(OnnxModel(compile_graph(graph, said), said).score(whole())) == len(whole())


def test_prices_and_ages_are_never_crossed() -> None:
    said = FeatureSchema.from_mapping({"user": {"features": ["age"]}, "product": {"features": ["price"]}})
    nodes = [helper.make_node("Identity", ["age"], ["score"])]
    graph = onnx_bytes(nodes, [tensor("price", ["n", 1]), tensor("age", ["n", 1])], [tensor("score", ["n", 1])])
    assert OnnxModel(compile_graph(graph, said), said).score(np.array([[30, 5]], np.float32)).tolist() == [30]


@pytest.mark.parametrize("name", ["age", "Age", "age:0"])
def test_an_input_of_a_features_name_takes_it_though_another_groups_width_fits(name: str) -> None:
    features = {"user": {"features": ["age", "spend", "visits"]}, "product": {"features": ["price"]}}
    said = FeatureSchema.from_mapping(features)
    graph = weighted([(name, ["n", 1], "float"), ("dense", ["n", 3], "float")], [1, 3])
    with pytest.raises(ModelRejected, match="What the input dense of 2 should get cannot be told"):
        compile_graph(graph, said)
    with pytest.raises(ModelRejected, match="cannot be told apart"):  # one that was stored so before
        OnnxModel(graph, said)
    said = FeatureSchema.from_mapping(features | {"inputs": {"dense": ["spend", "visits", "price"]}})
    rows = np.float32([[1, 2, 3, 4]])
    assert OnnxModel(compile_graph(graph, said), said).score(rows).tolist() == [4321]


@pytest.mark.parametrize(
    ("feature", "axes"),
    [
        ({"shape": [2, 3]}, [3, 2]),
        ({"shape": [4, 3]}, [2, 6]),
        ({"length": 2, "shape": [3]}, [3, 2]),
        ({"length": 2, "shape": [3]}, [3, "places"]),
    ],
)
def test_axes_in_another_order_than_a_features_are_refused(feature: dict[str, Any], axes: list[Any]) -> None:
    said = FeatureSchema.from_mapping({"product": {"features": [{"name": "style"} | feature]}})
    width = said.product.features[0].size
    with pytest.raises(ModelRejected, match="as many values, in another order") as refused:
        compile_graph(weighted([("style", ["n", *axes], "float")], [width]), said)
    shown = re.search(r"with rows of \((.*?)\), and", str(refused.value))
    assert shown is not None
    turned = [int(axis) for axis in shown[1].split(", ")]
    OnnxModel(compile_graph(weighted([("style", ["n", *turned], "float")], [width]), said), said)


@pytest.mark.parametrize(
    ("feature", "axes"),
    [
        ({"shape": [2, 3]}, [6]),
        ({"shape": [6]}, [3, 2]),
        ({"shape": [2, 3]}, [1, 2, 3]),
        ({"shape": [2, 3]}, [2, 3, 1]),
        ({"shape": [2, 2, 3]}, [4, 3]),
        ({"length": 2, "shape": [3]}, ["places", 3]),
    ],
)
def test_axes_that_join_or_divide_a_features_take_its_values_in_their_order(
    feature: dict[str, Any], axes: list[Any]
) -> None:
    said = FeatureSchema.from_mapping({"product": {"features": [{"name": "style"} | feature]}})
    size = said.product.features[0].size
    model = OnnxModel(compile_graph(weighted([("style", ["n", *axes], "float")], [size]), said), said)
    values = np.arange(1, size + 1, dtype=np.float32)
    rows = np.concatenate([[2] * ("length" in feature), values]).astype(np.float32)[np.newaxis]
    np.testing.assert_allclose(model.score(rows), [float(values @ 10.0 ** np.arange(size))], rtol=1e-6)


@pytest.mark.parametrize(("kind", "codes"), [("bool", 2), ("int8", 128), ("uint8", 256), ("float16", 2049)])
def test_a_vocabulary_of_more_codes_than_an_input_tells_apart_is_refused(kind: str, codes: int) -> None:
    def saying(texts: int) -> FeatureSchema:
        brand = {"name": "brand", "type": "category", "vocabulary": [f"b{i}" for i in range(texts)]}
        return FeatureSchema.from_mapping({"product": {"features": [brand]}})

    graph = weighted([("brand", ["n", 1], kind)], [1])
    with pytest.raises(ModelRejected, match=rf"tells {codes:,} codes apart, and the vocabulary of product\.brand has"):
        compile_graph(graph, saying(codes + 1))
    model = OnnxModel(compile_graph(graph, saying(codes)), saying(codes))
    assert model.score(np.float32([[codes - 1]])).tolist() == [codes - 1]


HISTORIES = [{"name": "ids", "length": 5}, {"name": "kinds", "length": 5}]
VECTORS = [{"name": "style", "shape": [3]}, {"name": "taste", "shape": [3]}]
MIXED = [{"name": "styles", "shape": [2, 3]}, {"name": "style", "shape": [3]}]
NUMBERS = [{"name": name} for name in "abcdef"]


@pytest.mark.parametrize(
    ("features", "axes"),
    [
        (HISTORIES, [5, 2]),
        (VECTORS, [3, 2]),
        (VECTORS, ["places", 2]),
        ([VECTORS[0], {"name": "price"}], [2, 2]),
        ([{"name": "styles", "shape": [4, 3]}, {"name": "prices", "shape": [4]}], [4, 4]),
    ],
)
def test_values_behind_one_another_do_not_fill_axes_that_would_mix_them(
    features: list[dict[str, Any]], axes: list[Any]
) -> None:
    said = FeatureSchema.from_mapping({"product": {"features": features}})
    width = sum(feature.size for feature in said.product.features)
    with pytest.raises(ModelRejected, match="as many values, in another order"):
        compile_graph(weighted([("x", ["n", *axes], "float")], [width]), said)
    flat = weighted([("x", ["n", width], "float")], [width])
    OnnxModel(compile_graph(flat, said), said)


@pytest.mark.parametrize(
    ("features", "axes"), [(VECTORS, [2, 3]), (MIXED, [3, 3]), (MIXED, [1, 9]), (NUMBERS, [3, 2]), (NUMBERS, [2, 1, 3])]
)
def test_values_behind_one_another_fill_axes_that_count_them(features: list[dict[str, Any]], axes: list[int]) -> None:
    said = FeatureSchema.from_mapping({"product": {"features": features}})
    width = said.width
    model = OnnxModel(compile_graph(weighted([("x", ["n", *axes], "float")], [width]), said), said)
    row = np.arange(1, width + 1, dtype=np.float32)
    np.testing.assert_allclose(model.score(row[np.newaxis]), [float(row @ 10.0 ** np.arange(width))], rtol=1e-6)


def test_a_name_that_only_holds_a_groups_word_is_not_that_groups() -> None:
    graph = weighted([("history_items", ["n", 2], "int64"), ("item", ["n", 3], "float")], [2, 3])
    with pytest.raises(ModelRejected, match="history_items"):
        compile_graph(graph, schema())


def test_a_feature_that_two_groups_have_must_be_said_with_its_group() -> None:
    said = {"user": {"features": ["score_7d", "age"]}, "product": {"features": ["score_7d"]}}
    graph = weighted([(name, ["n", 1], "float") for name in ("score_7d", "age", "other")], [1, 1, 1])
    with pytest.raises(ModelRejected, match="score_7d, other of 3"):
        compile_graph(graph, FeatureSchema.from_mapping(said))
    with pytest.raises(ModelRejected, match=r"say `user\.score_7d` or `product\.score_7d`"):
        compile_graph(graph, FeatureSchema.from_mapping(said | {"inputs": {"score_7d": "score_7d", "other": "age"}}))
    whole_line = {"score_7d": "product.score_7d", "other": "user.score_7d"}
    found = FeatureSchema.from_mapping(said | {"inputs": whole_line})
    model = OnnxModel(compile_graph(graph, found), found)
    assert model.score(np.array([[1, 2, 3]], np.float32)).tolist() == [123]  # 3 + 10 * 2 + 100 * 1


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"inputs": {"y": "price"}}, "names y; the graph has the inputs x"),
        ({"inputs": {"x": "cost"}}, "neither a group .user, product. nor a feature"),
        ({"inputs": {"x": ["price", "product"]}}, r"says product\.price twice"),
        ({"inputs": {"x": {"mask": "price"}}}, "mask of price, which is no sequence"),
        ({"inputs": {"x": ["user", "product"]}, "columns": ["age"]}, "Leave `columns:` out"),
        ({"columns": ["age", "age"]}, r"says user\.age twice"),
        ({"columns": ["age", "price"]}, "takes 5 values a row, and the schema gives it 2"),
        ({"columns": ["age", "cost"]}, "`columns:` says cost, which is neither"),
    ],
)
def test_what_the_schema_says_amiss_is_refused(more: dict[str, Any], said: str) -> None:
    with pytest.raises(ModelRejected, match=said):
        compile_graph(weighted([("x", ["n", 5], "double")], [5]), schema(**more))


def test_columns_are_refused_for_several_inputs() -> None:
    graph = weighted([("user", ["n", 2], "float"), ("product", ["n", 3], "float")], [2, 3])
    with pytest.raises(ModelRejected, match=r"`columns:`, .* one input"):
        compile_graph(graph, schema(columns=["age", "spend", "price", "stock", "margin"]))


@pytest.mark.parametrize(
    ("name", "kind", "features", "said"),
    [
        ("price", "string", ["price"], r"takes strings, and product\.price is float32: give it `type: category`"),
        ("price", "int64", [{"name": "price", "missing": "nan"}], "has no NaN"),
        ("new", "bool", [{"name": "new", "type": "bool", "missing": "nan"}], "has no NaN"),
        ("note", "float", [{"name": "note", "type": "text", "length": 9}], "type is text: give it `type: category`"),
        ("price", "bfloat16", ["price"], "features can give"),
    ],
)
def test_a_kind_that_a_feature_cannot_give_is_refused(name: str, kind: str, features: Any, said: str) -> None:
    found = FeatureSchema.from_mapping({"user": {"features": ["age"]}, "product": {"features": features}})
    nodes = [helper.make_node("Identity", ["age"], ["scores"]), helper.make_node("Identity", [name], ["same"])]
    element = TensorProto.DataType.Value(kind.upper())
    inputs = [tensor("age", ["n", 1]), tensor(name, ["n", 1], element)]
    outputs = [tensor("scores", ["n", 1]), tensor("same", ["n", 1], element)]
    with pytest.raises(ModelRejected, match=said):
        compile_graph(onnx_bytes(nodes, inputs, outputs), found)


@pytest.mark.parametrize("slate", [[1, "n", 3], ["b", "n", 3], [None, None, 3]])
def test_a_slate_is_refused_until_the_schema_says_that_rows_go_together(slate: list[Any]) -> None:
    nodes = [helper.make_node("ReduceSum", ["product", "axes"], ["scores"], keepdims=0)]
    graph = onnx_bytes(nodes, [tensor("product", slate)], [tensor("scores", ["b", "k"])], {"axes": np.array([2])})
    with pytest.raises(ModelRejected, match="Say `rows: together`"):
        compile_graph(graph, schema(inputs={"product": "product"}))
    said = schema(inputs={"product": "product"}, rows="together")
    assert OnnxModel(compile_graph(graph, said), said).score(whole()).shape == (len(whole()),)


def test_one_row_for_all_that_is_no_requests_is_refused() -> None:
    graph = weighted([("user", ["n", 2], "float"), ("product", [1, 3], "float")], [2, 3])
    with pytest.raises(
        ModelRejected, match=r"product is one row for a whole list, and product\.price is another for each"
    ):
        compile_graph(graph, schema(rows="together"))


def test_a_user_given_once_whose_axis_is_built_in_is_refused_with_both_ways_out() -> None:
    nodes = [
        helper.make_node("Reshape", ["user", "one"], ["u"]),
        helper.make_node("MatMul", ["u", "w"], ["t"]),
        helper.make_node("MatMul", ["product", "t"], ["scores"]),
    ]
    constants = {"one": np.array([2, 1]), "w": np.ones((1, 1), np.float32)}
    inputs = [tensor("user", [1, 2]), tensor("product", ["n", 2])]
    graph = onnx_bytes(nodes, inputs, [tensor("scores", ["n", 1])], constants)
    features = {"user": {"features": ["a", "b"]}, "product": {"features": ["c", "d"]}}
    with pytest.raises(ModelRejected, match=r"dynamic first axis.* Or say `rows: together` .*user one row"):
        compile_graph(graph, FeatureSchema.from_mapping(features))
    said = FeatureSchema.from_mapping(features | {"rows": "together"})
    scores = OnnxModel(compile_graph(graph, said), said).score(np.array([[1, 2, 3, 4], [1, 2, 5, 6]], np.float32))
    assert scores.tolist() == [11, 17]


def test_whole_numbers_that_a_feature_rounds_are_told() -> None:
    inputs = [("dense", ["n", 3], "float"), ("ids", ["n", 2], "int64")]
    said = schema(inputs={"dense": "product", "ids": "user"})
    made = OnnxModel(compile_graph(weighted(inputs, [3, 2]), said), said).compiled
    assert made is not None
    (note,) = made.notes
    assert note.startswith("ids takes int64, and user.age, user.spend as float32 holds whole numbers up to 16,777,216")


def test_a_code_that_a_table_would_take_from_its_end_is_told() -> None:
    brand = {"name": "brand", "type": "category", "vocabulary": ["a", "b"], "unknown": -1}
    found = FeatureSchema.from_mapping({"user": {"features": ["age"]}, "product": {"features": [brand]}})
    nodes = [helper.make_node("Gather", ["t", "brand"], ["e"]), helper.make_node("Add", ["e", "age"], ["scores"])]
    inputs = [tensor("brand", ["n"], TensorProto.INT64), tensor("age", ["n"])]
    graph = onnx_bytes(nodes, inputs, [tensor("scores", ["n"])], {"t": np.array([1, 2], np.float32)})
    made = OnnxModel(compile_graph(graph, found), found).compiled
    assert made is not None
    (note,) = made.notes
    assert note.startswith("brand gets a code below 0 for texts that product.brand does not know")


def test_the_features_that_nothing_takes_are_told() -> None:
    found = FeatureSchema.from_mapping(TYPED | {"score": "s + price"})
    nodes = [helper.make_node("Cast", ["item_id"], ["s"], to=TensorProto.FLOAT)]
    graph = onnx_bytes(nodes, [tensor("item_id", ["n", 1], TensorProto.INT64)], [tensor("s", ["n", 1])])
    made = OnnxModel(compile_graph(graph, found), found).compiled
    assert made is not None
    assert made.unused == ("user.segment", "user.viewed", "user.taste", "product.sku")


def grouped(**more: Any) -> FeatureSchema:
    seller = {"per": "product", "key": "seller:{product.seller_id}", "features": ["rating", "age"]}
    product = ["price", {"name": "seller_id", "type": "int64"}]
    said = {"user": {"features": ["spend"]}, "product": {"features": product}, "groups": {"seller": seller}}
    return FeatureSchema.from_mapping(said | more)


def test_an_input_takes_the_group_of_its_name_under_a_key_of_its_own() -> None:
    graph = weighted([("spend", ["n"], "int64"), ("seller", ["n", 2], "float")], [1, 2])
    model = OnnxModel(compile_graph(graph, grouped()), grouped())
    row = np.float32([[1, 9, 0, 0, 0, 2, 3]])  # spend, price, seller_id in three, rating, age
    assert model.score(row).tolist() == [321]


def test_a_group_has_its_name_before_a_word_that_means_another() -> None:
    item = {"per": "product", "key": "item:{product.seller_id}", "features": ["rating", "age"]}
    said = grouped(product={"features": [{"name": "seller_id", "type": "int64"}, "a"]}, groups={"item": item})
    graph = weighted([("spend", ["n"], "int64"), ("item", ["n", 2], "float")], [1, 2])
    assert OnnxModel(compile_graph(graph, said), said).score(np.float32([[1, 0, 0, 0, 9, 2, 3]])).tolist() == [321]


def test_a_name_that_is_a_groups_and_a_features_is_asked_about_where_both_fit() -> None:
    seller = {"per": "product", "key": "seller:{product.seller_id}", "features": ["rating"]}
    product = {"features": ["seller", {"name": "seller_id", "type": "int64"}]}
    said = grouped(product=product, groups={"seller": seller})
    graph = weighted([("spend", ["n"], "int64"), ("seller", ["n", 1], "float")], [1, 1])
    with pytest.raises(ModelRejected, match="What the input seller of 2 should get cannot be told"):
        compile_graph(graph, said)
    wide = grouped(product=product)  # two features in the group, so one of the two alone fits
    model = OnnxModel(compile_graph(graph, wide), wide)
    assert model.score(np.float32([[1, 5, 0, 0, 0, 2, 3]])).tolist() == [51]


def test_one_matrix_for_each_group_goes_by_the_groups_names() -> None:
    groups = {
        name: {"per": "user", "key": f"{name}:{{userId}}", "features": [f"{name}_1", f"{name}_2"]}
        for name in ("live", "weekly")
    }
    said = grouped(product={"features": ["price"]}, groups=groups)
    names = ("weekly", "product", "user", "live")
    graph = weighted([(name, ["n", said.groups[name].width], "float") for name in names], [2, 1, 1, 2])
    assert compile_graph(graph, said) == graph
    assert OnnxModel(graph, said).score(np.float32([[1, 2, 3, 4, 5, 6]])).tolist() == [431265]
