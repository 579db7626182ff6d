"""Every format gives the same rows, in blocks, and says what is wrong with a row or a file."""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv as arrow_csv
from pyarrow import feather, ipc, parquet

from ranker.errors import FilesPackageMissing, MissingColumns, UnreadableFile
from ranker.ingest.files.opening import open_source
from ranker.ingest.files.rows import REPEATED, Block, Columns, Fault
from ranker.ingest.files.source import Source

COLUMNS = Columns("id", ("price", "stock", "age"))
N = 20_000
"""Several blocks."""
VALUES = np.random.default_rng(1).normal(size=(N, 3)).astype(np.float32)
IDS = [f"p{i}" for i in range(N)]
# Neither the schema's order nor its columns alone.
TABLE = pa.table(
    {"age": VALUES[:, 2], "colour": ["red"] * N, "price": VALUES[:, 0], "id": IDS, "stock": VALUES[:, 1].astype(float)}
)


def write_parquet(path: Path, table: pa.Table) -> None:
    parquet.write_table(table, path)


def write_csv(path: Path, table: pa.Table) -> None:
    arrow_csv.write_csv(table, path)


def write_csv_gz(path: Path, table: pa.Table) -> None:
    with gzip.open(path, "wb") as file:
        arrow_csv.write_csv(table, file)


def write_json_lines(path: Path, table: pa.Table) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))


def write_json_lines_gz(path: Path, table: pa.Table) -> None:
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in table.to_pylist()).encode()))


def write_ipc(path: Path, table: pa.Table) -> None:
    with ipc.new_file(path, table.schema) as writer:
        writer.write_table(table)


def write_stream(path: Path, table: pa.Table) -> None:
    with ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table)


def write_feather(path: Path, table: pa.Table) -> None:
    feather.write_feather(table, path)


def write_npz(path: Path, table: pa.Table) -> None:
    np.savez(path, **{name: np.array(table[name].to_pylist()) for name in table.schema.names})


def write_npz_matrix(path: Path, table: pa.Table) -> None:
    names = ["age", "price", "stock"]
    matrix = np.column_stack([table[name].to_numpy() for name in names])
    np.savez_compressed(path, id=np.array(table["id"].to_pylist()), features=matrix, names=np.array(names), colour=0)


WRITERS: dict[str, Callable[[Path, pa.Table], None]] = {
    "a.parquet": write_parquet,
    "a.csv": write_csv,
    "a.csv.gz": write_csv_gz,
    "a.jsonl": write_json_lines,
    "a.ndjson.gz": write_json_lines_gz,
    "a.arrow": write_ipc,
    "a.arrows": write_stream,
    "a.feather": write_feather,
    "a.npz": write_npz,
    "matrix.npz": write_npz_matrix,
}


def read(source: Source) -> Block:
    """All blocks as one."""
    blocks = list(source.blocks())
    faults: dict[int, Fault] = {}
    start = 0
    for block in blocks:
        faults |= {start + i: fault for i, fault in block.faults.items()}
        start += len(block)
    return Block(
        np.concatenate([b.numbers for b in blocks]),
        [i for b in blocks for i in b.ids],
        np.concatenate([b.values for b in blocks]),
        faults,
    )


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_rows_by_name(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name, TABLE)
    source = open_source(tmp_path / name, COLUMNS)
    assert source.ignored == ("colour",)
    assert source.rows in (None, N)
    assert max(len(block) for block in source.blocks()) <= COLUMNS.block_rows < N
    block = read(source)
    assert block.ids == IDS
    assert (block.numbers == np.arange(1, N + 1)).all()
    assert (block.values.astype(np.float32) == VALUES).all()
    assert block.faults == {}


@pytest.mark.parametrize("name", WRITERS)
def test_files_without_a_wanted_column_are_refused_by_its_name(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name, TABLE)
    if "json" in name:
        block = read(open_source(tmp_path / name, Columns("id", ("price", "weight"))))
        assert set(block.faults.values()) == {Fault("a value is missing", "weight")}
        assert len(block.faults) == N
        return
    with pytest.raises(MissingColumns) as caught:
        open_source(tmp_path / name, Columns("key", ("price", "weight")))
    assert caught.value.columns == ("key", "weight")


@pytest.mark.parametrize("name", WRITERS)
def test_feature_that_may_be_nan_takes_nan_and_absent_values_and_no_infinity(tmp_path: Path, name: str) -> None:
    absent = float("nan") if "npz" in name else None
    table = pa.table(
        {
            "id": ["a", "b", "c", "d", "e"],
            "price": [1.0, 1.0, 1.0, float("nan"), 1.0],
            "stock": pa.array([absent, float("nan"), float("inf"), 1.0, 5.0]),
            "age": pa.array([1.0, absent, 3.0, 4.0, absent]),
        }
    )
    WRITERS[name](tmp_path / name, table)
    columns = replace(COLUMNS, may_be_nan=frozenset(("stock", "age")))
    (block,) = open_source(tmp_path / name, columns).blocks()
    good, matrix, faults = block.validate(columns)
    assert faults == {2: Fault("a value is infinite", "stock"), 3: Fault("a value is NaN", "price")}
    assert good.tolist() == [0, 1, 4]
    assert np.array_equal(matrix, [[1, np.nan, 1], [1, np.nan, np.nan], [1, 5, np.nan]], equal_nan=True)


def test_text_beside_an_absent_value_leaves_it_nan(tmp_path: Path) -> None:
    """One value that is no number has the column read one by one."""
    columns = replace(COLUMNS, may_be_nan=frozenset(("stock",)))
    for name, lines in (
        ("a.csv", ["id,price,stock,age", "a,1,x,1", "b,1,,1"]),
        ("a.jsonl", ['{"id": "a", "price": 1, "stock": "x", "age": 1}', '{"id": "b", "price": 1, "age": 1}']),
    ):
        (tmp_path / name).write_text("\n".join(lines) + "\n")
        (block,) = open_source(tmp_path / name, columns).blocks()
        good, matrix, faults = block.validate(columns)
        assert faults == {0: Fault("a value is no number", "stock")}
        assert np.array_equal(matrix, [[1, np.nan, 1]], equal_nan=True)
        assert good.tolist() == [1]


@pytest.mark.parametrize("name", [name for name in WRITERS if name.startswith("a.")])
def test_faults_are_told_by_row(tmp_path: Path, name: str) -> None:
    table = pa.table(
        {
            "id": ["a", "b", "c", "d", "e", "f"],
            "price": [1.0, float("nan"), 3.0, float("inf"), 5.0, 6.0],
            "stock": [1.0, 2.0, 1e300, 4.0, 5.0, 6.0],
            "age": pa.array([1.0, 2.0, 3.0, 4.0, None if "npz" not in name else float("nan"), 6.0]),
        }
    )
    WRITERS[name](tmp_path / name, table)
    (block,) = open_source(tmp_path / name, COLUMNS).blocks()
    good, matrix, faults = block.validate(COLUMNS)
    assert faults == {
        1: Fault("a value is NaN", "price"),
        2: Fault("a value is beyond float32", "stock"),
        3: Fault("a value is infinite", "price"),
        4: Fault("a value is missing" if "npz" not in name else "a value is NaN", "age"),
    }
    assert good.tolist() == [0, 5]
    assert matrix.tolist() == [[1, 1, 1], [6, 6, 6]]


def test_csv_rows_of_other_widths_and_words_are_told_by_row(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("price,id,stock,age\n1,a,2,3\n1,b,2\n1,c,2,3,4\nx,d,2,3\n 1 ,e,true,1e2\n1,,2,3\n1_0,f,2,3\n")
    block = read(open_source(path, COLUMNS))
    faults = {int(block.numbers[i]): (block.ids[i], fault) for i, fault in block.validate(COLUMNS)[2].items()}
    assert faults == {
        2: ("b", Fault("the row has too few or too many fields")),
        3: ("c", Fault("the row has too few or too many fields")),
        4: ("d", Fault("a value is no number", "price")),
        6: ("", Fault("the id is empty")),
        7: ("f", Fault("a value is no number", "price")),
    }
    at = {identifier: i for i, identifier in enumerate(block.ids)}
    assert block.numbers[at["e"]] == 5
    assert block.values[at["e"]].tolist() == [1, 1, 100]


def test_ragged_csv_rows_keep_the_numbers_of_all_rows_right(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    bad = {1, 2, 5000, 9_999, 10_000, N}
    lines = [f"p{i},1,2,3" if i not in bad else f"p{i},1" for i in range(1, N + 1)]
    path.write_text("id,price,stock,age\n" + "\n".join(lines) + "\n")
    block = read(open_source(path, COLUMNS))
    assert {int(block.numbers[i]) for i in block.faults} == bad
    assert sorted(block.numbers.tolist()) == list(range(1, N + 1))
    assert all(identifier == f"p{number}" for identifier, number in zip(block.ids, block.numbers, strict=True))


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("[1, 2]", Fault("the line is no JSON object")),
        ("{", Fault("the line is no JSON object")),
        ('{"id": "a", "price": "1", "stock": 1, "age": 1}', Fault("a value is no number", "price")),
        (
            '{"id": "a", "price": [1], "stock": 1, "age": 1}',
            Fault("a value is a list, and a feature is one number", "price"),
        ),
        ('{"id": "a", "price": NaN, "stock": 1, "age": 1}', Fault("a value is NaN", "price")),
        ('{"id": "a", "price": 1, "stock": null, "age": 1}', Fault("a value is missing", "stock")),
        ('{"id": null, "price": 1, "stock": 1, "age": 1}', Fault("the id is empty")),
        ('{"id": "", "price": 1, "stock": 1, "age": 1}', Fault("the id is empty")),
        ('{"price": 1, "stock": 1, "age": 1}', Fault("the id is empty")),
        *(
            (f'{{"id": {value}, "price": 1, "stock": 1, "age": 1}}', Fault("the id is neither text nor a whole number"))
            for value in ("true", "7.0", "7.5", "1e3", "NaN", '["a"]', "{}")
        ),
        (f'{{"id": "a", "price": {"9" * 400}, "stock": 1, "age": 1}}', Fault("a value is beyond float32", "price")),
        ('{"id": "a", "price": 9, "stock": 1, "age": 1, "price": 1}', Fault(REPEATED, "price")),
        ('{"id": "z", "price": 9, "stock": 1, "age": 1, "i\\u0064" : "a"}', Fault(REPEATED, "id")),
        ('{"x": {"y": [1e400]}, "id": "a", "age": 2, "price": 9, "stock": 1, "age":1}', Fault(REPEATED, "age")),
        (f'{{"id": "a", "price": 9, "price": {"9" * 400}, "stock": 1, "age":1}}', Fault(REPEATED, "price")),
    ],
)
def test_json_lines_at_fault_are_told_by_row(tmp_path: Path, line: str, fault: Fault) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": 7, "price": true, "stock": 1, "age": 2.5}\n\n' + line + "\n")
    (block,) = open_source(path, COLUMNS).blocks()
    good, matrix, faults = block.validate(COLUMNS)
    assert (block.ids[0], matrix.tolist(), good.tolist()) == ("7", [[1, 1, 2.5]], [0])
    assert faults == {1: fault}
    assert block.numbers.tolist() == [1, 3]


@pytest.mark.parametrize(
    "rest",
    [
        '"url": "https://x:1/"',
        '"at": "12:30", "x": {"price": 2, "id": "z"}',
        '"y": 1, "y": 2',
        '"t": "\\": ", "u": [{"id": 1}]',
    ],
)
def test_names_within_other_values_and_unwanted_ones_may_repeat_in_json_lines(tmp_path: Path, rest: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": "a", "price": 1, "stock": 2, "age": 3, ' + rest + "}\n")
    (block,) = open_source(path, COLUMNS).blocks()
    assert (block.ids, block.values.tolist(), block.faults) == (["a"], [[1, 2, 3]], {})


@pytest.mark.parametrize("names", [("price",), ("price", "stock", "age")])
@pytest.mark.parametrize("value", [[5], [1, 2], [[1], [2]], [], {"a": 1}])
def test_json_lines_whose_rows_all_hold_lists_are_told_by_row(
    tmp_path: Path, names: tuple[str, ...], value: object
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"id": i} | dict.fromkeys(names, value)) + "\n" for i in "ab"))
    (block,) = open_source(path, Columns("id", names)).blocks()
    reason = "a value is a list, and a feature is one number" if isinstance(value, list) else "a value is no number"
    assert block.faults == dict.fromkeys(range(2), Fault(reason, "price"))


def test_whole_number_ids_of_any_length_keep_their_digits_in_json_lines(tmp_path: Path) -> None:
    digits = [str(10**23 + 1), "18446744073709551616", "9223372036854775808", "-9007199254740993", "1" * 256, "1" * 300]
    lines = [f'{{"id": {identifier}, "price": 1, "stock": 1, "age": 1}}\n' for identifier in digits]
    (tmp_path / "a.jsonl").write_text("".join(lines))
    (block,) = open_source(tmp_path / "a.jsonl", COLUMNS).blocks()
    assert (block.ids, block.validate(COLUMNS)[2]) == (digits, {5: Fault("the id is longer than 256 characters")})


@pytest.mark.parametrize("column", ["id", "stock"])
def test_whole_number_longer_than_python_converts_is_told_by_row(tmp_path: Path, column: str) -> None:
    row = {"id": '"a"', "price": "1", "stock": "1", "age": "1"} | {column: "1" * 5000}
    (tmp_path / "a.jsonl").write_text("{" + ",".join(f'"{name}": {value}' for name, value in row.items()) + "}\n")
    (block,) = open_source(tmp_path / "a.jsonl", COLUMNS).blocks()
    assert list(block.validate(COLUMNS)[2]) == [0]


@pytest.mark.parametrize("separator", ["", "\n", " "])
def test_byte_order_mark_before_the_first_line_is_no_part_of_it(tmp_path: Path, separator: str) -> None:
    text = f'\ufeff{separator}{{"id": "a", "price": 1, "stock": 2, "age": 3, "colour": 4}}\n'
    (tmp_path / "a.jsonl").write_text(text)
    source = open_source(tmp_path / "a.jsonl", COLUMNS)
    (block,) = source.blocks()
    assert source.ignored == ("colour",)
    assert (block.ids, block.values.tolist(), block.faults) == (["a"], [[1, 2, 3]], {})
    (tmp_path / "a.csv").write_text("\ufeffid,price,stock,age\na,1,2,3\n")
    assert read(open_source(tmp_path / "a.csv", COLUMNS)).ids == ["a"]


BIG = 16777217
"""What float32 has as 16777216."""


def whole_numbers(name: str, path: Path, stock: list[Any], kind: Any = None) -> None:
    """Write rows whose stock is given, as a file of whole numbers."""
    n = len(stock)
    ids, ones = [f"p{i}" for i in range(n)], [1.0] * n
    if name.endswith("csv"):
        path.write_text("id,price,stock,age\n" + "".join(f"{i},1,{x},1\n" for i, x in zip(ids, stock, strict=True)))
    elif name.endswith("jsonl"):
        lines = [f'{{"id": "{i}", "price": 0.5, "stock": {x}, "age": 1}}\n' for i, x in zip(ids, stock, strict=True)]
        path.write_text("".join(lines))
    elif name == "matrix.npz":
        matrix = np.column_stack([np.ones(n, kind), np.array(stock, kind), np.ones(n, kind)])
        np.savez(path, id=np.array(ids), features=matrix, names=np.array(["price", "stock", "age"]))
    elif name.endswith("npz"):
        np.savez(path, id=np.array(ids), price=np.ones(n), stock=np.array(stock, kind), age=np.ones(n))
    else:
        WRITERS[name](path, pa.table({"id": ids, "price": ones, "stock": pa.array(stock, kind), "age": ones}))


EXACT = [7, -7, 2**24, 2**24 + 2, -(2**24) - 2, 2**40, 2**53, 2**62]
CHANGED = [BIG, -BIG, 1764341743, 2**53 + 1, 2**62 + 1, -(2**62) - 1]
HELD_IN = {
    "a.csv": [None],
    "a.jsonl": [None],
    "a.npz": [np.int64],
    "matrix.npz": [np.int64],
    "a.parquet": [pa.int64(), pa.decimal128(30), pa.decimal128(30, 2)],
    "a.feather": [pa.int64()],
    "a.arrow": [pa.int64(), pa.decimal256(40)],
}


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name, kinds in HELD_IN.items() for kind in kinds])
def test_whole_numbers_that_float32_changes_are_at_fault_and_no_others(tmp_path: Path, name: str, kind: Any) -> None:
    whole_numbers(name, tmp_path / name, [*EXACT, *CHANGED], kind)
    (block,) = open_source(tmp_path / name, COLUMNS).blocks()
    good, matrix, faults = block.validate(COLUMNS)
    assert good.tolist() == list(range(len(EXACT)))
    assert matrix[:, 1].tolist() == EXACT
    fault = Fault("a whole number is not the same in float32", "stock")
    assert faults == dict.fromkeys(range(len(EXACT), len(EXACT) + len(CHANGED)), fault)
    good, matrix, faults = block.validate(replace(COLUMNS, allow_rounding=True))
    assert (len(good), faults) == (len(EXACT) + len(CHANGED), {})
    assert (matrix[:, 1] == np.array([*EXACT, *CHANGED], np.float32)).all()


@pytest.mark.parametrize(
    ("name", "kind", "stock", "changed"),
    [
        ("a.npz", np.uint64, [2**63, 2**63 + 1, 2**64 - 1], [1, 2]),
        ("matrix.npz", np.uint64, [2**63, 2**63 + 1, 2**64 - 1], [1, 2]),
        ("a.parquet", pa.uint64(), [2**63, 2**63 + 1, 2**64 - 1], [1, 2]),
        ("a.parquet", pa.uint64(), [None, BIG], [1]),
        ("a.parquet", pa.int32(), [BIG, 5], [0]),
        ("a.parquet", pa.float64(), [float(BIG), 2.0**24 + 2, BIG + 0.5, 0.1], [0]),
        ("a.parquet", pa.float32(), [BIG + 1.0, 1e20], []),
        ("a.npz", np.float64, [float(BIG), 2.0**24 + 2, BIG + 0.5, 0.1], [0]),
        ("a.npz", np.float32, [123456789, 1e20], []),
        ("a.csv", None, ["16777217.0", " 16777217 ", "+16777217", "16777217.5", "18446744073709551617"], [0, 1, 2, 4]),
        ("a.csv", None, ["x", "16777217", "", "9007199254740993.0"], [1, 3]),
        ("a.csv", None, [np.float32(123456789), np.float32(1e20), float(np.float32(1e20))], []),
        ("a.jsonl", None, ["16777217.0", "16777217.5", "18446744073709551617", "1e20"], [0, 2]),
        ("a.jsonl", None, ["null", "16777217", '"x"', "true"], [1]),
        ("a.jsonl", None, [np.float32(123456789), float(np.float32(1e20))], []),
    ],
)
def test_numbers_are_judged_by_what_the_file_has(
    tmp_path: Path, name: str, kind: Any, stock: list[Any], changed: list[int]
) -> None:
    """Not by a float64 on the way: 2^53 + 1 is none, and what a float32 is written as is no other number."""
    whole_numbers(name, tmp_path / name, stock, kind)
    (block,) = open_source(tmp_path / name, COLUMNS).blocks()
    faults = block.validate(COLUMNS)[2]
    assert [i for i, fault in faults.items() if "float32" in fault.reason] == changed


def test_integer_ids_are_read_as_their_digits(tmp_path: Path) -> None:
    numbers = {name: [1.0, 2.0] for name in COLUMNS.features}
    write_parquet(tmp_path / "a.parquet", pa.table({"id": [7, 8], **numbers}))
    np.savez(tmp_path / "a.npz", id=np.array([7, 8]), **numbers)
    dictionary = pa.table({"id": pa.array(["7", "8"]).dictionary_encode(), **numbers})
    write_ipc(tmp_path / "a.arrow", dictionary)
    for name in ("a.parquet", "a.npz", "a.arrow"):
        assert read(open_source(tmp_path / name, COLUMNS)).ids == ["7", "8"]


def bad_npz(path: Path, **arrays: Any) -> None:
    defaults = {name: np.ones(2) for name in COLUMNS.features}
    np.savez(path, **{"id": np.array(["a", "b"]), **defaults, **arrays})


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("a.txt", lambda p: p.write_text("x"), r"ends in none of \.parquet"),
        ("a", lambda p: p.write_text("x"), "ends in none of"),
        ("a.csv", lambda p: p.mkdir(), "no regular file"),
        ("a.csv", lambda p: None, "no such file"),
        ("a.csv", lambda p: p.write_text(""), "it is empty"),
        ("a.csv", lambda p: p.write_text("id,price,price,stock,age\n"), "price appears more than once"),
        ("a.parquet", lambda p: p.write_text("nonsense"), "Parquet"),
        ("a.arrow", lambda p: p.write_text("nonsense"), "cannot be read"),
        ("a.npz", lambda p: p.write_text("nonsense"), "zip"),
        ("a.jsonl.gz", lambda p: p.write_text("nonsense"), "gzip"),
        ("a.npz", lambda p: bad_npz(p, price=np.ones(3)), r"price holds float64 of shape \(3,\)"),
        ("a.npz", lambda p: bad_npz(p, price=np.array(["1", "2"])), "price holds <U1"),
        ("a.npz", lambda p: bad_npz(p, price=np.array([1, None], dtype=object)), "Python objects"),
        ("a.npz", lambda p: bad_npz(p, id=np.ones(2)), "the array id holds float64"),
        (
            "a.npz",
            lambda p: np.savez(p, id=np.array(["a", "b"]), features=np.ones((2, 2)), names=np.array(COLUMNS.features)),
            r"features holds float64 of shape \(2, 2\)",
        ),
        ("a.parquet", lambda p: write_parquet(p, TABLE.set_column(2, "price", [["x"] * N])), "price holds string"),
        ("a.parquet", lambda p: write_parquet(p, TABLE.set_column(3, "id", [[1.5] * N])), "id column id holds double"),
    ],
)
def test_files_that_cannot_be_read_say_why(
    tmp_path: Path, name: str, write: Callable[[Path], object], message: str
) -> None:
    write(tmp_path / name)
    with pytest.raises(UnreadableFile, match=message):
        list(open_source(tmp_path / name, COLUMNS).blocks())


@pytest.mark.parametrize("name", ["a.parquet", "a.csv.gz", "a.arrow", "a.npz", "a.ndjson.gz"])
def test_truncated_files_are_refused_and_not_taken_for_short_ones(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    WRITERS[name](path, TABLE)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(UnreadableFile):
        list(open_source(path, COLUMNS).blocks())


def test_without_pyarrow_only_its_formats_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_csv(tmp_path / "a.csv", TABLE)
    write_json_lines(tmp_path / "a.jsonl", TABLE)
    write_npz(tmp_path / "a.npz", TABLE)
    ours = [f"ranker.ingest.files.{name}" for name in ("arrow", "arrow_columns", "delimited")]
    for name in [name for name in sys.modules if name.startswith("pyarrow") or name in ours]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for name in ours:
        monkeypatch.delattr(name, raising=False)
    for name in ("a.jsonl", "a.npz"):
        assert read(open_source(tmp_path / name, COLUMNS)).ids == IDS
    with pytest.raises(FilesPackageMissing, match=r"ranker\[files\]"):
        open_source(tmp_path / "a.csv", COLUMNS)


def test_signature_tells_a_changed_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write_json_lines(path, TABLE)
    before = open_source(path, COLUMNS).signature()
    (tmp_path / "b.jsonl").write_bytes(path.read_bytes())
    assert open_source(tmp_path / "b.jsonl", COLUMNS).signature() == before
    path.write_bytes(path.read_bytes()[:-2] + b"1\n")
    assert open_source(path, COLUMNS).signature() != before
