"""A formula scores what it says: as numpy computes it, in double precision; and nothing but a formula is taken."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from ranker.errors import ModelRejected
from ranker.importing.compile import compile_graph
from ranker.importing.formula import FUNCTIONS, parse
from ranker.scoring.model import OnnxModel
from ranker.vectors.schema import FeatureSchema
from tests.support.models import mlp_onnx, onnx_bytes, tensor
from tests.unit.scoring.test_model import SCHEMA, convert_lightgbm, quiet, rows, saying

Values = dict[str, np.ndarray]


def schema(score: str, **more: Any) -> FeatureSchema:
    groups = {"user": {"features": ["age"]}, "product": {"features": ["price", "stock"]}}
    return FeatureSchema.from_mapping(groups | {"score": score} | more)


def two_heads() -> bytes:
    """Outputs ctr (n,), cvr (n, 1) and probabilities (n, 3) of a matrix (n, 3)."""
    nodes = [
        helper.make_node("Gather", ["features", "zero"], ["first"], axis=1),
        helper.make_node("Sigmoid", ["first"], ["ctr"]),
        helper.make_node("Gather", ["features", "one"], ["cvr"], axis=1),
        helper.make_node("Softmax", ["features"], ["probabilities"], axis=1),
    ]
    outputs = [tensor("ctr", ["n"]), tensor("cvr", ["n", 1]), tensor("probabilities", ["n", 3])]
    constants = {"zero": np.array(0), "one": np.array([1])}
    return onnx_bytes(nodes, [tensor("features", ["n", 3])], outputs, constants)


@pytest.mark.parametrize(
    ("text", "said", "remedy"),
    [
        ("probabilities * price", "It has 3 columns", "probabilities[2]"),
        ("probabilities[7]", "`score:` says probabilities[7]; it has the columns 0 to 2", "probabilities[2]"),
        ("ctr[1]", "`score:` says ctr[1], and ctr has no columns", "ctr"),
    ],
)
def test_output_that_a_formula_cannot_take_is_refused_with_what_the_formula_may_say(
    text: str, said: str, remedy: str
) -> None:
    with pytest.raises(ModelRejected) as refused:
        compile_graph(two_heads(), schema(text))
    assert said in str(refused.value)
    assert "`output:" not in str(refused.value)
    if "[7]" not in text:
        assert f"`{remedy}`" in str(refused.value)
    compile_graph(two_heads(), schema(text.replace(text.split(" ")[0], remedy)))


def test_outputs_that_a_formula_joins_are_given_as_it_calls_them() -> None:
    joined = schema("ctr * probabilities[2] + price")
    outputs = OnnxModel(compile_graph(two_heads(), joined), joined).outputs(ROWS)
    assert [*outputs] == ["ctr", "probabilities[2]"]
    np.testing.assert_allclose(outputs["ctr"], VALUES["ctr"], rtol=1e-5)
    np.testing.assert_allclose(outputs["probabilities[2]"], VALUES["p2"], rtol=1e-5)


def test_all_single_outputs_are_given_where_one_of_several_is_the_score() -> None:
    groups = {"user": {"features": ["age"]}, "product": {"features": ["price", "stock"]}}
    outputs = OnnxModel(two_heads(), FeatureSchema.from_mapping(groups | {"output": "cvr"})).outputs(ROWS)
    assert [*outputs] == ["ctr", "cvr"]
    np.testing.assert_allclose(outputs["cvr"], VALUES["cvr"], rtol=1e-5)


def test_no_outputs_are_given_beside_a_single_one() -> None:
    assert OnnxModel(mlp_onnx(SCHEMA.width), SCHEMA).outputs(rows(3)) == {}


ROWS = (np.random.default_rng(0).random((50, 3), dtype=np.float32) * 4 - 1).astype(np.float32)
VALUES: Values = {
    "ctr": 1 / (1 + np.exp(-ROWS[:, 0])),
    "cvr": ROWS[:, 1],
    "p2": np.exp(ROWS[:, 2]) / np.exp(ROWS).sum(1),
    "age": ROWS[:, 0],
    "price": ROWS[:, 1],
    "stock": ROWS[:, 2],
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ctr * cvr", lambda v: v["ctr"] * v["cvr"]),
        ("ctr ** 0.5 * log1p(abs(price))", lambda v: v["ctr"] ** 0.5 * np.log1p(np.abs(v["price"]))),
        ("-ctr + +cvr - 3 / 2", lambda v: -v["ctr"] + v["cvr"] - 1.5),
        ("where(product.stock > 0, ctr, -1e9)", lambda v: np.where(v["stock"] > 0, v["ctr"], -1e9)),
        ("(ctr >= 0.5) + (cvr != price) + (age == age)", lambda v: (v["ctr"] >= 0.5) + 1.0),
        ("min(ctr, cvr, 0.3) + max(age, stock)", lambda v: np.minimum(np.minimum(v["ctr"], v["cvr"]), 0.3) + np.maximum(v["age"], v["stock"])),  # noqa: E501 - one line a case
        ("clip(cvr, 0, 1) + ctr * 0", lambda v: np.clip(v["cvr"], 0, 1)),
        ("exp(ctr) + sqrt(abs(cvr)) + sigmoid(stock) + log(ctr)", lambda v: np.exp(v["ctr"]) + np.sqrt(np.abs(v["cvr"])) + 1 / (1 + np.exp(-v["stock"])) + np.log(v["ctr"])),  # noqa: E501 - one line a case
        ("probabilities[2]", lambda v: v["p2"]),
        ("'probabilities'[2] * 2", lambda v: v["p2"] * 2),
        ("where(where(ctr < 2, 0, 1), 1, ctr)", lambda v: v["ctr"]),
    ],
)  # fmt: skip
def test_a_formula_scores_what_numpy_does(text: str, expected: Callable[[Values], np.ndarray]) -> None:
    said = schema(text)
    model = OnnxModel(compile_graph(two_heads(), said), said)
    np.testing.assert_allclose(model.score(ROWS), expected(VALUES), rtol=1e-5, atol=1e-6)
    assert model.compiled is not None
    assert model.compiled.parts


def test_a_formula_is_computed_in_double_precision() -> None:
    said = schema("(cvr + 16777216) - 16777216 + log1p(ctr * 1e-9) * 1e9 - ctr")
    model = OnnxModel(compile_graph(two_heads(), said), said)
    np.testing.assert_allclose(model.score(ROWS), VALUES["cvr"], atol=1e-4)


def test_an_infinite_score_stays_infinite() -> None:
    said = schema("log(ctr * 0) + 1e300 * 1e300 * (ctr < 0)")
    with pytest.raises(ModelRejected, match="NaN"):
        compile_graph(two_heads(), said)
    said = schema("log(ctr * 0)")
    assert (OnnxModel(compile_graph(two_heads(), said), said).score(ROWS) == -np.inf).all()


def test_only_the_outputs_of_the_formula_stay() -> None:
    said = schema("ctr * cvr")
    model = OnnxModel(compile_graph(two_heads(), said), said)
    assert [node.name for node in model._session.outputs] == ["ranker/scores", "ctr", "cvr"]


def test_a_formula_that_is_no_number_near_the_defaults_is_refused_with_the_row() -> None:
    with pytest.raises(ModelRejected, match=r"`score: log\(price - 5\) \* ctr` is NaN .*price = 0"):
        compile_graph(two_heads(), schema("log(price - 5) * ctr"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("__import__('os').system('true')", "knows numbers, names"),
        ("open('x')", "knows numbers, names"),
        ("ctr.__class__.__mro__", "a name is that of"),
        ("[x for x in ctr]", "knows numbers, names"),
        ("lambda: 1", "knows numbers, names"),
        ("ctr if cvr else 1", "knows numbers, names"),
        ("ctr and cvr", "knows numbers, names"),
        ("ctr // 2", "knows numbers, names"),
        ("ctr % 2", "knows numbers, names"),
        ("min(ctr)", "min takes 2 to 8 arguments"),
        ("log(ctr, 2)", "log takes 1 argument"),
        ("log(x=ctr)", "knows numbers, names"),
        ("0 < ctr < 1", "compare two values at a time"),
        ("True * ctr", "write 1 or 0"),
        ("1e999 * ctr", "too large"),
        ("ctr *", "cannot be read"),
        ("1 + 2", "names no output"),
        ("price + stock", "names no output of the graph. Name one: ctr, cvr, probabilities"),
        ("ctr * cost", "says cost: no output of the graph"),
        ("probabilities * 2", "probabilities"),
        ("probabilities[7]", "the columns 0 to 2"),
        ("ctr[1]", "no columns to choose from"),
        ("price[1] * ctr", "has 1 value: say price"),
        ("(" * 300 + "ctr" + ")" * 300, "cannot be read"),
        ("-" * 60 + "ctr", "nested more than"),
        ("ctr\0", "cannot be read"),
    ],
)
def test_what_is_no_formula_is_refused_where_it_is_none(text: str, said: str) -> None:
    with pytest.raises(ModelRejected, match=said):
        compile_graph(two_heads(), schema(text))


def test_a_formula_and_an_output_are_one_too_many() -> None:
    with pytest.raises(ModelRejected, match="Leave `output:` out"):
        compile_graph(two_heads(), schema("ctr * cvr", output="ctr"))


@given(st.text(max_size=60))
@settings(max_examples=300)
def test_any_text_is_a_formula_or_refused(text: str) -> None:
    with suppress(ModelRejected):
        assert parse(text).terms


def test_every_function_is_tried_above() -> None:
    tried = str(test_a_formula_scores_what_numpy_does.pytestmark)  # type: ignore[attr-defined] # pytest's
    assert [name for name in FUNCTIONS if f"{name}(" not in tried] == []


@pytest.mark.parametrize("kind", ["ranker", "classifier"])
def test_a_formula_over_trees_of_an_old_opset_is_computed_in_a_new_one(kind: str) -> None:
    import lightgbm

    x = rows(300)
    options: dict[str, Any] = {"n_estimators": 8, "num_leaves": 7, "n_jobs": 1, "verbose": -1}
    with quiet():
        if kind == "ranker":
            trees = lightgbm.LGBMRanker(**options).fit(x, (x[:, 0] > 0).astype(int), group=[10] * 30)
            name, expected = "variable", trees.predict(rows(50))
        else:
            trees = lightgbm.LGBMClassifier(**options).fit(x, (x[:, 0] > 0).astype(int))
            name, expected = "probabilities[1]", trees.predict_proba(rows(50))[:, 1]
        content = convert_lightgbm(trees)
    said = saying(SCHEMA, score=f"{name} * 2 + where(u0 > 0, 1, 0)")
    model = OnnxModel(compile_graph(content, said), said)
    np.testing.assert_allclose(model.score(rows(50)), expected * 2 + (rows(50)[:, 0] > 0), atol=1e-5)


def test_a_formula_and_inputs_name_features_of_groups() -> None:
    groups = {
        "live": {"per": "user", "key": "live:{userId}", "features": ["clicks"]},
        "seller": {"per": "product", "key": "seller:{productId}", "features": ["rating"]},
    }
    declared = schema(
        "ctr * seller.rating + clicks", groups=groups, inputs={"features": ["age", "live.clicks", "seller.rating"]}
    )
    model = OnnxModel(compile_graph(two_heads(), declared), declared)
    matrix = np.random.default_rng(1).random((20, declared.width), dtype=np.float32)
    age, clicks, rating = matrix[:, 0], matrix[:, 3], matrix[:, 4]
    assert model.score(matrix) == pytest.approx(1 / (1 + np.exp(-age)) * rating + clicks, rel=1e-5)
