"""Which output, and which column of it, is the score: never guessed, and what a refusal proposes works."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import onnxruntime
import pytest
import yaml
from onnx import TensorProto, helper

from ranker.errors import ModelRejected
from ranker.importing.compile import compile_graph
from ranker.scoring.model import OnnxModel
from tests.support.models import onnx_bytes, schema_of_width, tensor
from tests.unit.scoring.test_model import (
    FEATURES,
    SCHEMA,
    WIDTH,
    convert_lightgbm,
    convert_sklearn,
    line_in,
    quiet,
    rows,
    saying,
)


def classified(names: list[Any], kind: str) -> tuple[bytes, np.ndarray]:
    """A classifier of these two classes as ONNX, and its own P(names[0]) for 50 rows."""
    from lightgbm import LGBMClassifier
    from sklearn.ensemble import BaggingClassifier, StackingClassifier
    from sklearn.linear_model import LogisticRegression, RidgeClassifier
    from sklearn.neural_network import MLPClassifier
    from sklearn.svm import SVC

    x = rows(300)
    y = np.array(names)[(x[:, 0] < 0).astype(int)]  # names[0] where it is positive
    models: dict[str, Any] = {
        "logistic": LogisticRegression(),
        "network": MLPClassifier([8], max_iter=50, random_state=0),  # names its classes in no operator
        # Classifiers inside of these are trained on codes of the classes, and name the codes.
        "bag": BaggingClassifier(LogisticRegression(), n_estimators=3, random_state=0),
        "stack": StackingClassifier([("one", LogisticRegression())]),
        "vectors": SVC(),  # has two columns, the other way round
        "ridge": RidgeClassifier(),  # has one
        "lightgbm": LGBMClassifier(n_estimators=12, num_leaves=7, n_jobs=1, verbose=-1),
    }
    with quiet():
        model = models[kind].fit(x, y)
        if kind == "lightgbm":
            content = convert_lightgbm(model, zipmap=False)
        else:
            content = convert_sklearn(model, options={id(model): {"zipmap": False}})
        column = list(model.classes_).index(names[0])
        if kind in ("vectors", "ridge"):
            return content, model.decision_function(rows(50)) * (1 if column else -1)
        return content, model.predict_proba(rows(50))[:, column]


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["click", "no_click"], "logistic"),
        (["click", "no_click"], "network"),
        (["good", "bad"], "network"),
        ([1, 2], "logistic"),
        ([2, 1], "network"),
        ([7, 3], "lightgbm"),
        (["click", "no_click"], "bag"),
        (["click", "no_click"], "stack"),
        ([1, 2], "bag"),
        ([2, 1], "stack"),
    ],
)
def test_classes_that_do_not_say_which_is_wanted_are_refused_until_the_schema_says(names: list[Any], kind: str) -> None:
    content, wanted = classified(names, kind)
    with pytest.raises(ModelRejected, match=r"two columns of .* it is not plain which of them ranks first") as refused:
        OnnxModel(content, SCHEMA)
    lines = re.findall(r'`output: "(.*?)"`', str(refused.value))
    assert len(lines) == 2
    (line,) = (line for line in lines if line.endswith(f"[{names[0]}]"))
    chosen = OnnxModel(content, saying(SCHEMA, output=line))
    np.testing.assert_allclose(chosen.score(rows(50)), wanted, atol=1e-5)
    assert f"class {names[0]} of {', '.join(map(str, sorted(names)))}" in str(chosen.output)


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        ([1, 0], "logistic"),
        ([1, 0], "network"),
        ([1, 0], "lightgbm"),
        ([1, -1], "logistic"),
        (["yes", "no"], "logistic"),
        (["True", "False"], "network"),
        ([1, 0], "bag"),
        (["yes", "no"], "stack"),
    ],
)
def test_of_classes_that_are_plainly_no_and_yes_the_second_is_the_score(names: list[Any], kind: str) -> None:
    content, wanted = classified(names, kind)
    model = OnnxModel(content, SCHEMA)
    np.testing.assert_allclose(model.score(rows(50)), wanted, atol=1e-5)
    assert str(model.output).endswith(f", column 1 (class {names[0]} of {names[1]}, {names[0]})")


@pytest.mark.parametrize("names", [["click", "no_click"], [1, 0], [1, 2]])
def test_classes_whose_columns_are_the_other_way_round_have_those_of_their_labels(names: list[Any]) -> None:
    content, wanted = classified(names, "vectors")
    schema = saying(SCHEMA, output=f"probabilities[{names[0]}]")
    np.testing.assert_allclose(OnnxModel(content, schema).score(rows(50)), wanted, atol=1e-4)
    with pytest.raises(ModelRejected, match="no class probabilities") as refused:
        OnnxModel(content, SCHEMA)
    if names == [1, 0]:
        assert line_in(refused.value) == {"output": "probabilities[1]"}


@pytest.mark.parametrize("names", [["click", "no_click"], [1, 2], [2, 1], ["it's", 'a "b"']])
def test_classes_that_a_refusal_of_a_formula_proposes_are_those_that_it_says(names: list[Any]) -> None:
    content, wanted = classified(names, "logistic")
    with pytest.raises(ModelRejected, match="it is not plain which of them ranks first") as refused:
        compile_graph(content, saying(SCHEMA, score="2 * probabilities"))
    terms = re.findall(r"`(probabilities\[.*?\])`", str(refused.value))
    (term,) = (term for term in terms if term == f"probabilities[{str(names[0])!r}]")
    schema = saying(SCHEMA, score=f"2 * {term}")
    np.testing.assert_allclose(OnnxModel(compile_graph(content, schema), schema).score(rows(50)), 2 * wanted, atol=1e-5)


@pytest.mark.parametrize("names", [["click", "no_click"], ["no_click", "click"], [1, 2]])
def test_one_score_that_is_high_for_either_of_two_classes_is_refused_until_the_schema_says(names: list[Any]) -> None:
    content, wanted = classified(names, "ridge")
    with pytest.raises(ModelRejected, match="probabilities is high for rows of class") as refused:
        OnnxModel(content, SCHEMA)
    lines = {name: yaml.safe_load(line) for line, name in re.findall(r"`([^`]*)` for (\w+)", str(refused.value))}
    schema = saying(SCHEMA, **lines[str(names[0])])
    np.testing.assert_allclose(OnnxModel(compile_graph(content, schema), schema).score(rows(50)), wanted, atol=1e-5)


def test_one_score_that_is_high_for_the_plainly_wanted_class_is_taken() -> None:
    content, wanted = classified([1, 0], "ridge")
    np.testing.assert_allclose(OnnxModel(content, SCHEMA).score(rows(50)), wanted, atol=1e-5)


def heads(*names: str) -> bytes:
    """A graph with one score per row under each name: the row's sum, times 1, 2, …"""
    nodes = [helper.make_node("ReduceSum", ["features", "axes"], ["sum"], keepdims=0)]
    constants = {"axes": np.array([1])}
    for i, name in enumerate(names):
        constants[f"w{i}"] = np.array([i + 1], np.float32)
        nodes.append(helper.make_node("Mul", ["sum", f"w{i}"], [name]))
    return onnx_bytes(nodes, [FEATURES], [tensor(name, ["n"]) for name in names], constants)


@pytest.mark.parametrize("chosen", [0, 1])
def test_of_two_heads_none_is_chosen_for_its_name(chosen: int) -> None:
    content = heads("click_prob", "utility")
    with pytest.raises(ModelRejected, match="`output: click_prob` or `output: utility`"):
        OnnxModel(content, SCHEMA)
    model = OnnxModel(content, saying(SCHEMA, output=("click_prob", "utility")[chosen]))
    np.testing.assert_allclose(model.score(rows(9)), (chosen + 1) * rows(9).sum(1), rtol=1e-5)


def test_an_output_that_is_no_score_leaves_no_choice() -> None:
    nodes = [
        helper.make_node("ReduceSum", ["features", "axes"], ["scores"], keepdims=0),
        helper.make_node("Identity", ["features"], ["hidden"]),
    ]
    outputs = [tensor("hidden", ["n", WIDTH]), tensor("scores", ["n"])]
    assert OnnxModel(onnx_bytes(nodes, [FEATURES], outputs, {"axes": np.array([1])}), SCHEMA).output.name == "scores"


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("utilty", "graph has the outputs click_prob, utility"),
        ("utility[1]", r"has no columns to choose from: \(1,\), \(2,\), \(3,\)\. Write `output: utility`"),
    ],
)
def test_an_output_of_the_schema_that_the_graph_has_not_is_refused(output: str, said: str) -> None:
    with pytest.raises(ModelRejected, match=said):
        OnnxModel(heads("click_prob", "utility"), saying(SCHEMA, output=output))


@pytest.mark.parametrize("column", ["maybe", "2", "-1", ""])
def test_a_class_that_there_is_not_is_refused_with_those_there_are(column: str) -> None:
    content, _ = classified(["click", "no_click"], "logistic")
    with pytest.raises(ModelRejected, match="it has the classes click, no_click, and the columns 0 to 1"):
        OnnxModel(content, saying(SCHEMA, output=f"probabilities[{column}]"))


def test_a_column_is_chosen_by_its_number_where_no_class_has_it_for_a_name() -> None:
    content, wanted = classified(["click", "no_click"], "logistic")
    np.testing.assert_allclose(
        OnnxModel(content, saying(SCHEMA, output="probabilities[0]")).score(rows(50)), wanted, atol=1e-5
    )


@pytest.mark.parametrize(
    ("nodes", "shape", "described"),
    [
        ([helper.make_node("Squeeze", ["sums"], ["scores"])], ["k"], "(n,)"),  # () for a single row
        ([helper.make_node("Reshape", ["sums", "lying"], ["scores"])], [1, "n"], "(1, n)"),
        ([helper.make_node("Reshape", ["sums", "deep"], ["scores"])], ["n", 1, 1], "(n, 1, 1)"),
    ],
)
def test_one_score_per_row_is_found_in_whatever_axes_it_lies(nodes: Any, shape: Any, described: str) -> None:
    constants = {"axes": np.array([1]), "lying": np.array([1, -1]), "deep": np.array([-1, 1, 1])}
    sums = helper.make_node("ReduceSum", ["features", "axes"], ["sums"], keepdims=1)
    model = OnnxModel(onnx_bytes([sums, *nodes], [FEATURES], [tensor("scores", shape)], constants), SCHEMA)
    assert model.output.shape == described
    for n in (1, 2, 9):
        np.testing.assert_allclose(model.score(rows(n)), rows(n).sum(1), rtol=1e-5)


def test_a_column_is_found_behind_an_axis_of_one() -> None:
    nodes = [helper.make_node("Reshape", ["features", "slate"], ["heads"])]
    content = onnx_bytes(nodes, [FEATURES], [tensor("heads", [1, "n", WIDTH])], {"slate": np.array([1, -1, WIDTH])})
    model = OnnxModel(content, saying(SCHEMA, output="heads[2]"))
    np.testing.assert_array_equal(model.score(rows(9)), rows(9)[:, 2])


def test_an_id_that_no_table_holds_is_cured_by_the_default_that_the_refusal_names() -> None:
    nodes = [
        helper.make_node("ReduceSum", ["features", "axes"], ["sums"], keepdims=0),
        helper.make_node("Cast", ["sums"], ["ids"], to=TensorProto.INT64),
        helper.make_node("Sub", ["ids", "first"], ["rows"]),
        helper.make_node("Gather", ["table", "rows"], ["scores"]),
    ]
    table = np.random.default_rng(0).random(50, dtype=np.float32)
    constants = {"axes": np.array([1]), "first": np.array([1000]), "table": table}
    content = onnx_bytes(nodes, [tensor("features", ["n", 2])], [tensor("scores", ["n"])], constants)
    schema = {"user": {"features": ["u"]}, "product": {"features": ["item_id"]}}
    with pytest.raises(ModelRejected, match="table that does not hold it") as refused:
        OnnxModel(content, schema_of_width(1, 1).from_mapping(schema))
    assert "{name: item_id, default: 1000}" in str(refused.value)
    schema["product"]["features"] = [{"name": "item_id", "default": 1000}]  # type: ignore[list-item]
    model = OnnxModel(content, schema_of_width(1, 1).from_mapping(schema))
    assert model.score(np.array([[0, 1007]], np.float32)).tolist() == [table[7]]


def test_a_file_that_onnx_runtime_alone_reads_has_no_classes_to_go_by(tmp_path: Any) -> None:
    content, wanted = classified(["click", "no_click"], "logistic")
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "model.ort")
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(content, options)
    chosen = OnnxModel(tmp_path / "model.ort", saying(SCHEMA, output="probabilities[0]"))
    np.testing.assert_allclose(chosen.score(rows(50)), wanted, atol=1e-5)
    with pytest.raises(ModelRejected, match="classes click and no_click") as refused:  # its labels show them
        OnnxModel(tmp_path / "model.ort", SCHEMA)
    assert line_in(refused.value) == {"output": "probabilities[click]"}


def test_constants_of_a_graph_are_no_classes() -> None:
    nodes = [
        helper.make_node("MatMul", ["features", "classlabels_ints"], ["raw"]),
        helper.make_node("Softmax", ["raw"], ["scores"], axis=1),
    ]
    content = onnx_bytes(
        nodes, [FEATURES], [tensor("scores", ["n", 2])], {"classlabels_ints": np.ones((WIDTH, 2), np.float32)}
    )
    assert OnnxModel(content, SCHEMA).output.classes == ()


def test_each_of_several_heads_gives_its_scores_beside_the_one_that_ranks() -> None:
    model = OnnxModel(heads("click_prob", "utility"), saying(SCHEMA, output="utility"))
    given = model.outputs(rows(9))
    assert sorted(given) == ["click_prob", "utility"]
    for name, times in (("click_prob", 1), ("utility", 2)):
        np.testing.assert_allclose(given[name], times * rows(9).sum(1), rtol=1e-5)
        assert (given[name].dtype, given[name].shape) == (np.float32, (9,))
    np.testing.assert_array_equal(given["utility"], model.score(rows(9)))
    assert OnnxModel(heads("scores"), SCHEMA).outputs(rows(2)) == {}


def test_outputs_beside_the_score_are_the_wanted_class_and_infinite_where_float32_ends() -> None:
    nodes = [
        helper.make_node("MatMul", ["features", "w"], ["raw"]),
        helper.make_node("Softmax", ["raw"], ["p"], axis=1),
        helper.make_node("ReduceSum", ["features", "axes"], ["sum"], keepdims=0),
        helper.make_node("Cast", ["sum"], ["double"], to=TensorProto.DOUBLE),
        helper.make_node("Mul", ["double", "much"], ["large"]),
    ]
    constants = {"w": rows(WIDTH, width=2), "axes": np.array([1]), "much": np.array(1e300)}
    nodes.append(helper.make_node("Identity", ["features"], ["hidden"]))
    outputs = [tensor("hidden", ["n", WIDTH]), tensor("p", ["n", 2]), tensor("large", ["n"], TensorProto.DOUBLE)]
    model = OnnxModel(onnx_bytes(nodes, [FEATURES], outputs, constants), saying(SCHEMA, output="p[1]"))
    given = model.outputs(rows(9))
    assert sorted(given) == ["large", "p"]
    np.testing.assert_array_equal(given["p"], model.score(rows(9)))
    np.testing.assert_array_equal(given["large"], np.copysign(np.float32(np.inf), rows(9).sum(1)))
