"""Files that pandas, polars, DuckDB and pyarrow write: taken as meant, or refused in words that say what to do."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pyarrow import ipc, parquet

from ranker.errors import UnreadableFile
from ranker.ingest.files.opening import open_source
from ranker.ingest.files.rows import Block, Columns, Fault

COLUMNS = Columns("id", ("price", "stock", "is_new"))
ROWS = [[1.5, 3, 1], [2.25, 0, 0]]
UUIDS = ["00112233-4455-6677-8899-aabbccddeeff", "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"]


def only_block(path: Path, columns: Columns = COLUMNS) -> Block:
    (block,) = open_source(path, columns).blocks()
    return block


def write_ipc(path: Path, table: pa.Table) -> None:
    with ipc.new_file(path, table.schema) as writer:
        writer.write_table(table)


def polars_frame() -> pl.DataFrame:
    """A shop as one has it in polars: categories, decimals, booleans."""
    return pl.DataFrame(
        {
            "id": pl.Series(["p1", "p2"], dtype=pl.Categorical),
            "price": pl.Series(["1.5", "2.25"]).cast(pl.Decimal(10, 2)),
            "stock": pl.Series([3, 0], dtype=pl.UInt16),
            "is_new": [True, False],
            "title": ["one\ntwo", "three"],
        }
    )


POLARS: dict[str, Callable[[pl.DataFrame, Path], object]] = {
    "a.parquet": lambda frame, path: frame.write_parquet(path),
    "a.arrow": lambda frame, path: frame.write_ipc(path),
    "b.arrow": lambda frame, path: frame.write_ipc(path, compression="zstd", compat_level=pl.CompatLevel.oldest()),
    "a.arrows": lambda frame, path: frame.write_ipc_stream(path),
    "a.csv": lambda frame, path: frame.write_csv(path),
    # polars writes decimals as text there
    "a.ndjson": lambda frame, path: frame.cast({"price": pl.Float32}).write_ndjson(path),
}


@pytest.mark.parametrize("name", POLARS)
@pytest.mark.parametrize("kind", [pl.Categorical, pl.Enum(["p1", "p2"]), pl.String])
def test_polars_files_are_taken(tmp_path: Path, name: str, kind: Any) -> None:
    POLARS[name](polars_frame().cast({"id": kind}), tmp_path / name)
    block = only_block(tmp_path / name)
    assert (block.ids, block.values.tolist(), block.faults) == (["p1", "p2"], ROWS, {})


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
def test_polars_binary_ids_are_taken_as_text(tmp_path: Path, name: str) -> None:
    POLARS[name](polars_frame().with_columns(id=pl.Series([b"p1", "größe".encode()])), tmp_path / name)
    assert only_block(tmp_path / name).ids == ["p1", "größe"]


PANDAS: dict[str, Callable[[pd.DataFrame, Path], object]] = {
    "a.parquet": lambda frame, path: frame.to_parquet(path),
    "a.feather": lambda frame, path: frame.to_feather(path),
    "a.csv": lambda frame, path: frame.to_csv(path, index=False),
    "a.csv.gz": lambda frame, path: frame.to_csv(path, index=False),
    "a.jsonl": lambda frame, path: frame.to_json(path, orient="records", lines=True),
}


@pytest.mark.parametrize("name", PANDAS)
@pytest.mark.parametrize("kind", ["object", "string", "category"])
def test_pandas_files_are_taken(tmp_path: Path, name: str, kind: str) -> None:
    frame = pd.DataFrame(
        {
            "is_new": [True, False],
            "price": pd.Categorical([1.5, 2.25]),
            "id": pd.Series(["p1", "p2"]).astype(kind),
            "stock": pd.array([3, 0], dtype="Int64"),
        }
    )
    PANDAS[name](frame, tmp_path / name)
    block = only_block(tmp_path / name)
    assert (block.ids, block.values.tolist(), block.faults) == (["p1", "p2"], ROWS, {})


def test_pandas_column_without_any_value_is_absent_in_every_row(tmp_path: Path) -> None:
    frame = pd.DataFrame({"id": ["p1", "p2"], "price": [None, None], "stock": [3, 0], "is_new": [True, False]})
    frame.to_parquet(tmp_path / "a.parquet")
    assert only_block(tmp_path / "a.parquet").faults == dict.fromkeys(range(2), Fault("a value is missing", "price"))
    block = only_block(tmp_path / "a.parquet", Columns("id", COLUMNS.features, may_be_nan=frozenset(["price"])))
    assert block.faults == {}
    assert np.isnan(block.values[:, 0]).all()


def duckdb_writes(path: Path, options: str, ids: str) -> None:
    with duckdb.connect() as connection:
        connection.execute("CREATE TYPE code AS ENUM ('p1', 'p2')")
        rows = (
            f"SELECT {ids} AS id, 1.5::DECIMAL(10, 2) AS price, 3::UTINYINT AS stock, true AS is_new, [1, 2] AS taste"
        )
        connection.execute(f"COPY ({rows}) TO '{path}' ({options})")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.parquet", "FORMAT parquet, COMPRESSION zstd"),
        ("a.csv", "FORMAT csv"),
        ("a.csv.gz", "FORMAT csv, COMPRESSION gzip"),
        ("a.jsonl", "FORMAT json"),
    ],
)
@pytest.mark.parametrize(
    ("ids", "read"),
    [
        ("'p1'", "p1"),
        ("'p1'::code", "p1"),
        ("'p1'::BLOB", "p1"),
        ("9007199254740993::BIGINT", "9007199254740993"),
        ("123456789012345678901234::DECIMAL(24, 0)", "123456789012345678901234"),
        (f"'{UUIDS[1]}'::UUID", UUIDS[1]),
    ],
)
def test_duckdb_files_are_taken_with_their_ids_as_text(
    tmp_path: Path, name: str, options: str, ids: str, read: str
) -> None:
    duckdb_writes(tmp_path / name, options, ids)
    block = only_block(tmp_path / name)
    assert (block.ids, block.values.tolist(), block.faults) == ([read], ROWS[:1], {})


def ids_of(array: pa.Array) -> pa.Table:
    numbers = np.array(ROWS * len(array))[: len(array)]
    return pa.table({"id": array, **{name: numbers[:, j] for j, name in enumerate(COLUMNS.features)}})


RAW_UUIDS = [UUID(text).bytes for text in UUIDS]


@pytest.mark.parametrize("write", [write_ipc, lambda path, table: parquet.write_table(table, path)])
@pytest.mark.parametrize("in_dictionary", [False, True])
@pytest.mark.parametrize(
    ("array", "read"),
    [
        (pa.array(["a", None, "ö"], pa.string_view()), ["a", "", "ö"]),
        (pa.array(["a", None, "ö"], pa.large_string()), ["a", "", "ö"]),
        (pa.array([b"a", None, "ö".encode()], pa.binary()), ["a", "", "ö"]),
        (pa.array([b"a", None, "ö".encode()], pa.large_binary()), ["a", "", "ö"]),
        (pa.array([b"a", None, "ö".encode()], pa.binary_view()), ["a", "", "ö"]),
        (pa.array([b"ab\0\0", None, "ös\0".encode()], pa.binary(4)), ["ab", "", "ös"]),
        (pa.array([*RAW_UUIDS, None], pa.binary(16)), [*UUIDS, ""]),
        (pa.array([b"0123456789abcdef", b"0123\0\0\0\0\0\0\0\0\0\0\0\0"], pa.binary(16)), ["0123456789abcdef", "0123"]),
        (pa.array([*RAW_UUIDS, bytes(16), None], pa.uuid()), [*UUIDS, str(UUID(int=0)), ""]),
        (pa.array([Decimal(10**23 + 1), None], pa.decimal128(24, 0)), [str(10**23 + 1), ""]),
        (pa.array([7, None, 2**63], pa.uint64()), ["7", "", str(2**63)]),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_ids_of_every_arrow_type_are_taken_as_text(
    tmp_path: Path, write: Callable[[Path, pa.Table], None], in_dictionary: bool, array: pa.Array, read: list[str]
) -> None:
    path = tmp_path / ("a.arrow" if write is write_ipc else "a.parquet")
    if in_dictionary:
        if array.type == pa.uuid() or ("view" in str(array.type) and write is not write_ipc):
            pytest.skip("pyarrow reads no such dictionary, not even its own")
        distinct = [value for value in array.to_pylist() if value is not None]
        indices = [None if value is None else distinct.index(value) for value in array.to_pylist()]
        array = pa.DictionaryArray.from_arrays(pa.array(indices, pa.int16()), pa.array(distinct, array.type))
    write(path, ids_of(array))
    assert only_block(path).ids == read


def test_bytes_that_are_no_text_are_no_ids(tmp_path: Path) -> None:
    write_ipc(tmp_path / "a.arrow", ids_of(pa.array([b"a", b"\xff\xfe"])))
    np.savez(tmp_path / "a.npz", id=np.array([b"a", b"\xff\xfe"]), price=[1, 2], stock=[1, 2], is_new=[1, 2])
    for name in ("a.arrow", "a.npz"):
        faults = only_block(tmp_path / name).validate(COLUMNS)[2]
        assert faults == {1: Fault("the id is no valid Unicode")}


@pytest.mark.parametrize(
    "array",
    [
        pa.array([1.5, 2.25]).dictionary_encode(),
        pa.array([Decimal("1.5"), Decimal("2.25")], pa.decimal256(60, 2)),
        pa.array([1.5, 2.25], pa.float16()),
    ],
    ids=lambda array: str(array.type),
)
def test_features_of_every_type_of_number_are_taken(tmp_path: Path, array: pa.Array) -> None:
    write_ipc(tmp_path / "a.arrow", ids_of(pa.array(["p1", "p2"])).set_column(1, "price", array))
    assert only_block(tmp_path / "a.arrow").values.tolist() == ROWS


def test_absent_values_of_a_dictionary_are_told_by_row(tmp_path: Path) -> None:
    dictionary = pa.DictionaryArray.from_arrays(pa.array([0, 1, None]), pa.array([1.5, None]))
    write_ipc(tmp_path / "a.arrow", ids_of(pa.array(["p1", "p2", "p3"])).set_column(1, "price", dictionary))
    missing = Fault("a value is missing", "price")
    assert only_block(tmp_path / "a.arrow").faults == {1: missing, 2: missing}


@pytest.mark.parametrize(
    ("column", "array", "message"),
    [
        (
            "price",
            pa.array([[1.0], [2.0]]),
            "price holds list<.*not numbers; a feature is one number.*each element a col",
        ),
        ("price", pa.array([[1.0], [2.0]], pa.list_(pa.float32(), 1)), "a feature is one number"),
        ("price", pa.array(["x", "y"]).dictionary_encode(), "price holds dictionary<values=string.*not numbers"),
        ("price", pa.array([1, 2], pa.timestamp("s")), r"price holds timestamp\[s\], not numbers"),
        ("id", pa.array([1.0, 2.0]), "id holds double, not strings or integers; write integers or text"),
        ("id", pa.array([Decimal("1.5"), Decimal(2)]), r"id holds decimal128\(2, 1\), not strings or integers"),
        ("id", pa.array([True, False]), "id holds bool, not strings or integers"),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_columns_of_other_types_are_refused_by_name(tmp_path: Path, column: str, array: pa.Array, message: str) -> None:
    table = ids_of(pa.array(["p1", "p2"]))
    write_ipc(tmp_path / "a.arrow", table.set_column(table.schema.get_field_index(column), column, array))
    with pytest.raises(UnreadableFile, match=message):
        open_source(tmp_path / "a.arrow", COLUMNS)
