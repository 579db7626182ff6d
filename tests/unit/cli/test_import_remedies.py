"""Whatever `model import` refuses, what the refusal says to do makes the same command succeed when it is done."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper

from ranker.cli.model.group import model
from tests.support.models import endless, onnx_bytes, temporary_model_store, tensor

REST = "user: {features: [age]}\nproduct: {features: [price]}\n"
NUMBERS = {"ones": np.array([1])}


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "store").mkdir()
    with temporary_model_store(tmp_path / "store"):
        yield tmp_path


def import_(graph: bytes, schema: str, *more: str) -> str:
    """Run the command; return what it says on standard error, empty where it has imported."""
    Path("model.onnx").write_bytes(graph)
    Path("schema.yaml").write_text(schema)
    result = CliRunner().invoke(model, ["import", "model.onnx", "--schema", "schema.yaml", "--name", "shop", *more])
    assert result.exit_code in (0, 1), (result.stderr, result.exception)
    assert (result.exit_code == 0) != result.stderr.startswith("Error: "), (result.stderr, result.exception)
    return result.stderr if result.exit_code else ""


def summed(*inputs: tuple[str, list[int | str], int]) -> bytes:
    """A graph that adds up all values of each row."""
    nodes, flat = [], []
    for name, _, _ in inputs:
        nodes.append(helper.make_node("Cast", [name], [f"{name}_f"], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Reshape", [f"{name}_f", "rows"], [f"{name}_r"]))
        flat.append(f"{name}_r")
    nodes.append(helper.make_node("Concat", flat, ["all"], axis=1))
    nodes.append(helper.make_node("ReduceSum", ["all", "ones"], ["scores"], keepdims=0))
    declared = [tensor(name, shape, kind) for name, shape, kind in inputs]
    return onnx_bytes(nodes, declared, [tensor("scores", ["n"])], NUMBERS | {"rows": np.array([0, -1])})


def of_matrix(
    *nodes: tuple[str, list[str], list[str], dict[str, object]], outputs: dict[str, list[int | str]]
) -> bytes:
    """A graph with the one input x (n, 2)."""
    made = [helper.make_node(operator, ins, outs, **more) for operator, ins, outs, more in nodes]
    constants = NUMBERS | {"w": np.array([[1, 2, 3], [3, 1, 2]], np.float32), "t": np.arange(5, dtype=np.float32)}
    return onnx_bytes(
        made, [tensor("x", ["n", 2])], [tensor(name, shape) for name, shape in outputs.items()], constants
    )


FLOAT, WHOLE, TEXT = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING
PAIR = summed(("x", ["n", 2], FLOAT))
ANONYMOUS = summed(("a", ["n", 1], FLOAT), ("b", ["n", 1], WHOLE))
CLASSES = of_matrix(("MatMul", ["x", "w"], ["z"], {}), ("Softmax", ["z"], ["p"], {"axis": 1}), outputs={"p": ["n", 3]})
HEADS = of_matrix(
    ("ReduceSum", ["x", "ones"], ["a"], {"keepdims": 0}),
    ("Neg", ["a"], ["b c"], {}),
    outputs={"a": ["n"], "b c": ["n"]},
)
OVER_THE_LIST = of_matrix(
    ("ReduceSum", ["x", "ones"], ["s"], {"keepdims": 0}),
    ("Softmax", ["s"], ["scores"], {"axis": 0}),
    outputs={"scores": ["n"]},
)
LOOKED_UP = of_matrix(
    ("Cast", ["x"], ["ids"], {"to": WHOLE}),
    ("Gather", ["t", "ids"], ["found"], {}),
    ("ReduceSum", ["found", "ones"], ["scores"], {"keepdims": 0}),
    outputs={"scores": ["n"]},
)
TEXTS = onnx_bytes(
    [
        helper.make_node(
            "LabelEncoder",
            ["brand"],
            ["code"],
            domain="ai.onnx.ml",
            keys_strings=["a", "b"],
            values_floats=[1.0, 2.0],
            default_float=0.0,
        ),
        helper.make_node("Add", ["code", "age"], ["scores"]),
    ],
    [tensor("age", ["n", 1]), tensor("brand", ["n", 1], TEXT)],
    [tensor("scores", ["n", 1])],
)
TASTE = summed(("age", ["n", 1], FLOAT), ("taste", ["n", 4], FLOAT))
ONE_NAME = "user: {features: [s]}\nproduct: {features: [s]}\n"
CODED = summed(("age", ["n", 1], FLOAT), ("c", ["n", 1], WHOLE))

SLATE = onnx_bytes(
    [helper.make_node("ReduceSum", ["product", "axes"], ["scores"], keepdims=0)],
    [tensor("product", [1, "n", 2])],
    [tensor("scores", [1, "n"])],
    {"axes": np.array([2])},
)
LIKED = summed(("age", ["n", 1], FLOAT), ("hist", ["n", 3, 4], FLOAT))
HISTORY = (
    "user: {features: [age, {name: viewed, type: product, length: 3}]}\n"
    "product: {features: [price, {name: taste, shape: [4]}]}\n"
)
TWO_VALUES = "user: {features: [age]}\nproduct: {features: [price, stock]}\n"


@pytest.mark.parametrize(
    ("graph", "schema", "said"),
    [
        (ANONYMOUS, REST, "cannot be told"),
        (
            summed(("age", ["n", 1], FLOAT), ("b", ["n", 1], FLOAT), ("c", ["n", 1], FLOAT)),
            TWO_VALUES,
            "cannot be told",
        ),
        (CLASSES, REST, "It has 3 columns"),
        (HEADS, REST, "could each be the score"),
        (OVER_THE_LIST, REST, "Softmax works over axis 0"),
        (LIKED, HISTORY, "such as `inputs: {hist: viewed.taste}`"),
        (SLATE, "product: {features: [a, b]}\n", "takes the products of a list together"),
    ],
)
def test_the_line_that_a_refusal_names_is_added_and_the_graph_imports(graph: bytes, schema: str, said: str) -> None:
    refused = import_(graph, schema)
    assert said in refused
    lines = re.findall(r"`(\w+: [^`]+)`", refused)
    assert lines
    for line in lines:
        assert import_(graph, f"{schema}{line}\n") == ""


MENDED = [
    (PAIR, TWO_VALUES, "List in the schema exactly the features", REST),
    (
        PAIR,
        f"{TWO_VALUES}columns: [price]",
        "and the schema gives it 1",
        f"{REST}columns: [price, age]",
    ),
    (PAIR, f"{REST}columns: [age, age]", "says user.age twice", f"{REST}columns: [price, age]"),
    (
        PAIR,
        f"{REST}columns: [age, price]\ninputs: {{x: [age, price]}}",
        "Leave `columns:` out",
        f"{REST}inputs: {{x: [age, price]}}",
    ),
    (ANONYMOUS, f"{REST}columns: [price, age]", "Say `inputs:` in place of it", f"{REST}inputs: {{a: price, b: age}}"),
    (PAIR, f"{REST}inputs: {{y: price}}", "the graph has the inputs x", f"{REST}inputs: {{x: [age, price]}}"),
    (
        PAIR,
        f"{REST}inputs: {{x: [age, cost]}}",
        "(age, price)",
        f"{REST}inputs: {{x: [age, price]}}",
    ),
    (
        summed(("s", ["n", 1], FLOAT), ("t", ["n", 1], FLOAT)),
        f"{ONE_NAME}inputs: {{s: s, t: product.s}}",
        "say `user.s` or `product.s`",
        f"{ONE_NAME}inputs: {{s: user.s, t: product.s}}",
    ),
    (
        summed(("age", ["n", 1], FLOAT), ("price", ["n", 1], FLOAT), ("hour", ["n", 1], FLOAT)),
        REST,
        "such as a feature of the name hour",
        f"{REST}context: {{features: [hour]}}",
    ),
    (
        TASTE,
        "user: {features: [age]}\nproduct: {features: [taste]}",
        "Give it {name: taste, shape: [4]}",
        "user: {features: [age]}\nproduct: {features: [{name: taste, shape: [4]}]}",
    ),
    (
        TASTE,
        "user: {features: [age]}\nproduct: {features: [{name: taste, length: 3}]}",
        "Give it {name: taste, length: 4}",
        "user: {features: [age]}\nproduct: {features: [{name: taste, length: 4}]}",
    ),
    (
        LIKED,
        f"{HISTORY}inputs: {{hist: viewed}}",
        "Say which feature of `product` the input takes of each: `inputs: {hist: viewed.FEATURE}`",
        f"{HISTORY}inputs: {{hist: viewed.taste}}",
    ),
    (
        TEXTS,
        "user: {features: [age]}\nproduct: {features: [brand]}",
        "such as {name: brand, type: category, vocabulary: [a, b]}",
        "user: {features: [age]}\nproduct: {features: [{name: brand, type: category, vocabulary: [a, b]}]}",
    ),
    (
        CODED,
        "user: {features: [age]}\nproduct: {features: [{name: c, type: text, length: 9}]}",
        "give it `type: category` with the vocabulary",
        "user: {features: [age]}\nproduct: {features: [{name: c, type: category, vocabulary: [a]}]}",
    ),
    (
        CODED,
        "user: {features: [age]}\nproduct: {features: [{name: c, missing: nan}]}",
        "give it a `default`",
        "user: {features: [age]}\nproduct: {features: [{name: c, default: 0}]}",
    ),
    (
        CODED,
        "user: {features: [age]}\nproduct: {features: [{name: c, type: category, vocabulary: [a], unknown: nan}]}",
        "of a category, a code for `unknown`",
        "user: {features: [age]}\nproduct: {features: [{name: c, type: category, vocabulary: [a], unknown: 1}]}",
    ),
    (
        LOOKED_UP,
        "user: {features: [{name: age, default: 7}]}\nproduct: {features: [price]}",
        "such as {name: age, default: 0}",
        "user: {features: [{name: age, default: 0}]}\nproduct: {features: [price]}",
    ),
    (PAIR, f"{REST}output: scroes", "the graph has the outputs scores", f"{REST}output: scores"),
    (PAIR, f"{REST}output: scores[1]", "Write `output: scores`", f"{REST}output: scores"),
    (CLASSES, f"{REST}output: p[3]", "it has the columns 0 to 2", f"{REST}output: p[2]"),
    (HEADS, f"{REST}output: a\nscore: a * 2", "Leave `output:` out", f"{REST}score: a * 2"),
    (PAIR, f"{REST}score: price * 2", "Name one: scores", f"{REST}score: scores * 2"),
    (HEADS, f"{REST}score: a + b c", "cannot be read", f"{REST}score: a + 'b c'"),
    (PAIR, f"{REST}score: scores[1] * 2", "Write `scores`", f"{REST}score: scores * 2"),
    (PAIR, f"{REST}score: True * scores", "write 1 or 0", f"{REST}score: 1 * scores"),
    (PAIR, f"{REST}score: min(scores)", "min takes 2 to 8 arguments", f"{REST}score: min(scores, 1)"),
    (PAIR, f"{REST}score: scores + age[0]", "has 1 value: say age", f"{REST}score: scores + age"),
    (
        TASTE,
        "user: {features: [age]}\nproduct: {features: [{name: taste, shape: [4]}]}\nscore: scores + taste",
        "has 4 values: say taste[0] for the first",
        "user: {features: [age]}\nproduct: {features: [{name: taste, shape: [4]}]}\nscore: scores + taste[0]",
    ),
    (
        PAIR,
        f"{REST}score: log(price - 5) + scores",
        "such as by max(…, 0), or give those features a `default`",
        "user: {features: [age]}\nproduct: {features: [{name: price, default: 9}]}\nscore: log(price - 5) + scores",
    ),
    (PAIR, f"{REST}score: log(price - 5)+ scores", "max(…, 0)", f"{REST}score: log(max(price - 5, 0)) + scores"),
]


@pytest.mark.parametrize(("graph", "schema", "said", "mended"), MENDED)
def test_a_schema_mended_as_the_refusal_says_imports(graph: bytes, schema: str, said: str, mended: str) -> None:
    assert said in import_(graph, schema)
    assert import_(graph, mended) == ""


CSV = "age,price,y\n" + "".join(f"{a / 7:.3f},{b / 5:.3f},{{}}\n" for a in range(5) for b in range(4))
CHECK = ("--check", "rows.csv", "--score-column", "y")


def write_rows(score: Callable[[float, float], float]) -> None:
    header, *rows = CSV.split()
    pairs = [tuple(map(float, row.split(",")[:2])) for row in rows]
    Path("rows.csv").write_text("\n".join([header, *(f"{a},{b},{score(a, b)}" for a, b in pairs)]) + "\n")


def test_a_score_that_the_trainer_negates_is_mended_with_the_output_left_out() -> None:
    write_rows(lambda age, price: -(age + price))
    refused = import_(PAIR, f"{REST}output: scores\n", *CHECK)
    assert 'say `score: "-scores"` in the schema and leave `output:` out' in refused
    assert import_(PAIR, f'{REST}score: "-scores"\n', *CHECK) == ""


def test_rows_that_lack_a_feature_are_told_to_have_a_column_for_it() -> None:
    write_rows(lambda age, price: age + price)
    whole = Path("rows.csv").read_text()
    Path("rows.csv").write_text(whole.replace("price", "cost"))
    refused = import_(PAIR, REST, *CHECK)
    assert refused.endswith("lacks price. Its columns are matched by name with price: give each of them one.\n")
    Path("rows.csv").write_text(whole)
    assert import_(PAIR, REST, *CHECK) == ""


def test_rows_that_are_ordered_alike_are_told_of_the_formula_that_makes_them_equal() -> None:
    write_rows(lambda age, price: 2 * (age + price))
    assert "It orders the rows alike, with other numbers: compare" in import_(PAIR, REST, *CHECK)
    assert import_(PAIR, f"{REST}score: scores * 2\n", *CHECK) == ""


def test_a_slow_graph_is_told_of_the_option_for_more_time() -> None:
    assert "allow more (--time-limit)" in import_(endless(2), REST, "--time-limit", "1")


def test_a_graph_without_inputs_is_refused() -> None:
    nodes = [helper.make_node("Constant", [], ["scores"], value_floats=[1.0])]
    assert "has no inputs" in import_(onnx_bytes(nodes, [], [tensor("scores", [1])]), REST)
