"""A graph that ranks otherwise than its trainer is found by the trainer's scores, and the line that mends it works."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml
from onnx import helper
from pyarrow import csv, parquet

from ranker.errors import InvalidRows, ModelRejected, UnreadableFile
from ranker.importing.compile import compile_graph
from ranker.training.file_frame import read_frame
from ranker.training.scored_rows import Comparison, Rows, take_rows
from ranker.training.scores_check import refuse_other_scores
from ranker.vectors.schema import FeatureSchema
from tests.support.models import mlp_onnx, mlp_scores, onnx_bytes, tensor

NAMES = ["age", "spend", "price", "stock"]
SHUFFLED = ["price", "age", "stock", "spend"]


def schema(**more: Any) -> FeatureSchema:
    groups = {"user": {"features": NAMES[:2]}, "product": {"features": NAMES[2:]}}
    return FeatureSchema.from_mapping(groups | more)


def frame(order: list[str] = NAMES, n: int = 100) -> dict[str, Any]:
    values = np.random.default_rng(5).random((n, 4), dtype=np.float32)
    columns = dict(zip(NAMES, values.T, strict=True))
    return {name: columns[name] for name in order}


def matrix(columns: dict[str, Any], order: list[str]) -> np.ndarray:
    return np.stack([columns[name] for name in order], axis=1)


def checked(content: bytes, found: FeatureSchema, columns: dict[str, Any]) -> Comparison:
    rows = take_rows(found, columns, "prediction")
    return refuse_other_scores(content, compile_graph(content, found), found, rows)


def mended(refused: pytest.ExceptionInfo[ModelRejected]) -> FeatureSchema:
    """The schema with the lines that a refusal names."""
    lines = re.findall(r"`(\w+: .*?)`(?=, `| in the schema)", str(refused.value))
    assert lines, refused.value
    more: dict[str, Any] = {}
    for line in lines:
        more |= yaml.safe_load(line)
    return schema(**more)


def test_rows_that_agree_are_counted_and_measured() -> None:
    columns = frame()
    columns["prediction"] = mlp_scores(matrix(columns, NAMES))
    found = checked(mlp_onnx(4), schema(), columns)
    assert (found.rows, found.agrees) == (100, True)
    assert re.fullmatch(r"100 rows, largest difference [\d.e-]+, rank correlation 1", str(found))


def two_heads(names: tuple[str, str] = ("ctr", "utility")) -> bytes:
    """Two scores of a matrix (n, 4): its first column, and its last one."""
    nodes = [helper.make_node("Gather", ["x", f"c{i}"], [name], axis=1) for i, name in enumerate(names)]
    outputs = [tensor(name, ["n"]) for name in names]
    return onnx_bytes(nodes, [tensor("x", ["n", 4])], outputs, {"c0": np.array(0), "c1": np.array(3)})


def classifier() -> bytes:
    """P(click) is column 0, as the classes sort."""
    coefficients = [1.0, 0, 0, 0, -1.0, 0, 0, 0]
    node = helper.make_node(
        "LinearClassifier",
        ["x"],
        ["label", "p"],
        domain="ai.onnx.ml",
        coefficients=coefficients,
        intercepts=[0.0, 0.0],
        classlabels_strings=["click", "no_click"],
        post_transform="SOFTMAX",
    )
    return onnx_bytes([node], [tensor("x", ["n", 4])], [tensor("p", ["n", 2])])


@pytest.mark.parametrize(
    ("content", "said", "order", "score", "words"),
    [
        (mlp_onnx(4), {}, SHUFFLED, lambda c: mlp_scores(matrix(c, SHUFFLED)), "In the file's order of columns"),
        (two_heads(), {"output": "ctr"}, NAMES, lambda c: c["stock"], "By utility"),
        (two_heads(), {"output": "ctr"}, SHUFFLED, lambda c: c["spend"], "order of columns and by utility"),
        (classifier(), {"output": "p[no_click]"}, NAMES, lambda c: 1 / (1 + np.exp(-2 * c["age"])), r"By p\[0\]"),
        (two_heads(), {"output": "ctr"}, NAMES, lambda c: -c["age"], "Negated"),
        (mlp_onnx(4), {"columns": SHUFFLED}, NAMES, lambda c: mlp_scores(matrix(c, NAMES)), "In the file's order"),
    ],
)
def test_what_explains_a_difference_is_named_with_the_line_that_mends_it(
    content: bytes, said: dict[str, Any], order: list[str], score: Any, words: str
) -> None:
    columns = frame(order)
    columns["prediction"] = score(columns)
    with pytest.raises(ModelRejected, match=rf"otherwise than its trainer: 100 rows.*{words}") as refused:
        checked(content, schema(**said), columns)
    assert checked(content, mended(refused), columns).agrees


def test_another_model_is_refused_without_an_explanation() -> None:
    columns = frame()
    columns["prediction"] = mlp_scores(matrix(columns, NAMES), seed=9)
    with pytest.raises(ModelRejected, match=r"row \d+: .* here, .* there\), rank correlation .* Neither another order"):
        checked(mlp_onnx(4), schema(), columns)


def test_scores_of_another_scale_are_said_to_order_alike() -> None:
    columns = frame()
    columns["prediction"] = 1 / (1 + np.exp(-np.asarray(columns["stock"])))
    with pytest.raises(ModelRejected, match="By utility it orders them alike, with other numbers"):
        checked(two_heads(), schema(output="ctr"), columns)


def test_a_file_of_the_right_order_but_other_units_is_refused() -> None:
    columns = frame()
    columns["prediction"] = mlp_scores(matrix(columns, NAMES))
    columns["price"] = columns["price"] * 100
    with pytest.raises(ModelRejected, match="what the trainer did to the features"):
        checked(mlp_onnx(4), schema(), columns)


def test_whole_numbers_that_float32_changes_are_refused_in_the_rows() -> None:
    columns = frame() | {"stock": np.full(100, 2**24 + 1)}
    columns["prediction"] = np.zeros(100)
    with pytest.raises(InvalidRows, match="stock is a whole number that float32 has as 16777216"):
        take_rows(schema(), columns, "prediction")


def test_lists_are_scored_list_by_list() -> None:
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["x", "mean"], ["centred"]),
        helper.make_node("Gather", ["centred", "c"], ["scores"], axis=1),
    ]
    content = onnx_bytes(nodes, [tensor("x", ["n", 4])], [tensor("scores", ["n"])], {"c": np.array(2)})
    found = schema(rows="together")
    columns = frame() | {"query": ["a"] * 30 + ["b"] * 70}
    price = columns["price"]
    columns["prediction"] = np.concatenate([price[:30] - price[:30].mean(), price[30:] - price[30:].mean()])
    graph = compile_graph(content, found)
    assert refuse_other_scores(content, graph, found, take_rows(found, columns, "prediction", "query")).agrees
    with pytest.raises(ModelRejected):
        refuse_other_scores(content, graph, found, take_rows(found, columns, "prediction"))
    mixed = np.random.default_rng(0).permutation(100)
    columns = {name: np.asarray(values)[mixed] for name, values in columns.items()}
    assert refuse_other_scores(content, graph, found, take_rows(found, columns, "prediction", "query")).agrees


@pytest.mark.parametrize("kind", ["rows.parquet", "rows.csv", "rows.jsonl", "rows.tsv"])
def test_files_of_all_kinds_are_read_by_the_names_of_their_columns(kind: str, tmp_path: Path) -> None:
    columns = frame(SHUFFLED)
    columns["prediction"] = mlp_scores(matrix(columns, NAMES)).astype(np.float32)
    path = tmp_path / kind
    table = pa.table(columns)
    if kind.endswith("parquet"):
        parquet.write_table(table, path)
    elif kind.endswith("jsonl"):
        path.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))
    else:
        csv.write_csv(table, path, csv.WriteOptions(delimiter="\t" if kind.endswith("tsv") else ","))
    rows = take_rows(schema(), read_frame(path), "prediction")
    assert isinstance(rows, Rows)
    assert rows.file_order == tuple(SHUFFLED)
    assert refuse_other_scores(mlp_onnx(4), mlp_onnx(4), schema(), rows).agrees


def test_texts_vectors_and_histories_are_read_from_files(tmp_path: Path) -> None:
    found = FeatureSchema.from_mapping(
        {
            "user": {"features": [{"name": "taste", "shape": [2]}, {"name": "viewed", "type": "product", "length": 3}]},
            "product": {"features": [{"name": "brand", "type": "category", "vocabulary": ["a", "b"]}]},
        }
    )
    columns = {"taste": [[1.0, 2.0]] * 2, "viewed": [[7], [8, 9]], "brand": ["a", "b"], "prediction": [0.0, 1.0]}
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    (tmp_path / "a.csv").write_text('taste,viewed,brand,prediction\n"[1,2]",[7],a,0\n"[1,2]","[8,9]",b,1\n')
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pa.table(columns).to_pylist()))
    frames = [read_frame(tmp_path / f"a.{kind}") for kind in ("parquet", "csv", "jsonl")]
    matrices = [take_rows(found, one, "prediction").matrix for one in frames]
    np.testing.assert_array_equal(matrices[0], matrices[1])
    np.testing.assert_array_equal(matrices[0], matrices[2])
    assert matrices[0].shape == (2, found.width)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("none.csv", None, "No such file"),
        ("a.jsonl", b"[1]\n", "line 1 is no JSON object"),
        ("a.jsonl", b"\n", "it is empty"),
        ("a.parquet", b"PAR1xx", "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_clean_message(
    name: str, content: bytes | None, said: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UnreadableFile, match=said):
        read_frame(tmp_path / name)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (frame(), "have no column prediction; they have age, spend, price, stock"),
        (frame() | {"prediction": ["x"] * 100}, "are no numbers"),
        ({name: [] for name in [*NAMES, "prediction"]}, "no rows to compare"),
    ],
)
def test_rows_without_scores_are_refused(columns: dict[str, Any], said: str) -> None:
    with pytest.raises(ModelRejected, match=said):
        take_rows(schema(), columns, "prediction")
