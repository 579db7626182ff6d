import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from onnx import TensorProto, helper

from ranker.cli.model.group import model
from tests.support.models import endless, mlp_onnx, mlp_scores, onnx_bytes, temporary_model_store, tensor

SCHEMA = """
user:
  features: [age, {name: "[red]income", default: 30000}]
product:
  key: "p:{id}"
  features: [price, {name: margin, default: 0.25}, stock]
"""
TAG = "shop:v1"


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory with model.onnx and schema.yaml, and an empty model store."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "schema.yaml").write_text(SCHEMA)
    (tmp_path / "model.onnx").write_bytes(mlp_onnx(5))
    (tmp_path / "store").mkdir()
    with temporary_model_store(tmp_path / "store"):
        yield tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(model, arguments)


def import_(*, graph: str = "model.onnx", schema: str = "schema.yaml", version: str | None = "v1") -> Result:
    return run("import", graph, "--schema", schema, "--name", "shop", *(["--version", version] if version else []))


def pairs(output: str) -> dict[str, str]:
    """Read the lines `Label  value`."""
    return {label: value.strip() for label, _, value in (line.partition("  ") for line in output.splitlines())}


def test_import_prints_the_tag_and_how_to_serve_it() -> None:
    result = import_()
    assert result.exit_code == 0, result.stderr
    shown = pairs(result.stdout)
    assert shown["Imported"] == TAG
    assert shown["Serve it"] == f"ranker serve --model {TAG}"
    assert shown["Columns"] == "2 user + 3 product = 5"
    assert shown["Input"] == "features (n, 5) float32"
    assert shown["Output"] == "scores (n, 1) float32"
    assert int(shown["Fingerprint"], 16) > 0
    assert shown["Row"] == "user.age, user.[red]income, product.price, product.margin, product.stock"
    assert result.stderr == ""


def test_import_says_that_nothing_was_compared_or_what_was(files: Path) -> None:
    assert pairs(import_().stdout)["Compared"].startswith("nothing: --check ROWS --score-column NAME compares")
    names = ["age", "[red]income", "price", "margin", "stock"]
    values = np.random.default_rng(0).random((50, 5), dtype=np.float32)
    rows = [
        dict(zip(names, row, strict=True)) | {"y": y}
        for row, y in zip(values.tolist(), mlp_scores(values).tolist(), strict=True)
    ]
    (files / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ["import", "model.onnx", "--schema", "schema.yaml", "--name", "shop", "--check", "rows.jsonl"]
    assert pairs(run(*command, "--score-column", "y").stdout)["Compared"].startswith("50 rows, largest difference")
    assert run(*command).exit_code == 2
    (files / "model.onnx").write_bytes(mlp_onnx(5, seed=1))
    assert_clean_error(run(*command, "--score-column", "y"), "scores otherwise than its trainer: 50 rows")


def test_a_suggested_schema_is_printed_or_written_to_a_new_file(files: Path) -> None:
    printed = run("suggest", "model.onnx").stdout
    assert "columns:  # the training frame's order" in printed
    assert run("suggest", "model.onnx", "--output", "new.yaml").exit_code == 0
    assert (
        (files / "new.yaml").read_text()
        == printed
        == json.loads(run("suggest", "model.onnx", "--json").stdout)["schema"]
    )
    assert "File exists. Choose another --output" in run("suggest", "model.onnx", "--output", "new.yaml").stderr


def test_import_and_show_say_what_was_built_in(files: Path) -> None:
    names = ["stock", "age", "price"]
    nodes = [
        helper.make_node("Cast", ["stock"], ["s"], to=1),
        helper.make_node("Add", ["s", "age"], ["ctr"]),
        helper.make_node("Neg", ["price"], ["cvr"]),
    ]
    kinds = dict.fromkeys(names, 1) | {"stock": 7}
    inputs = [tensor(name, ["n", 1], kinds[name]) for name in names]
    heads = [tensor("ctr", ["n", 1]), tensor("cvr", ["n", 1])]
    (files / "model.onnx").write_bytes(onnx_bytes(nodes, inputs, heads))
    (files / "schema.yaml").write_text(SCHEMA + 'score: "ctr * cvr + margin"\n')
    for shown in (import_(), run("show", TAG)):
        assert shown.exit_code == 0, shown.stderr
        words = " ".join(shown.stdout.split())
        assert "Inputs stock (n, 1) int64 = product.stock, age (n, 1) float = user.age, price (n, 1)" in words
        assert "Output ctr = ctr (n, 1) float32, cvr = cvr (n, 1) float32, margin = product.margin" in words
        assert "Score ctr * cvr + margin" in words
        assert "By name stock = product.stock, age = user.age, price = product.price" in words
        assert "Not used user.[red]income" in words
        assert "Note stock takes int64, and product.stock as float32 holds whole numbers" in words
    described = json.loads(run("show", TAG, "--json").stdout)["compiled"]
    assert [one["takes"] for one in described["inputs"]] == [["product.stock"], ["user.age"], ["product.price"]]


def test_a_row_is_told_by_features_and_not_by_the_columns_that_hold_them(files: Path) -> None:
    inputs = [tensor("viewed", ["n", 5], 7), tensor("taste", ["n", 4]), tensor("brand", ["n", 1], 7)]
    nodes = [helper.make_node("ReduceSum", ["taste", "axes"], ["scores"])]
    graph = onnx_bytes(nodes, inputs, [tensor("scores", ["n", 1])], {"axes": np.array([1])})
    (files / "model.onnx").write_bytes(graph)
    brand = "{name: brand, type: category, vocabulary: [a, b]}"
    (files / "schema.yaml").write_text(
        f"user: {{features: [{{name: viewed, type: product, length: 5}}, {{name: taste, shape: [4]}}]}}\n"
        f"product: {{features: [price, {brand}]}}\n"
    )
    row = pairs(import_().stdout)["Row"]
    assert row == "user.viewed (5), user.taste (4), product.price, product.brand"


def test_import_and_show_say_which_other_outputs_there_are(files: Path) -> None:
    nodes = [
        helper.make_node("ReduceSum", ["features", "last"], ["cvr"], keepdims=1),
        helper.make_node("Sigmoid", ["cvr"], ["ctr"]),
        helper.make_node("Cast", ["cvr"], ["label"], to=7),
    ]
    outputs = [tensor("ctr", ["n", 1]), tensor("cvr", ["n", 1]), tensor("label", ["n", 1], 7)]
    graph = onnx_bytes(nodes, [tensor("features", ["n", 5])], outputs, {"last": np.array([1])})
    (files / "model.onnx").write_bytes(graph)
    (files / "schema.yaml").write_text(f"{SCHEMA}output: ctr\n")
    for shown in (pairs(import_().stdout), pairs(run("show", TAG).stdout)):
        assert shown["Output"] == "ctr (n, 1) float32"
        assert shown["Other outputs"] == "cvr"
    assert json.loads(run("show", TAG, "--json").stdout)["other_outputs"] == ["cvr"]


def test_importing_the_same_twice_says_so_and_succeeds() -> None:
    first, second = import_(version=None), import_(version=None)
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert pairs(second.stdout)["Already imported"] == pairs(first.stdout)["Imported"]


def test_show_gives_features_in_order_with_defaults_and_key_templates() -> None:
    import_()
    result = run("show", "shop")
    assert result.exit_code == 0, result.stderr
    shown = pairs(result.stdout)
    assert shown["Model"] == TAG
    assert shown["Size"] == f"{len(mlp_onnx(5)):,} bytes"
    assert "user: 2 features, stored under user:{id}" in result.stdout
    assert "product: 3 features, stored under p:{id}" in result.stdout
    table = [line.split() for line in result.stdout.splitlines()]
    assert [cells for cells in table if cells and cells[0].isdigit()] == [
        ["0", "age", "0"],
        ["1", "[red]income", "30000"],
        ["0", "price", "0"],
        ["1", "margin", "0.25"],
        ["2", "stock", "0"],
    ]


def test_show_names_what_requests_bring_formats_and_the_order_of_all_columns(files: Path) -> None:
    (files / "schema.yaml").write_text(
        """
user:
  format: hash
  features: [age, {name: spend, default: 2}]
product:
  format: float64
  features: [price]
context:
  features:
    - hour
    - {name: device, categories: {ios: 0, android: 1}, default: -1}
    - {name: area, from: zipCode, prefixes: {"1": 1, "2": 2, "3": 3, "4": 4, "5": 5, "6": 6, "7": 7, "8": 8, "9": 9},
       default: 0}
productContext:
  features: [{name: discount, default: 0.5}]
"""
    )
    (files / "model.onnx").write_bytes(mlp_onnx(7))
    assert import_().exit_code == 0
    shown = run("show", TAG).stdout
    assert pairs(shown)["Columns"] == "2 user + 1 product + 3 context + 1 productContext = 7"
    assert "user: 2 features, stored under user:{id} as hash" in shown
    assert "product: 1 features, stored under product:{id} as float64" in shown
    assert "context: 3 features, given in a request\n" in shown
    assert "productContext: 1 features, given in a request for each product" in shown
    assert [line.strip().split(maxsplit=3) for line in shown.splitlines() if line[:1].isdigit()] == [
        ["0", "age", "0", "required"],
        ["1", "spend", "2"],
        ["0", "price", "0"],
        ["0", "hour", "0"],
        ["1", "device", "-1", "ios=0, android=1"],
        ["2", "area", "0", "zipCode: 1…=1, 2…=2, 3…=3, 4…=4, 5…=5, 6…=6, 7…=7, 8…=8 and 1 more"],
        ["0", "discount", "0.5"],
    ]
    described = json.loads(run("show", TAG, "--json").stdout)
    assert described["groups"] == {"user": 2, "product": 1, "context": 3, "productContext": 1}
    assert described["schema"]["context"]["features"][1]["categories"] == {"ios": 0, "android": 1}


def test_show_json_is_for_machines() -> None:
    import_()
    described: dict[str, Any] = json.loads(run("show", TAG, "--json").stdout)
    assert described["tag"] == TAG
    assert (described["user_width"], described["product_width"], described["width"]) == (2, 3, 5)
    assert described["inputs"] == [{"name": "features", "dtype": "float32", "columns": [0, 5]}]
    assert described["output"] == {"name": "scores", "dtype": "float32", "shape": "(n, 1)"}
    assert described["schema"]["product"]["key"] == "p:{id}"
    assert [f["name"] for f in described["schema"]["user"]["features"]] == ["age", "[red]income"]


def test_show_without_a_tag_lists_the_models_whole() -> None:
    assert "holds no ranking model" in run("show").stdout
    assert json.loads(run("show", "--json").stdout) == []
    import_()
    import_(version=None)
    listed = json.loads(run("show", "--json").stdout)
    tags = [one["tag"] for one in listed]
    assert len(tags) == 2
    assert TAG in tags
    assert len({one["fingerprint"] for one in listed}) == 1
    lines = run("show").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["tag", *tags]


def test_import_and_show_say_what_was_taken(files: Path) -> None:
    (files / "model.onnx").write_bytes(two_towers())
    result = import_()
    assert_clean_error(result, "cannot be told", "`inputs: {query: user, candidate: product}`")
    (files / "schema.yaml").write_text(f"{SCHEMA}inputs: {{query: user, candidate: product}}\n")
    result = import_()
    assert_clean_error(result, "no class probabilities", '`output: "scores[1]"`')
    (files / "schema.yaml").write_text(f'{SCHEMA}inputs: {{query: user, candidate: product}}\noutput: "scores[1]"\n')
    result = import_()
    assert result.exit_code == 0, result.stderr
    for shown in (pairs(result.stdout), pairs(run("show", TAG).stdout)):
        assert shown["Inputs"] == "query (n, 2) float32 = user, candidate (n, 3) float32 = product"
        assert shown["Output"] == "scores (n, 2) float32, column 1"
    described = json.loads(run("show", TAG, "--json").stdout)
    assert [each["group"] for each in described["inputs"]] == ["user", "product"]
    assert described["output"] == {"name": "scores", "dtype": "float32", "shape": "(n, 2)", "column": 1, "classes": []}
    assert described["schema"]["output"] == "scores[1]"
    assert described["schema"]["inputs"] == {"query": "user", "candidate": "product"}


def two_towers() -> bytes:
    """A graph with two inputs of unknown widths, and two columns of plain numbers."""
    nodes = [
        helper.make_node("ReduceSum", [name, "axes"], [f"{name}_sum"], keepdims=1) for name in ("query", "candidate")
    ]
    nodes.append(helper.make_node("Concat", ["query_sum", "candidate_sum"], ["scores"], axis=1))
    inputs = [tensor(name, ["n", f"{name}_width"]) for name in ("query", "candidate")]
    return onnx_bytes(nodes, inputs, [tensor("scores", ["n", 2])], {"axes": np.array([1])})


def test_scores_that_are_all_one_are_warned_of(files: Path) -> None:
    nodes = [
        helper.make_node("ReduceSum", ["features", "axes"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "zero"], ["scores"]),
    ]
    constants = {"axes": np.array([1]), "zero": np.zeros(1, np.float32)}
    graph = onnx_bytes(nodes, [tensor("features", ["n", 5])], [tensor("scores", ["n"])], constants)
    (files / "model.onnx").write_bytes(graph)
    result = import_()
    assert result.exit_code == 0
    assert pairs(result.stdout)["Imported"] == TAG
    assert result.stderr.startswith("Warning: 64 of 64 rows")


def test_a_graph_without_an_end_is_one_clean_message_and_not_stored(files: Path) -> None:
    (files / "model.onnx").write_bytes(endless(5))
    result = run("import", "model.onnx", "--schema", "schema.yaml", "--name", "shop", "--time-limit", "1")
    assert_clean_error(result, "did not end within 1 s", "--time-limit")
    assert json.loads(run("show", "--json").stdout) == []


def assert_clean_error(result: Result, *parts: str) -> None:
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert all(part in result.stderr for part in parts), result.stderr


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ("user: [", "schema.yaml is not valid YAML"),
        ("", "schema"),
        ("user: {features: [a]}", "product: it is missing"),
        ("user: {features: [a, a]}\nproduct: {features: [b]}", "feature names repeat: a"),
        ("!!python/object/apply:os.system ['exit 1']", "not valid YAML"),
    ],
)
def test_a_bad_schema_is_one_clean_message(files: Path, schema: str, message: str) -> None:
    (files / "schema.yaml").write_text(schema)
    assert_clean_error(import_(), message)


def test_files_that_cannot_be_read_are_named() -> None:
    assert_clean_error(import_(schema="nowhere.yaml"), "nowhere.yaml cannot be read: No such file")
    assert_clean_error(import_(graph="nowhere.onnx"), "nowhere.onnx cannot be read: No such file")
    assert_clean_error(import_(graph="store"), "store cannot be read: Is a directory")
    assert_clean_error(import_(graph="schema.yaml"), "Check that it is an ONNX file")


@pytest.mark.parametrize("endless", ["fifo", "/dev/zero"])
def test_a_graph_from_what_may_have_no_end_is_refused(files: Path, endless: str) -> None:
    os.mkfifo(files / "fifo")
    assert_clean_error(
        import_(graph=endless), f"{endless} cannot be read: It is a pipe or a device", "copy it to a file"
    )


def test_a_rejected_graph_is_one_clean_message(files: Path) -> None:
    (files / "model.onnx").write_bytes(mlp_onnx(6))
    assert_clean_error(import_(), "takes 6 values a row, and the schema gives it 5")


def test_another_model_under_an_explicit_version_is_one_clean_message(files: Path) -> None:
    import_()
    (files / "model.onnx").write_bytes(mlp_onnx(5, seed=1))
    assert_clean_error(import_(), "another model", "--version")


def test_show_of_an_unknown_model_is_one_clean_message() -> None:
    assert_clean_error(run("show", "nowhere:v1"), "Model nowhere:v1 is not in the Bento model store")


def test_processes_that_import_at_once_leave_one_model(files: Path) -> None:
    home = {**os.environ, "BENTOML_HOME": str(files / "home"), "COLUMNS": "80"}
    command = [sys.executable, "-m", "ranker.cli.model.group"]
    arguments = ["import", "model.onnx", "--schema", "schema.yaml", "--name", "shop"]
    started = [
        subprocess.Popen([*command, *arguments], env=home, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=100) for process in started]
    assert [process.returncode for process in started] == [0, 0], outputs
    assert sorted(out.split("  ")[0] for out, _ in outputs) == ["Already imported", "Imported"]
    assert [err for _, err in outputs] == [""] * 2
    listed = subprocess.run([*command, "show", "--json"], env=home, capture_output=True, text=True, check=True)
    assert len(json.loads(listed.stdout)) == 1
    failed = subprocess.run([*command, "show", "no:v1"], env=home, capture_output=True, text=True, check=False)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.startswith("Error: ")
    assert "Traceback" not in failed.stderr


WIDE = """
user:
  features: [%s]
product:
  key: "p:{id}"
  features: [%s]
"""


@pytest.fixture
def wide(files: Path) -> None:
    """A graph whose first layer is mostly the user's."""
    users, products = (", ".join(f"{of}{i}" for i in range(n)) for of, n in (("u", 600), ("p", 40)))
    (files / "schema.yaml").write_text(WIDE % (users, products))
    (files / "model.onnx").write_bytes(mlp_onnx(640, 256))


def test_import_and_show_say_what_the_parts_gain_and_what_stays_in_the_pair_part(wide: None) -> None:
    imported = import_()
    assert imported.exit_code == 0, imported.output
    shown = run("show", TAG)
    for said in map(pairs, (imported.stdout, shown.stdout)):
        assert said["Scores"].startswith("in parts: ")
        assert re.match(r"[\d,]+ -> [\d,]+ us of CPU \([\d.]+ times\) for a request of 100 prepared", said["Gain"])
        assert said["Product part"].startswith("1,024 bytes of the cache and ")
        assert re.search(r"scores as the whole graph's, largest relative difference \de?", said["Proof"])
    assert "Run for each pair of a request and a product:" in shown.stdout
    assert re.search(r"^Relu .* product give together", shown.stdout, re.MULTILINE)
    described = json.loads(run("show", TAG, "--json").stdout)
    assert (described["served"], described["wholeBecause"]) == ("in parts", None)
    assert described["split"]["kept"][0]["operator"] == "Relu"
    assert described["split"]["gain"]["product_bytes"] == 1024
    assert described["split"]["gain"]["share"] > 0.1
    assert json.loads(run("list", "--json").stdout)[0]["served"] == "in parts"


def test_import_names_operations_whose_steps_rounding_may_decide(wide: None, files: Path) -> None:
    weights = np.random.default_rng(0).normal(size=(640, 256)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["features", "w"], ["layer"]),
        helper.make_node("Greater", ["layer", "none"], ["above"], name="gate"),
        helper.make_node("Cast", ["above"], ["gates"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["gates", "last"], ["scores"]),
    ]
    constants = {"w": weights, "none": np.float32(0.25), "last": weights[:256, :1]}
    inputs, outputs = [tensor("features", ["n", 640])], [tensor("scores", ["n", 1])]
    (files / "model.onnx").write_bytes(onnx_bytes(nodes, inputs, outputs, constants))
    imported = import_()
    assert imported.exit_code == 0, imported.output
    assert pairs(imported.stdout)["Steps"].startswith("Greater (gate): of sums that the parts make in another order")


def test_no_split_keeps_the_graph_whole_under_another_tag(wide: None) -> None:
    parts = pairs(import_(version=None).stdout)["Imported"]
    command = ["import", "model.onnx", "--schema", "schema.yaml", "--name", "shop", "--no-split"]
    whole = pairs(run(*command).stdout)
    assert whole["Scores"] == "by the whole graph: the import was told to (--no-split)"
    assert whole["Imported"] != parts
    assert pairs(run("show", whole["Imported"]).stdout)["Scores"] == whole["Scores"]
    differences = run("diff", whole["Imported"], parts, "--synthetic", "--requests", "5").stdout
    assert "served: whole -> in parts" in differences
    assert "mean 1.000" in differences


def test_a_graph_that_gains_nothing_says_why_it_stays_whole() -> None:
    assert pairs(import_().stdout)["Scores"].startswith("by the whole graph: in parts a request would take ")


def test_a_split_model_is_removed_with_its_parts(wide: None, files: Path) -> None:
    import_()
    assert list(files.rglob("split/pair.onnx"))
    assert run("rm", "--yes", TAG).exit_code == 0
    assert not list(files.rglob("split"))


def test_diff_of_models_without_an_order_says_so_in_words(files: Path) -> None:
    inputs, outputs = [tensor("features", ["n", 5])], [tensor("scores", ["n", 1])]
    nodes = [
        helper.make_node("ReduceSum", ["features", "axis"], ["sum"], keepdims=1),
        helper.make_node("Mul", ["sum", "zero"], ["scores"]),
    ]
    constants = {"axis": np.array([1], dtype=np.int64), "zero": np.float32(0)}
    (files / "model.onnx").write_bytes(onnx_bytes(nodes, inputs, outputs, constants))
    flat = pairs(import_(version=None).stdout)["Imported"]
    said = run("diff", flat, flat, "--synthetic", "--requests", "3").stdout
    assert pairs(said)["Spearman's rho"] == "not defined: in each request, a model gives all products one score"
    assert "nan" not in said
    assert json.loads(run("diff", flat, flat, "--synthetic", "--json").stdout)["agreement"]["correlation"] is None
