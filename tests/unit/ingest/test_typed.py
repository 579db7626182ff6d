"""Typed features on their way from files and frames into Redis: each type, in each format, by the command line too."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import yaml
from click.testing import CliRunner, Result
from pyarrow import feather, parquet
from redis import Redis

from ranker import FeatureWriter
from ranker.cli.features.group import features
from ranker.errors import InvalidRows, WrongMatrix
from ranker.ingest.read_back import read_rows
from ranker.ingest.typed_columns import convert
from ranker.ingest.validation import check_rows
from ranker.redis.clients import connect
from ranker.vectors.feature.shown import show
from ranker.vectors.schema import FeatureSchema

FEATURES: list[Any] = [
    "price",
    {"name": "rating", "missing": "nan"},
    {"name": "stock", "missing": "default", "default": 7},
    {"name": "embedding", "shape": [3]},
    {"name": "brand", "type": "category", "vocabulary": ["nike", "puma"], "unknown": -1, "missing": "default"},
    {"name": "sold_at", "type": "int64"},
    {"name": "on_sale", "type": "bool"},
    {"name": "similar", "type": "product", "length": 3, "missing": "default"},
    {"name": "sku", "type": "text", "length": 6},
    {"name": "weight", "type": "float16"},
]
GIVEN = {"user": {"features": ["age"]}, "product": {"features": FEATURES}}
SCHEMA = FeatureSchema.from_mapping(GIVEN)
NAMES = SCHEMA.product.names
BIG = (1 << 62) + 1
ROWS: list[dict[str, Any]] = [
    {"price": 1.5, "rating": 4.5, "stock": 3, "embedding": [1.0, 2.0, 3.5], "brand": "puma", "sold_at": BIG}
    | {"on_sale": True, "similar": [BIG, 5], "sku": "ä-1", "weight": 0.5},
    {"price": -2.0, "rating": None, "stock": None, "embedding": [0.0, -1.0, 0.25], "brand": None, "sold_at": -3}
    | {"on_sale": False, "similar": None, "sku": "", "weight": -2.0},
    {"price": 0.0, "rating": 0.0, "stock": 0, "embedding": [0.0, 0.0, 0.0], "brand": "asics", "sold_at": 0}
    | {"on_sale": False, "similar": [], "sku": "123456", "weight": 0.0},
]
EXPECTED = [
    ROWS[0],
    ROWS[1] | {"stock": 7, "brand": "nike", "similar": []},
    ROWS[2] | {"brand": -1},
]
IDS = ["a", "b", "c"]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, redis_url: str, redis_client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory with schema.yaml, and an empty Redis."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RANKER_REDIS_URL", redis_url)
    Path("schema.yaml").write_text(yaml.safe_dump(GIVEN))


def table(rows: list[dict[str, Any]] = ROWS, **types: Any) -> pa.Table:
    kinds = {"embedding": pa.list_(pa.float32()), "similar": pa.list_(pa.int64()), "sold_at": pa.int64()} | types
    columns = {name: pa.array([row[name] for row in rows], kinds.get(name)) for name in NAMES}
    return pa.table({"id": IDS[: len(rows)], **columns})


def decimals() -> pa.Table:
    whole = [Decimal(row["sold_at"]) for row in ROWS]
    return table().set_column(6, "sold_at", pa.array(whole, pa.decimal128(19, 0)))


def csv_cell(value: Any) -> str:
    text = "" if value is None else json.dumps(value) if isinstance(value, list | bool) else str(value)
    return '"' + text.replace('"', '""') + '"' if "," in text else text


def write_csv(name: str, rows: list[dict[str, Any]]) -> None:
    lines = [",".join([i, *(csv_cell(row[n]) for n in NAMES)]) for i, row in zip(IDS, rows, strict=False)]
    Path(name).write_text("\n".join([",".join(["id", *NAMES]), *lines]) + "\n")


def write_jsonl(name: str, rows: list[dict[str, Any]] = ROWS) -> None:
    text = "".join(json.dumps({"id": i, **row}) + "\n" for i, row in zip(IDS, rows, strict=False))
    Path(name).write_text(text)


FILES: dict[str, Callable[[], Any]] = {
    "lists.parquet": lambda: parquet.write_table(table(), "lists.parquet"),
    "fixed.parquet": lambda: parquet.write_table(table(embedding=pa.list_(pa.float64(), 3)), "fixed.parquet"),
    "dictionary.parquet": lambda: parquet.write_table(
        table(brand=pa.dictionary(pa.int8(), pa.string())), "dictionary.parquet"
    ),
    "decimals.parquet": lambda: parquet.write_table(decimals(), "decimals.parquet"),
    "large.feather": lambda: feather.write_feather(
        table(embedding=pa.large_list(pa.float32()), brand=pa.large_string()), "large.feather"
    ),
    "rows.jsonl": lambda: write_jsonl("rows.jsonl"),
    "rows.csv": lambda: write_csv("rows.csv", [ROWS[0], *(row | {"sku": row["sku"] or "x"} for row in ROWS[1:])]),
}


def load(name: str, *more: str) -> Result:
    return CliRunner().invoke(features, ["load", name, "--entity", "product", "--model", "schema.yaml", *more])


def stored(url: str, ids: list[str] = IDS) -> list[dict[str, Any]]:
    client = connect(url)
    rows = read_rows(client, SCHEMA, "product", ids)
    client.close()
    assert rows.complete
    slices = SCHEMA.product.slices
    return [{f.name: show(f, row[slices[f.name]]) for f in SCHEMA.product.features} for row in rows.values]


@pytest.mark.parametrize("name", FILES)
def test_file_of_typed_features_is_loaded_verified_and_inspected(name: str, redis_url: str) -> None:
    FILES[name]()
    result = load(name)
    assert result.exit_code == 0, result.stderr
    expected = [row | ({"sku": row["sku"] or "x"} if name.endswith("csv") else {}) for row in EXPECTED]
    assert stored(redis_url) == expected
    checked = ["verify", "--model", "schema.yaml", "--entity", "product", "--products", name]
    verified = CliRunner().invoke(features, checked)
    assert verified.exit_code == 0, verified.output
    assert "3 rows stored" in verified.output
    shown = CliRunner().invoke(features, ["inspect", "a", "--entity", "product", "--model", "schema.yaml", "--json"])
    assert json.loads(shown.stdout)[0]["features"] == expected[0]
    assert json.loads(shown.stdout)[0]["form"] == "binary"


def test_npz_holds_vectors_as_matrices(redis_url: str) -> None:
    arrays: dict[str, Any] = {name: np.array([row[name] for row in ROWS]) for name in NAMES if name != "similar"}
    arrays |= {"rating": np.array([4.5, np.nan, 0.0]), "stock": np.array([3, np.nan, 0.0])}
    arrays |= {"brand": np.array(["puma", "nike", "asics"]), "sold_at": np.array([BIG, -3, 0])}
    part = [feature for feature in FEATURES if feature == "price" or feature["name"] != "similar"]
    schema = GIVEN | {"product": {"features": part}}
    Path("schema.yaml").write_text(yaml.safe_dump(schema))
    np.savez("rows.npz", id=np.array(IDS), **arrays)
    result = load("rows.npz")
    assert result.exit_code == 0, result.stderr
    read = FeatureSchema.from_mapping(schema)
    client = connect(redis_url)
    rows = read_rows(client, read, "product", IDS)
    client.close()
    expected = [[row[f.name] for f in read.product.features] for row in EXPECTED]
    slices = read.product.slices
    assert [[show(f, row[slices[f.name]]) for f in read.product.features] for row in rows.values] == expected
    Path("schema.yaml").write_text(yaml.safe_dump(GIVEN))
    np.savez("rows.npz", id=np.array(IDS), similar=np.zeros((3, 3), np.int64), **arrays)
    assert "similar is a sequence, whose lengths an array does not say; write Parquet" in load("rows.npz").stderr


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"embedding": [1.0, 2.0]}, "a value is none of its type ([1.0, 2.0] has not the shape (3,)): 1 row(s)"),
        ({"embedding": None}, "a value is missing: 1 row(s)"),
        ({"sold_at": None}, "a value is missing: 1 row(s)"),
        ({"sku": "1234567"}, "a value is none of its type ('1234567' takes more than its 6 bytes)"),
        ({"embedding": [1.0, 2.0, 16777217.0]}, "a whole number is not the same in float32: 1 row(s)"),
        ({"price": None}, "a value is missing: 1 row(s)"),
        ({"weight": 70000.0}, "a value is none of its type (70000.0 is beyond float16)"),
    ],
)
@pytest.mark.parametrize("kind", ["jsonl", "parquet", "csv"])
def test_row_with_a_value_of_another_type_is_refused_with_its_reason(
    change: dict[str, Any], reason: str, kind: str, redis_client: Redis
) -> None:
    name = f"rows.{kind}"
    rows = [ROWS[0] | change, ROWS[0]]
    if kind == "csv":
        write_csv(name, rows)
    elif kind == "jsonl":
        write_jsonl(name, rows)
    else:
        parquet.write_table(table(rows, embedding=pa.list_(pa.float64())), name)
    result = load(name)
    assert result.exit_code == 1, result.output
    assert reason.partition(" (")[0] in result.stderr
    if kind == "jsonl":
        assert reason in result.stderr
    assert redis_client.keys("product:*") == []
    (column,) = change
    assert f"({column})" in result.stderr


def test_rounding_in_a_vector_is_taken_when_it_is_allowed() -> None:
    write_jsonl("rows.jsonl", [ROWS[0] | {"embedding": [1.0, 2.0, 16777217.0]}])
    result = load("rows.jsonl", "--allow-rounding", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["rounded"] == {"embedding": 1}


def frames() -> list[Any]:
    columns = {name: [row[name] for row in ROWS] for name in NAMES}
    return [pd.DataFrame(columns), pl.DataFrame(columns, strict=False), table().drop_columns(["id"])]


@pytest.mark.parametrize("at", range(3), ids=["pandas", "polars", "pyarrow"])
def test_frame_of_typed_features_is_written(at: int, redis_url: str) -> None:
    with FeatureWriter(redis_url, SCHEMA) as writer:
        writer.write_products(IDS, frames()[at])
    assert stored(redis_url) == EXPECTED


@pytest.mark.parametrize("type", ["float32", "float16", "bool", "category", "int32"])
def test_column_without_a_single_value_is_written_as_what_stands_in(type: str, redis_url: str) -> None:
    said = {"name": "rare", "type": type, "missing": "default" if type == "int32" else "nan"}
    said |= {"vocabulary": ["a"]} if type == "category" else {}
    schema = FeatureSchema.from_mapping({"product": {"features": [{"name": "sold_at", "type": "int64"}, said]}})
    with FeatureWriter(redis_url, schema) as writer:
        writer.write_products(["a", "b"], pa.table({"sold_at": [1, 2], "rare": pa.nulls(2)}))
    client = connect(redis_url)
    rows = read_rows(client, schema, "product", ["a", "b"])
    client.close()
    stands_in = 0 if type == "int32" else None
    shown = [show(schema.product.features[1], row[schema.product.slices["rare"]]) for row in rows.values]
    assert shown == [stands_in, stands_in]


@pytest.mark.parametrize("typed", [False, True])
@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ([None, None], [np.nan, np.nan]),
        ([Decimal("1.5"), None], [1.5, np.nan]),
        ([True, None], [1.0, np.nan]),
        ([None, 3], [np.nan, 3.0]),
    ],
)
def test_objects_are_numbers_in_a_schema_with_types_and_in_one_without(
    given: list[Any], taken: list[float], typed: bool
) -> None:
    more = [{"name": "sold_at", "type": "int64"}] if typed else ["sold_at"]
    schema = FeatureSchema.from_mapping({"product": {"features": [{"name": "rare", "missing": "nan"}, *more]}})
    columns = {"rare": given, "sold_at": [1, 2]}
    for frame in (pd.DataFrame(columns, dtype=object), pa.table(columns), pl.DataFrame(columns)):
        rows = check_rows(["a", "b"], frame, schema.product)
        np.testing.assert_array_equal(rows[:, 0], taken)
    refused = FeatureSchema.from_mapping({"product": {"features": ["rare", *more]}})
    with pytest.raises(InvalidRows, match="rare is"):
        check_rows(["a", "b"], pa.table(columns), refused.product)


def test_frame_with_a_value_of_another_type_is_refused_whole(redis_url: str, redis_client: Redis) -> None:
    frame = pd.DataFrame([ROWS[0], ROWS[0] | {"sku": 5, "embedding": None}, ROWS[0] | {"weight": 1e9}])
    with FeatureWriter(redis_url, SCHEMA) as writer, pytest.raises(InvalidRows) as refused:
        writer.write_products(IDS, frame)
    assert refused.value.problems == (
        (1, "embedding is missing, and the schema says of nothing that stands in"),
        (2, "of weight, 1000000000.0 is beyond float16"),
    )
    assert redis_client.dbsize() == 0


def test_array_says_nothing_of_texts(redis_url: str) -> None:
    with FeatureWriter(redis_url, SCHEMA) as writer, pytest.raises(WrongMatrix, match="hand over a data frame"):
        writer.write_products(IDS, np.zeros((3, SCHEMA.product.width)))


def test_ragged_lists_say_nothing_of_texts_either(redis_url: str) -> None:
    with FeatureWriter(redis_url, SCHEMA) as writer, pytest.raises(WrongMatrix, match=r"ragged.*a data frame"):
        writer.write_products(["a"], [[1.5, [1, 2, 3], "puma"]])


@pytest.mark.parametrize(
    ("feature", "column", "expected"),
    [
        ({"type": "int64"}, pd.array([BIG, None], dtype="Int64"), [BIG, 0]),
        ({"type": "int64"}, pd.Series([BIG, None], dtype="int64[pyarrow]"), [BIG, 0]),
        ({"type": "category", "vocabulary": ["x", "y"]}, pd.array(["y", None], dtype="string"), ["y", "x"]),
        ({"type": "bool"}, pd.array([True, None], dtype="boolean"), [True, False]),
        ({"type": "text", "length": 3}, pd.array(["ä", None], dtype="string"), ["ä", ""]),
        ({"type": "product", "length": 2}, pd.Series([[BIG], pd.NA]), [[BIG], []]),
        ({"shape": [2]}, pd.Series([[1.5, 2.5], pd.NA]), [[1.5, 2.5], [0.0, 0.0]]),
        ({}, pd.array([True, None], dtype="boolean"), [1.0, 0.0]),
        ({}, pd.array([2.5, None], dtype="Float64"), [2.5, 0.0]),
    ],
)
def test_what_pandas_calls_absent_is_absent(feature: dict[str, Any], column: Any, expected: list[Any]) -> None:
    said = {"user": {"features": ["age"]}, "product": {"features": [{"name": "a", "missing": "default", **feature}]}}
    product = FeatureSchema.from_mapping(said).product
    rows = check_rows(["1", "2"], pd.DataFrame({"a": column}), product)
    assert [show(product.features[0], row) for row in rows] == expected


SECONDS = 1_717_171_712.0  # what float32 has for 1,717,171,717
NULLS = pa.table({"a": pa.array([5, None]).dictionary_encode()})


@pytest.mark.parametrize("batch", [NULLS, NULLS.to_batches()[0]])
@pytest.mark.parametrize(
    ("feature", "expected"),
    [({"default": 7.0}, [5.0, 7.0]), ({"missing": "nan"}, [5.0, None]), ({"type": "int64", "default": -1}, [5, -1])],
)
def test_absent_value_of_an_arrow_dictionary_is_not_its_last_entry(
    batch: Any, feature: dict[str, Any], expected: list[Any]
) -> None:
    said = {"user": {"features": ["age"]}, "product": {"features": [{"name": "a", "missing": "default", **feature}]}}
    product = FeatureSchema.from_mapping(said).product
    assert [show(product.features[0], row) for row in check_rows(["1", "2"], batch, product)] == expected


@pytest.mark.parametrize("dtype", ["f8", "f4", "i8", "?"])
@pytest.mark.parametrize("a", [{"name": "a", "missing": "nan"}, {"name": "a", "missing": "nan", "shape": [2]}])
def test_what_lies_under_a_mask_is_absent(a: dict[str, Any], dtype: str) -> None:
    features = [a] if "shape" in a else [a, {**a, "name": "b"}]
    product = FeatureSchema.from_mapping({"user": {"features": ["age"]}, "product": {"features": features}}).product
    rows = np.ma.MaskedArray(np.array([[1, 1], [1, 1]], dtype), mask=[[False, True], [False, False]])
    np.testing.assert_array_equal(check_rows(["1", "2"], rows, product), [[1, np.nan], [1, 1]])
    strict = [{**feature, "missing": "refuse"} for feature in features]
    product = FeatureSchema.from_mapping({"user": {"features": ["age"]}, "product": {"features": strict}}).product
    with pytest.raises(InvalidRows, match="NaN"):
        check_rows(["1", "2"], rows, product)


@pytest.mark.parametrize("missing", ["default", "refuse", None])
@pytest.mark.parametrize(
    "column",
    [
        pd.Series([[1.0, np.nan], [3.0, 4.0]]),
        pa.array([[1.0, np.nan], [3.0, 4.0]]),
        pa.array([[1.0, np.nan], [3.0, 4.0]], pa.list_(pa.float64(), 2)),
        pl.Series([[1.0, np.nan], [3.0, 4.0]], dtype=pl.Array(pl.Float64, 2)),
        np.array([[1.0, np.nan], [3.0, 4.0]]),
    ],
)
def test_vector_with_nan_inside_is_not_the_default(column: Any, missing: str | None) -> None:
    said = {"name": "a", "shape": [2], **({"missing": missing} if missing else {})}
    schema = FeatureSchema.from_mapping({"user": {"features": ["age"]}, "product": {"features": [said]}})
    (feature,) = schema.product.features
    found = convert(feature, column)
    assert list(found.unusable) == [0]
    assert "`missing: nan`" in found.unusable[0]
    assert found.columns[1].tolist() == [3.0, 4.0]


@pytest.mark.parametrize(
    ("feature", "column"),
    [
        ({"type": "int64"}, np.array([SECONDS, 7], np.float32)),
        ({"type": "int64"}, pd.Series([SECONDS, 7], dtype="float32")),
        ({"type": "int64"}, pl.Series([SECONDS, 7], dtype=pl.Float32)),
        ({"type": "int64"}, pa.array([SECONDS, 7], pa.float32())),
        ({"type": "int64"}, pa.array([SECONDS, 7], pa.float32()).dictionary_encode()),
        ({"type": "int32"}, np.array([4001, 7], np.float16)),
        ({"type": "int64", "shape": [1]}, np.array([[SECONDS], [7]], np.float32)),
        ({"type": "product", "length": 2}, pd.Series([np.array([SECONDS], np.float32), np.array([7.0])])),
        ({"type": "product", "length": 2}, pa.array([[SECONDS], [7]], pa.list_(pa.float32()))),
        ({"type": "product", "length": 2}, pd.Series([np.array([1], "datetime64[ns]"), [7]])),
        ({"type": "product", "length": 2}, pd.Series([np.array([1], "timedelta64[ns]"), [7]])),
        ({"type": "int64"}, np.array([1, "NaT"], "datetime64[ns]")),
    ],
)
def test_whole_number_that_its_column_does_not_hold_exactly_or_a_time_is_refused(
    feature: dict[str, Any], column: Any
) -> None:
    said = {"user": {"features": ["age"]}, "product": {"features": [{"name": "a", **feature}]}}
    (a,) = FeatureSchema.from_mapping(said).product.features
    found = convert(a, column)
    assert list(found.unusable)[:1] == [0]
    assert found.columns[1].any() or 1 in found.unusable


@pytest.mark.parametrize(
    "column",
    [
        pl.Series([(1 << 60) + 1, None]),
        pa.array([(1 << 60) + 1, None]),
        pd.array([-(1 << 60) - 1, None], "Int64"),
    ],
)
def test_integer_beside_an_absent_one_is_judged_as_it_was_and_not_as_a_double(column: Any) -> None:
    said = {"user": {"features": ["age"]}, "product": {"missing": "nan", "features": ["a"]}}
    frame = pl.DataFrame({"a": column}) if isinstance(column, pl.Series) else pa.table({"a": column})
    with pytest.raises(InvalidRows, match=r"row 0: a is a whole number that float32 has as"):
        check_rows(["1", "2"], frame, FeatureSchema.from_mapping(said).product)


def test_negative_integer_in_a_list_is_judged_as_it_was_and_not_as_a_double() -> None:
    said = FeatureSchema.from_mapping({"user": {"features": ["age"]}, "product": {"features": ["a", "b"]}})
    with pytest.raises(InvalidRows, match="row 0: a is a whole number"):
        check_rows(["1"], [[-(1 << 60) - 1, 0.5]], said.product)


def test_array_of_vectors_is_written_by_its_columns(redis_client: Redis, redis_url: str) -> None:
    schema = FeatureSchema.from_mapping(
        {"user": {"features": ["age"]}, "product": {"features": ["price", {"name": "e", "shape": [2]}]}}
    )
    with FeatureWriter(redis_url, schema) as writer:
        writer.write_products(["a"], np.array([[1, 2, 3]]))
        with pytest.raises(InvalidRows, match="e has a whole number that float32 changes"):
            writer.write_products(["b"], np.array([[1, 2, 16777217]]))
    client = connect(redis_url)
    assert read_rows(client, schema, "product", ["a"]).values.tolist() == [[1, 2, 3]]
    client.close()


def test_json_vectors_are_migrated_to_records_and_older_ones_too(redis_client: Redis, redis_url: str) -> None:
    redis_client.set("product:a", json.dumps([ROWS[0][name] for name in NAMES]))
    arguments = ["migrate", "--model", "schema.yaml", "--entity", "product", "--to", "binary", "--json"]
    result = CliRunner().invoke(features, arguments)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["done"] == 1
    assert stored(redis_url, ["a"]) == EXPECTED[:1]
    grown = {
        "product": {"features": [*FEATURES, {"name": "new", "default": 3}]},
        "older": [{"product": GIVEN["product"]}],
    }
    Path("schema.yaml").write_text(yaml.safe_dump(GIVEN | grown))
    before = redis_client.get("product:a")
    for done in (1, 0):
        result = CliRunner().invoke(features, arguments)
        assert (result.exit_code, json.loads(result.stdout)["done"]) == (0, done), result.output
    assert len(redis_client.get("product:a") or b"") == len(before or b"") + 4  # type: ignore[arg-type]


def test_verify_takes_no_digit_text_or_padding_for_a_number_that_explodes(redis_url: str) -> None:
    rows = [ROWS[0] | {"sold_at": 5 + i % 2, "sku": "a", "similar": [1], "price": float(i)} for i in range(200)]
    lines = [json.dumps({"id": str(i), **row}) for i, row in enumerate(rows)]
    Path("many.jsonl").write_text("\n".join(lines))
    assert load("many.jsonl").exit_code == 0
    other = [row | {"sold_at": BIG + i, "sku": "zzzzzz", "similar": [BIG, BIG, 7]} for i, row in enumerate(rows)]
    arguments = ["verify", "--model", "schema.yaml", "--entity", "product"]
    for price, code in ((0.0, 0), (1e6, 1)):
        with FeatureWriter(redis_url, SCHEMA) as writer:
            changed = [row | {"price": row["price"] + price} for row in other]
            writer.write_products([str(i) for i in range(200)], pd.DataFrame(changed))
        result = CliRunner().invoke(features, arguments)
        assert result.exit_code == code, result.output
        assert ("exploding: price" in result.output) == bool(code)
        assert "sold_at" not in result.output
