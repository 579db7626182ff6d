import os
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from ranker.errors import ModelFailed, ModelRejected, WrongShape
from ranker.scoring.model import OnnxModel
from ranker.vectors.schema import FeatureSchema
from tests.support.models import endless, mlp_onnx, mlp_scores, onnx_bytes, schema_of_width, tensor

USER, PRODUCT = 5, 7
WIDTH = USER + PRODUCT
SCHEMA = schema_of_width(USER, PRODUCT)
FEATURES = tensor("features", ["n", WIDTH])


def saying(schema: FeatureSchema, **more: object) -> FeatureSchema:
    """The schema with lines of its own for the graph."""
    return FeatureSchema.from_mapping(schema.to_metadata() | more)


def line_in(refusal: BaseException) -> dict[str, object]:
    """The first line of a schema that a refusal proposes, read as YAML."""
    found = re.search(r"`((?:inputs|output): .*?)`", str(refusal))
    assert found is not None, str(refusal)
    line: dict[str, object] = yaml.safe_load(found[1])
    return line


def rows(n: int, seed: int = 0, width: int = WIDTH) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, width)).astype(np.float32)


def row_sums(output_shape: list[int | str], *, keepdims: int, inputs: list[Any] | None = None) -> bytes:
    """A graph that gives the sum of each row."""
    node = helper.make_node("ReduceSum", ["features", "axes"], ["scores"], keepdims=keepdims)
    return onnx_bytes([node], inputs or [FEATURES], [tensor("scores", output_shape)], {"axes": np.array([1])})


def columns(count: int, *, softmax: bool) -> bytes:
    """A graph with an output (n, count): class probabilities, or plain numbers."""
    nodes = [helper.make_node("MatMul", ["features", "w"], ["raw" if softmax else "scores"])]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["raw"], ["scores"], axis=1))
    weights = rows(WIDTH, seed=1, width=count)
    return onnx_bytes(nodes, [FEATURES], [tensor("scores", ["n", count])], {"w": weights})


def two_inputs(first: tuple[str, int | str], second: tuple[str, int | str], user: str) -> bytes:
    """A graph that gives twice the sum of the user's columns + the sum of the product's."""
    product = second[0] if user == first[0] else first[0]
    nodes = [
        helper.make_node("ReduceSum", [user, "axes"], ["u"], keepdims=0),
        helper.make_node("ReduceSum", [product, "axes"], ["p"], keepdims=0),
        helper.make_node("Mul", ["u", "two"], ["uu"]),
        helper.make_node("Add", ["uu", "p"], ["scores"]),
    ]
    inputs = [tensor(name, ["n", width]) for name, width in (first, second)]
    constants = {"axes": np.array([1]), "two": np.array([2], dtype=np.float32)}
    return onnx_bytes(nodes, inputs, [tensor("scores", ["n"])], constants)


def double_mlp() -> bytes:
    nodes = [helper.make_node("MatMul", ["features", "w"], ["scores"])]
    inputs = [tensor("features", ["n", WIDTH], TensorProto.DOUBLE)]
    outputs = [tensor("scores", ["n", 1], TensorProto.DOUBLE)]
    return onnx_bytes(nodes, inputs, outputs, {"w": np.full((WIDTH, 1), 0.1)})


@contextmanager
def quiet() -> Iterator[None]:
    """Let training and converting libraries warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(scope="module")
def training_set() -> tuple[np.ndarray, np.ndarray]:
    x = rows(300)
    return x, (x[:, 0] + x[:, USER] * x[:, 1] > 0).astype(np.int64)


# --- what real libraries export ----------------------------------------------------------------------------------


def lightgbm_classifier(x: np.ndarray, y: np.ndarray) -> tuple[bytes, Callable[[np.ndarray], np.ndarray]]:
    import lightgbm

    model = lightgbm.LGBMClassifier(n_estimators=12, num_leaves=7, n_jobs=1, verbose=-1).fit(x, y)
    return convert_lightgbm(model, zipmap=False), lambda m: model.predict_proba(m)[:, 1]


def lightgbm_ranker(x: np.ndarray, y: np.ndarray) -> tuple[bytes, Callable[[np.ndarray], np.ndarray]]:
    import lightgbm

    model = lightgbm.LGBMRanker(n_estimators=12, num_leaves=7, n_jobs=1, verbose=-1).fit(
        x, y, group=[10] * (len(x) // 10)
    )
    return convert_lightgbm(model, zipmap=False), model.predict


def convert_lightgbm(model: Any, **options: Any) -> bytes:
    import onnxmltools
    from onnxmltools.convert.common.data_types import FloatTensorType

    types = [("features", FloatTensorType([None, WIDTH]))]
    return onnxmltools.convert_lightgbm(model, initial_types=types, target_opset=15, **options).SerializeToString()


def sklearn_classifier(x: np.ndarray, y: np.ndarray) -> tuple[bytes, Callable[[np.ndarray], np.ndarray]]:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression().fit(x, y)
    return convert_sklearn(model, options={id(model): {"zipmap": False}}), lambda m: model.predict_proba(m)[:, 1]


def sklearn_regressor(x: np.ndarray, y: np.ndarray) -> tuple[bytes, Callable[[np.ndarray], np.ndarray]]:
    from sklearn.ensemble import GradientBoostingRegressor

    model = GradientBoostingRegressor(n_estimators=12, random_state=0).fit(x, y)
    return convert_sklearn(model), model.predict


def sklearn_pipeline(x: np.ndarray, y: np.ndarray) -> tuple[bytes, Callable[[np.ndarray], np.ndarray]]:
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    mlp = MLPClassifier([8], max_iter=30, random_state=0)
    model = make_pipeline(StandardScaler(), mlp).fit(x, y)
    return convert_sklearn(model, options={id(mlp): {"zipmap": False}}), lambda m: model.predict_proba(m)[:, 1]


def convert_sklearn(model: Any, **options: Any) -> bytes:
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType

    types = [("features", FloatTensorType([None, WIDTH]))]
    return convert_sklearn(model, initial_types=types, **options).SerializeToString()


EXPORTS = [lightgbm_classifier, lightgbm_ranker, sklearn_classifier, sklearn_regressor, sklearn_pipeline]


@pytest.fixture(scope="module", params=EXPORTS, ids=lambda export: export.__name__)
def exported(request: pytest.FixtureRequest, training_set: Any) -> tuple[OnnxModel, Callable[[np.ndarray], np.ndarray]]:
    with quiet():
        content, predict = request.param(*training_set)
    return OnnxModel(content, SCHEMA), predict


def test_scores_equal_the_training_librarys_predictions(exported: Any) -> None:
    model, predict = exported
    matrix = rows(100, seed=2)
    with quiet():
        expected = predict(matrix)
    scores = model.score(matrix)
    assert (scores.shape, scores.dtype) == ((100,), np.float32)
    np.testing.assert_allclose(scores, expected, atol=1e-5)


@given(a=st.integers(0, 40), b=st.integers(0, 40), seed=st.integers(0, 2**32 - 1))
def test_scoring_together_equals_scoring_apart(exported: Any, a: int, b: int, seed: int) -> None:
    model, _ = exported
    matrix = rows(a + b, seed)
    apart = np.concatenate([model.score(matrix[:a]), model.score(matrix[a:])])
    np.testing.assert_allclose(model.score(matrix), apart, atol=1e-5)


def test_probabilities_in_one_output_per_class_are_refused(training_set: Any) -> None:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression().fit(*training_set)
    with quiet():
        content = convert_sklearn(model, options={id(model): {"zipmap": "columns"}})
    with pytest.raises(ModelRejected, match=r"could each be the score.*`output: i0` or `output: i1`"):
        OnnxModel(content, SCHEMA)
    chosen = OnnxModel(content, saying(SCHEMA, output="i1"))
    np.testing.assert_allclose(chosen.score(rows(50)), model.predict_proba(rows(50))[:, 1], atol=1e-5)


# --- inputs ------------------------------------------------------------------------------------------------------


def test_one_input_gets_the_whole_matrix() -> None:
    model = OnnxModel(mlp_onnx(WIDTH), SCHEMA)
    matrix = rows(50)
    np.testing.assert_allclose(model.score(matrix), mlp_scores(matrix), atol=1e-5)
    assert (model.width, model.schema) == (WIDTH, SCHEMA)
    assert [(i.name, i.dtype, i.width) for i in model.inputs] == [("features", np.float32, WIDTH)]
    assert (model.output.name, model.output.shape, model.output.dtype) == ("scores", "(n, 1)", np.float32)


def test_a_file_scores_like_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(mlp_onnx(WIDTH))
    np.testing.assert_array_equal(
        OnnxModel(path, SCHEMA).score(rows(9)), OnnxModel(mlp_onnx(WIDTH), SCHEMA).score(rows(9))
    )


def test_a_file_is_refused_with_the_operator_that_its_bytes_are_refused_for(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("CumSum", ["features", "zero"], ["x"]),
        helper.make_node("Gather", ["x", "zero"], ["s"], axis=1),
    ]
    content = onnx_bytes(nodes, [FEATURES], [tensor("s", ["n"])], {"zero": np.array(0)})
    (tmp_path / "model.onnx").write_bytes(content)
    for given_as in (content, tmp_path / "model.onnx"):
        with pytest.raises(ModelRejected, match="CumSum works over axis 0"):
            OnnxModel(given_as, SCHEMA)


@pytest.mark.parametrize(
    ("first", "second", "user"),
    [
        pytest.param(("a", USER), ("b", PRODUCT), "a", id="by width, user first"),
        pytest.param(("a", PRODUCT), ("b", USER), "b", id="by width, product first"),
        pytest.param(("item_x", "f"), ("User_Features", "g"), "User_Features", id="by name, unknown widths"),
        pytest.param(("productVector", "f"), ("user", "g"), "user", id="by name in another style"),
        pytest.param(("a", "f"), ("b", PRODUCT), "a", id="one unknown width"),
    ],
)
def test_two_inputs_get_their_columns(first: Any, second: Any, user: str) -> None:
    model = OnnxModel(two_inputs(first, second, user), SCHEMA)
    matrix = rows(30)
    expected = 2 * matrix[:, :USER].sum(1) + matrix[:, USER:].sum(1)
    np.testing.assert_allclose(model.score(matrix), expected, atol=1e-5)
    assert [i.name == user for i in model.inputs] == [True, False]


@pytest.mark.parametrize(
    ("names", "user"),
    [
        (("product", "user"), "user"),
        (("user", "product"), "user"),
        (("item_embedding", "user_embedding"), "user_embedding"),
    ],
)
def test_two_inputs_of_equal_width_are_told_apart_by_their_whole_names(names: tuple[str, str], user: str) -> None:
    model = OnnxModel(two_inputs((names[0], 4), (names[1], 4), user), schema_of_width(4, 4))
    matrix = rows(30, width=8)
    np.testing.assert_allclose(model.score(matrix), 2 * matrix[:, :4].sum(1) + matrix[:, 4:].sum(1), atol=1e-5)


@pytest.mark.parametrize("user_first", [True, False])
@pytest.mark.parametrize(
    ("names", "widths"),
    [
        pytest.param(("query", "candidate"), (4, 4), id="names that say nothing"),
        pytest.param(("history_items", "candidate"), (4, 4), id="a part of a name"),
        pytest.param(("item", "b"), (4, 4), id="one name alone"),
        pytest.param(("user_a", "user_b"), (4, 4), id="both the user's"),
        pytest.param(("serving:0", "yes"), ("f", "g"), id="names that YAML takes for something else"),
    ],
)
def test_two_inputs_that_may_be_crossed_are_refused_until_the_schema_says(
    names: tuple[str, str], widths: Any, user_first: bool
) -> None:
    user, product = names if user_first else names[::-1]
    content = two_inputs((names[0], widths[0]), (names[1], widths[1]), user)
    schema = schema_of_width(4, 4)
    with pytest.raises(ModelRejected, match="cannot be told apart") as refused:
        OnnxModel(content, schema)
    proposed: Any = line_in(refused.value)["inputs"]
    assert sorted(proposed) == sorted(names)
    if proposed[user] != "user":  # "or with the groups exchanged"
        proposed = {product: proposed[user], user: proposed[product]}
    assert_takes(OnnxModel(content, saying(schema, inputs=proposed)), user, product)


def test_widths_that_say_otherwise_than_names_are_refused_until_the_schema_says() -> None:
    content = two_inputs(("item", USER), ("user", PRODUCT), "item")
    with pytest.raises(ModelRejected, match="cannot be told apart") as refused:
        OnnxModel(content, SCHEMA)
    assert_takes(OnnxModel(content, saying(SCHEMA, **line_in(refused.value))), "item", "user")


def assert_takes(model: OnnxModel, user: str, product: str) -> None:
    """The model of `two_inputs` gets the user's columns in one input and the product's in the other."""
    width = model.schema.user.width
    matrix = rows(30, width=model.width)
    np.testing.assert_allclose(model.score(matrix), 2 * matrix[:, :width].sum(1) + matrix[:, width:].sum(1), atol=1e-5)
    assert {i.name: i.group for i in model.inputs} == {user: "user", product: "product"}


def test_inputs_named_like_a_groups_only_feature_take_it() -> None:
    schema = FeatureSchema.from_mapping({"user": {"features": ["age"]}, "product": {"features": ["price"]}})
    model = OnnxModel(two_inputs(("price", 1), ("age", 1), "age"), schema)
    assert model.score(np.array([[30, 5]], np.float32)).tolist() == [65.0]


@pytest.mark.parametrize(
    "inputs",
    [{"a": "user"}, {"a": "user", "b": "user"}, {"a": "user", "c": "product"}],
)
def test_inputs_of_the_schema_that_are_not_the_graphs_are_refused(inputs: dict[str, str]) -> None:
    with pytest.raises(
        ModelRejected, match=r"\(a, b\) a group of its own \(user, product\)\. Write `inputs: {a: user, b: pro"
    ):
        OnnxModel(two_inputs(("a", 4), ("b", 4), "a"), saying(schema_of_width(4, 4), inputs=inputs))


def test_inputs_of_the_schema_are_refused_for_one_matrix() -> None:
    with pytest.raises(ModelRejected, match=r"one input, features, .* Leave `inputs:` out"):
        OnnxModel(mlp_onnx(WIDTH), saying(SCHEMA, inputs={"features": "user"}))


def test_two_inputs_of_other_widths_are_refused() -> None:
    with pytest.raises(ModelRejected, match=r"user \(n, 6\), product \(n, 6\).*user 5, product 7"):
        OnnxModel(two_inputs(("user", 6), ("product", 6), "user"), SCHEMA)


def context_schema(user: int, product: int, context: int, product_context: int) -> FeatureSchema:
    """A schema with all groups, or without the product context when that has no width."""
    names = {"context": context, "productContext": product_context}
    groups = {name: {"features": [f"{name}{i}" for i in range(width)]} for name, width in names.items() if width}
    return FeatureSchema.from_mapping(schema_of_width(user, product).to_metadata() | groups)


def weighted_groups(inputs: list[tuple[str, int | str]]) -> bytes:
    """A graph that gives the sum of each input's columns, times 1, 2, 4, 8 in the order of the inputs' names here."""
    nodes, weighted = [], []
    constants: dict[str, np.ndarray] = {"axes": np.array([1])}
    for i, (name, _) in enumerate(inputs):
        constants[f"w{i}"] = np.array([2.0**i], dtype=np.float32)
        nodes.append(helper.make_node("ReduceSum", [name, "axes"], [f"s{i}"], keepdims=0))
        nodes.append(helper.make_node("Mul", [f"s{i}", f"w{i}"], [f"m{i}"]))
        weighted.append(f"m{i}")
    nodes.append(helper.make_node("Sum", weighted, ["scores"]))
    declared = [tensor(name, ["n", width]) for name, width in inputs]
    return onnx_bytes(nodes, declared, [tensor("scores", ["n"])], constants)


@pytest.mark.parametrize(
    ("inputs", "groups", "widths"),
    [
        (
            [("user", 2), ("product", 3), ("context", 4), ("productContext", 1)],
            ["user", "product", "context", "productContext"],
            (2, 3, 4, 1),
        ),
        (
            [("product_context", "k"), ("item_features", 3), ("request_context", 3), ("user_x", 3)],
            ["productContext", "product", "context", "user"],
            (3, 3, 3, 3),
        ),
        ([("context", 4), ("user", 2), ("item", 3)], ["context", "user", "product"], (2, 3, 4, 0)),
        (
            [("hours", 4), ("user", 2), ("product", 3), ("product_context", 1)],
            ["context", "user", "product", "productContext"],
            (2, 3, 4, 1),
        ),
    ],
)
def test_an_input_per_group_gets_the_columns_of_its_group(inputs: Any, groups: list[str], widths: Any) -> None:
    schema = context_schema(*widths)
    model = OnnxModel(weighted_groups(inputs), schema)
    matrix = rows(20, width=sum(widths))
    columns = dict(zip(schema.groups, np.split(matrix, np.cumsum(widths)[:-1], axis=1), strict=False))
    expected = sum(2**i * columns[group].sum(1) for i, group in enumerate(groups))
    np.testing.assert_allclose(model.score(matrix), expected, atol=1e-4)
    assert [i.width for i in model.inputs] == [w for w in widths if w]


def test_one_input_gets_what_the_request_brings_behind_the_stored_columns() -> None:
    schema = context_schema(2, 3, 4, 1)
    matrix = rows(20, width=10)
    np.testing.assert_allclose(OnnxModel(mlp_onnx(10), schema).score(matrix), mlp_scores(matrix), atol=1e-5)
    with pytest.raises(ModelRejected, match="takes 5 columns; the schema names 10 features"):
        OnnxModel(mlp_onnx(5), schema)


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ([("user", 2), ("product", 3)], r"has 2 inputs .*user \(n, 2\), product \(n, 3\), context \(n, 4\)"),
        (
            [("user", 2), ("product", 3), ("item", 4), ("product_context", 1)],
            "cannot be told apart.*item: context, product_context: productContext}",
        ),
        (
            [("user", 2), ("product", 3), ("context", 5), ("product_context", 1)],
            r"context \(n, 5\).*context 4, product",
        ),
    ],
)
def test_inputs_that_are_not_the_groups_are_refused(inputs: Any, said: str) -> None:
    with pytest.raises(ModelRejected, match=said):
        OnnxModel(weighted_groups(inputs), context_schema(2, 3, 4, 1))


def test_double_input_and_output_are_cast() -> None:
    model = OnnxModel(double_mlp(), SCHEMA)
    matrix = rows(20)
    scores = model.score(matrix)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, matrix.sum(1) * 0.1, atol=1e-5)


def test_a_double_score_beyond_float32_becomes_infinite() -> None:
    model = OnnxModel(double_mlp(), SCHEMA)
    matrix = np.full((1, WIDTH), np.finfo(np.float32).max, dtype=np.float32)
    assert model.score(matrix)[0] == np.inf


def test_an_input_of_unknown_width_is_accepted_when_it_runs() -> None:
    unknown = tensor("features", ["n", "f"])
    model = OnnxModel(row_sums(["n"], keepdims=0, inputs=[unknown]), SCHEMA)
    np.testing.assert_allclose(model.score(rows(3)), rows(3).sum(1), atol=1e-5)


def test_an_unknown_width_that_does_not_run_is_refused() -> None:
    node = helper.make_node("MatMul", ["features", "w"], ["scores"])
    content = onnx_bytes(
        [node], [tensor("features", ["n", "f"])], [tensor("scores", ["n", 1])], {"w": rows(WIDTH + 1, width=1)}
    )
    with pytest.raises(ModelRejected, match=r"cannot score 1 rows of defaults.*schema lists the columns"):
        OnnxModel(content, SCHEMA)


def test_another_width_than_the_schemas_is_refused() -> None:
    with pytest.raises(ModelRejected, match="takes 13 columns; the schema names 12 features"):
        OnnxModel(mlp_onnx(WIDTH + 1), SCHEMA)


def test_a_batch_fixed_inside_the_graph_is_refused_with_the_fix() -> None:
    node = helper.make_node("Reshape", ["features", "shape"], ["scores"])
    content = onnx_bytes([node], [FEATURES], [tensor("scores", ["n", WIDTH])], {"shape": np.array([1, WIDTH])})
    with pytest.raises(ModelRejected, match=r"cannot score 2 rows.*dynamic_shapes"):
        OnnxModel(content, SCHEMA)


@pytest.mark.parametrize("count", [2, WIDTH])
def test_one_input_per_column_is_for_the_import_to_make(count: int) -> None:
    names = [f"c{i}" for i in range(count)]
    node = helper.make_node("Concat", names, ["scores"], axis=1)
    content = onnx_bytes([node], [tensor(name, ["n", 1]) for name in names], [tensor("scores", ["n", count])])
    with pytest.raises(ModelRejected, match=r"do not have the schema's widths|Import it with `ranker model import`"):
        OnnxModel(content, SCHEMA)


@pytest.mark.parametrize(
    "declared",
    [
        tensor("features", ["n", WIDTH], TensorProto.STRING),
        tensor("features", ["n", WIDTH], TensorProto.FLOAT16),
        tensor("features", ["n", WIDTH], TensorProto.INT64),
        tensor("features", [WIDTH]),
        tensor("features", ["n", 1, WIDTH]),
        tensor("features", [1, WIDTH]),
        tensor("features", [64, WIDTH]),
    ],
)
def test_an_input_of_another_kind_is_for_the_import_to_make(declared: Any) -> None:
    node = helper.make_node("Shape", ["features"], ["shape"])
    cast = helper.make_node("Cast", ["shape"], ["scores"], to=TensorProto.FLOAT)
    with pytest.raises(ModelRejected, match=r"rows are \(n, F\) of float32 or float64\. Import the graph"):
        OnnxModel(onnx_bytes([node, cast], [declared], [tensor("scores", ["k"])]), SCHEMA)


# --- outputs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("keepdims", "shape"), [(0, ["n"]), (1, ["n", 1])])
def test_one_score_per_row_may_be_a_vector_or_a_column(keepdims: int, shape: list[int | str]) -> None:
    model = OnnxModel(row_sums(shape, keepdims=keepdims), SCHEMA)
    np.testing.assert_allclose(model.score(rows(8)), rows(8).sum(1), atol=1e-5)


def test_of_two_class_probabilities_the_second_is_the_score() -> None:
    model = OnnxModel(columns(2, softmax=True), SCHEMA)
    matrix = rows(40)
    raw = np.exp((matrix @ rows(WIDTH, seed=1, width=2)).astype(np.float64))
    scores = model.score(matrix)
    np.testing.assert_allclose(scores, raw[:, 1] / raw.sum(1), atol=1e-5)
    assert scores.flags.c_contiguous


def test_a_wrongly_declared_output_shape_is_not_believed() -> None:
    model = OnnxModel(row_sums([1], keepdims=0), SCHEMA)
    np.testing.assert_allclose(model.score(rows(8)), rows(8).sum(1), atol=1e-5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(columns(3, softmax=True), r"\(3, 3\)\. It has 3 columns", id="three columns"),
        pytest.param(columns(2, softmax=False), "no class probabilities.*softmax", id="two plain columns"),
    ],
)
def test_columns_that_are_no_two_class_probabilities_are_refused_until_the_schema_says(
    content: bytes, message: str
) -> None:
    with pytest.raises(ModelRejected, match=message) as refused:
        OnnxModel(content, SCHEMA)
    chosen = OnnxModel(content, saying(SCHEMA, **line_in(refused.value)))
    matrix = rows(20)
    (given,) = onnxruntime.InferenceSession(content).run(["scores"], {"features": matrix})
    np.testing.assert_array_equal(chosen.score(matrix), given[:, -1])
    assert f"column {given.shape[1] - 1}" in str(chosen.output)


def test_labels_alone_are_refused() -> None:
    node = helper.make_node("ArgMax", ["features"], ["label"], axis=1, keepdims=0)
    content = onnx_bytes([node], [FEATURES], [tensor("label", ["n"], TensorProto.INT64)])
    with pytest.raises(ModelRejected, match=r"labels do not rank.*predict_proba"):
        OnnxModel(content, SCHEMA)


def test_one_score_for_the_whole_batch_is_refused() -> None:
    node = helper.make_node("ReduceMean", ["features"], ["scores"], keepdims=0)
    with pytest.raises(ModelRejected, match=r"3 rows gave scores \(\).*\(n, 1\)"):
        OnnxModel(onnx_bytes([node], [FEATURES], [tensor("scores", [])]), SCHEMA)


@pytest.mark.parametrize("mixing", ["softmax over rows", "mean of rows"])
def test_scores_that_depend_on_other_rows_are_refused(mixing: str) -> None:
    nodes = [helper.make_node("ReduceSum", ["features", "axes"], ["sums"], keepdims=1)]
    if mixing == "softmax over rows":
        nodes.append(helper.make_node("Softmax", ["sums"], ["scores"], axis=0))
    else:
        nodes.append(helper.make_node("ReduceMean", ["sums"], ["mean"], axes=[0], keepdims=1))
        nodes.append(helper.make_node("Sub", ["sums", "mean"], ["scores"]))
    content = onnx_bytes(nodes, [FEATURES], [tensor("scores", ["n", 1])], {"axes": np.array([1])})
    with pytest.raises(ModelRejected, match=r"depends on the rows scored with it.*model\.eval\(\)"):
        OnnxModel(content, SCHEMA)


@pytest.mark.parametrize(
    "trial",
    [
        lambda limit_s: OnnxModel(endless(WIDTH), SCHEMA, limit_s=limit_s),
        lambda limit_s: OnnxModel(endless(WIDTH, beyond=5), SCHEMA).refuse_batch_effects(limit_s),
        lambda limit_s: OnnxModel(endless(WIDTH, beyond=5), SCHEMA).find_bounds(limit_s),
    ],
    ids=["near", "far", "ids"],
)
def test_each_trial_of_a_graph_without_an_end_ends_in_its_time(trial: Callable[[float], Any]) -> None:
    with pytest.raises(ModelRejected, match=r"did not end within 0\.1 s"):
        trial(0.1)


def test_a_formula_of_outputs_is_the_score() -> None:
    from ranker.importing.compile import compile_graph
    from tests.unit.scoring.graph.test_output import heads

    schema = saying(SCHEMA, score="click + 3 * buy")
    model = OnnxModel(compile_graph(heads("click", "buy"), schema), schema)
    np.testing.assert_allclose(model.score(rows(9)), 7 * rows(9).sum(1), rtol=1e-5)


def test_nan_scores_are_kept() -> None:
    nodes = [
        helper.make_node("ReduceSum", ["features", "axes"], ["sums"], keepdims=0),
        helper.make_node("Log", ["sums"], ["scores"]),
    ]
    model = OnnxModel(onnx_bytes(nodes, [FEATURES], [tensor("scores", ["n"])], {"axes": np.array([1])}), SCHEMA)
    matrix = np.ones((3, WIDTH), dtype=np.float32)
    matrix[1] = -1
    assert np.isnan(model.score(matrix)).tolist() == [False, True, False]


def test_a_model_that_gives_nan_for_the_defaults_is_accepted() -> None:
    schema = schema_of_width(USER, PRODUCT, user_default=float("nan"))
    assert np.isnan(OnnxModel(mlp_onnx(WIDTH), schema).score(np.full((2, WIDTH), np.nan, dtype=np.float32))).all()


# --- the file ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"no model", mlp_onnx(WIDTH)[:500]], ids=["empty", "text", "cut short"])
def test_a_file_that_is_no_graph_is_refused(content: bytes) -> None:
    with pytest.raises(ModelRejected, match=r"cannot load the graph.*Check that it is an ONNX file"):
        OnnxModel(content, SCHEMA)


@pytest.mark.parametrize("as_bytes", [True, False])
def test_weights_in_a_second_file_are_refused_where_no_folder_is_said(
    as_bytes: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.onnx"
    graph = onnx.load_from_string(mlp_onnx(WIDTH))
    onnx.save_model(graph, path, save_as_external_data=True, location="weights", size_threshold=0)
    assert os.listdir(tmp_path) != ["model.onnx"]
    monkeypatch.chdir(tmp_path)  # where ONNX Runtime would find the second file, and the model store would not
    with pytest.raises(ModelRejected, match=r"weights lie in a second file.*Hand over the path"):
        OnnxModel(path.read_bytes() if as_bytes else path, SCHEMA)
    beside = OnnxModel(path.read_bytes() if as_bytes else path, SCHEMA, folder=tmp_path)
    np.testing.assert_array_equal(beside.score(rows(5)), OnnxModel(mlp_onnx(WIDTH), SCHEMA).score(rows(5)))


# --- scoring -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "matrix",
    [
        np.zeros((3, WIDTH + 1), dtype=np.float32),
        np.zeros((0, WIDTH - 1), dtype=np.float32),
        np.zeros(WIDTH, dtype=np.float32),
        np.zeros((1, 3, WIDTH), dtype=np.float32),
        np.zeros((3, WIDTH), dtype=np.float64),
    ],
    ids=["too wide", "too narrow", "1-D", "3-D", "float64"],
)
def test_a_matrix_of_another_shape_or_dtype_is_refused(matrix: np.ndarray) -> None:
    with pytest.raises(WrongShape, match=r"expected \(n, 12\) of float32"):
        OnnxModel(mlp_onnx(WIDTH), SCHEMA).score(matrix)


def test_no_rows_give_no_scores() -> None:
    scores = OnnxModel(mlp_onnx(WIDTH), SCHEMA).score(np.zeros((0, WIDTH), dtype=np.float32))
    assert (scores.shape, scores.dtype) == ((0,), np.float32)


def test_a_view_scores_like_its_copy() -> None:
    model = OnnxModel(mlp_onnx(WIDTH), SCHEMA)
    wide = rows(20, width=3 * WIDTH)
    view = wide[::2, WIDTH : 2 * WIDTH]
    np.testing.assert_array_equal(model.score(view), model.score(view.copy()))


def test_an_error_inside_the_graph_is_a_model_error() -> None:
    nodes = [
        helper.make_node("ReduceSum", ["features", "axes"], ["sums"], keepdims=0),
        helper.make_node("Cast", ["sums"], ["ids"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "ids"], ["scores"]),
    ]
    constants = {"axes": np.array([1]), "table": np.arange(10, dtype=np.float32)}
    model = OnnxModel(onnx_bytes(nodes, [FEATURES], [tensor("scores", ["n"])], constants), SCHEMA)
    with pytest.raises(ModelFailed, match=r"could not score 2 rows: .*out of data bounds"):
        model.score(np.full((2, WIDTH), 5, dtype=np.float32))


def test_fewer_scores_than_rows_are_an_error() -> None:
    nodes = [
        helper.make_node("ReduceSum", ["features", "axes"], ["sums"], keepdims=0),
        helper.make_node("Less", ["sums", "limit"], ["small"]),
        helper.make_node("Compress", ["sums", "small"], ["scores"]),
    ]
    constants = {"axes": np.array([1]), "limit": np.array(100, dtype=np.float32)}
    model = OnnxModel(onnx_bytes(nodes, [FEATURES], [tensor("scores", ["k"])], constants), SCHEMA)
    matrix = np.zeros((3, WIDTH), dtype=np.float32)
    matrix[1] = 50
    with pytest.raises(WrongShape, match="one score for each of 3 rows"):
        model.score(matrix)


def test_threads_may_score_at_once() -> None:
    model = OnnxModel(mlp_onnx(WIDTH), SCHEMA)
    matrices = [rows(1 + i % 40, seed=i) for i in range(200)]
    start = threading.Barrier(8)

    def score_all(_: int) -> list[np.ndarray]:
        start.wait()
        return [model.score(matrix) for matrix in matrices]

    expected = [model.score(matrix) for matrix in matrices]
    with ThreadPoolExecutor(8) as pool:
        for scores in pool.map(score_all, range(8)):
            for got, alone in zip(scores, expected, strict=True):
                np.testing.assert_array_equal(got, alone)


def test_a_model_uses_the_threads_it_is_given_and_does_not_spin() -> None:
    alone = OnnxModel(mlp_onnx(WIDTH), SCHEMA)._session._session.get_session_options()
    assert (alone.intra_op_num_threads, alone.inter_op_num_threads) == (1, 1)
    options = OnnxModel(mlp_onnx(WIDTH), SCHEMA, threads=2)._session._session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (2, 1)
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
