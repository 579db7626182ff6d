"""Text files of other delimiters, decimals and encodings: read as told, or refused with the option that would do."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pytest

from ranker.errors import UnreadableFile
from ranker.ingest.files.dialect import Dialect
from ranker.ingest.files.opening import open_source
from ranker.ingest.files.rows import Block, Columns, Fault
from ranker.ingest.files.source import Source
from ranker.vectors.schema import FeatureSchema

COLUMNS = Columns("id", ("price", "stock"))
FRAME = pd.DataFrame(
    {"title": ["größe, 5", 'a "b"\nc'], "id": ["p1", "p2"], "stock": [3, -70000], "price": [1.5, 1e-7]}
)
VALUES = [[1.5, 3], [1e-7, -70000]]


def only_block(source: Source) -> Block:
    (block,) = source.blocks()
    return block


def write_text(path: Path, data: bytes) -> None:
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


WRITTEN = [
    ("a.csv", Dialect(), {}),
    ("a.csv.gz", Dialect(";"), {"sep": ";"}),
    ("a.csv", Dialect(";", ","), {"sep": ";", "decimal": ","}),
    ("a.csv", Dialect("|"), {"sep": "|"}),
    ("a.csv", Dialect(decimal=","), {"decimal": ","}),  # pandas quotes it
    ("a.tsv", Dialect(), {"sep": "\t"}),
    ("a.tsv.gz", Dialect(decimal=","), {"sep": "\t", "decimal": ","}),
    ("a.csv", Dialect("\t"), {"sep": "\t"}),
    ("a.csv", Dialect(encoding="cp1252"), {"encoding": "cp1252"}),
    ("a.csv", Dialect(encoding="utf-16"), {"encoding": "utf-16"}),
    ("a.csv.gz", Dialect(";", ",", "utf-16-le"), {"encoding": "utf-16-le", "sep": ";", "decimal": ","}),
    ("a.csv", Dialect(encoding="utf-8-sig"), {"encoding": "utf-8-sig"}),
]


@pytest.mark.parametrize(("name", "dialect", "options"), WRITTEN)
def test_pandas_files_are_read_in_the_dialect_told(
    tmp_path: Path, name: str, dialect: Dialect, options: dict[str, str]
) -> None:
    FRAME.to_csv(tmp_path / name, index=False, **options)
    source = open_source(tmp_path / name, COLUMNS, dialect)
    block = only_block(source)
    assert (source.ignored, block.ids, block.values.tolist(), block.faults) == (("title",), ["p1", "p2"], VALUES, {})
    assert source.advice == ""


@pytest.mark.parametrize(("name", "dialect", "options"), WRITTEN)
def test_the_options_that_would_do_are_named_and_do(
    tmp_path: Path, name: str, dialect: Dialect, options: dict[str, str]
) -> None:
    """Told of the defaults alone, a file is read, or refused with the options; and their letter does it."""
    FRAME.to_csv(tmp_path / name, index=False, **options)
    try:
        source = open_source(tmp_path / name, COLUMNS)
        found, advice = only_block(source).validate(COLUMNS)[2], source.advice
    except UnreadableFile as err:
        found, advice = {0: Fault("unreadable")}, str(err)
    if not found:
        assert {"decimal", "encoding", "sep"}.isdisjoint(options.keys() - {"encoding"}) or name.startswith("a.tsv")
        return
    words = advice.rstrip(".").partition("it looks as if ")[2].partition(" would do")[0].split()
    told = dict(zip(words[::2], (word.strip("'").replace("tab", "\t") for word in words[1::2]), strict=True))
    named = Dialect(told.get("--delimiter"), told.get("--decimal", "."), told.get("--encoding", "utf-8"))  # type: ignore[arg-type]
    block = only_block(open_source(tmp_path / name, COLUMNS, named))
    assert (block.ids, block.values.tolist(), block.faults) == (["p1", "p2"], VALUES, {})


@pytest.mark.parametrize(
    ("text", "dialect", "message"),
    [
        ("id;price;stock\na;1,5;2\n", Dialect(), r"lacks the column\(s\) id, price, stock; it looks as if "
         r"--delimiter ';' --decimal ',' would do\."),
        ("id;price;stock\na;1.5;2\n", Dialect(), r"--delimiter ';' would do"),
        ("id\tprice\tstock\na\t1.5\t2\n", Dialect(), r"--delimiter tab would do"),
        ("id,price,stock\na,1.5,2\n", Dialect(";"), r"--delimiter ',' would do"),
        ("größe,id,price,stock\n1,a,1,2\n".encode("cp1252"), Dialect(), r"not written in utf-8 \(--encoding\); "
         r"it looks as if --encoding cp1252 would do, or the encoding it was saved in\."),
        ("id,price,stock\na,1,2\n".encode("utf-16"), Dialect(), "as if --encoding utf-16 would do"),
        ("id,price,stock\na,1,2\n".encode("utf-16-le"), Dialect(), "as if --encoding utf-16-le would do"),
        ("id,price,stock\na,1,2\n".encode("utf-16-be"), Dialect(), "as if --encoding utf-16-be would do"),
        ("id,price,stock\na,1,2\n".encode("utf-32"), Dialect(), "as if --encoding utf-32 would do"),
        ("id;price;stock\na;1,5;2\n".encode("utf-16"), Dialect(),
         "--encoding utf-16 --delimiter ';' --decimal ',' would do"),
        ("id,price,stock\na,1,2\n", Dialect(encoding="utf-16"), "as if --encoding utf-8 would do"),
    ],
)  # fmt: skip
def test_csv_that_cannot_be_read_so_says_what_would_do(
    tmp_path: Path, text: str | bytes, dialect: Dialect, message: str
) -> None:
    (tmp_path / "a.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UnreadableFile, match=message):
        open_source(tmp_path / "a.csv", COLUMNS, dialect)


@pytest.mark.parametrize(
    ("text", "dialect", "faults", "advice"),
    [
        ('id,price,stock\na,"1,5",2\nb,2,3\n', Dialect(), {0: "price"}, "it looks as if --decimal ',' would do"),
        ("id;price;stock\na;1.5;2\nb;2;3\n", Dialect(";", ","), {0: "price"}, "it looks as if --decimal . would do"),
        # A thousand and a half, which nothing reads.
        ("id;price;stock\na;1.000,5;2\nb;2;3\n", Dialect(";", ","), {0: "price"}, ""),
        ("id;price;stock\na;1.000;2\nb;2,5;3\n", Dialect(";", ","), {0: "price"}, ""),
        ("id;price;stock\na;x;2\nb;2,5;3\n", Dialect(";", ","), {0: "price"}, ""),
    ],
)
def test_numbers_of_the_other_decimal_mark_are_none_and_the_option_is_named(
    tmp_path: Path, text: str, dialect: Dialect, faults: dict[int, str], advice: str
) -> None:
    (tmp_path / "a.csv").write_text(text)
    source = open_source(tmp_path / "a.csv", COLUMNS, dialect)
    assert source.advice == advice
    assert only_block(source).faults == {i: Fault("a value is no number", column) for i, column in faults.items()}


def test_whole_numbers_that_float32_changes_are_told_with_decimal_commas_too(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id;price;stock\na;16777217;1\nb;16777217,0;1\nc;1,5;1\n")
    block = only_block(open_source(tmp_path / "a.csv", COLUMNS, Dialect(";", ",")))
    assert list(block.validate(COLUMNS)[2]) == [0, 1]


@pytest.mark.parametrize("length", [1, 2, 3])
def test_commas_of_a_short_sequence_stand_between_its_elements_with_decimal_commas_too(
    tmp_path: Path, length: int
) -> None:
    product = {"features": [{"name": "seen", "length": length}, {"name": "half", "type": "float16"}]}
    schema = FeatureSchema.from_mapping({"user": {"features": ["age"]}, "product": product})
    columns = Columns.of(schema.product, "id", allow_rounding=False)
    (tmp_path / "a.csv").write_text("id;seen;half\na;[3,7];1,5\n")
    block = only_block(open_source(tmp_path / "a.csv", columns, Dialect(";", ",")))
    assert block.values.tolist() == [[min(length, 2), *[3.0, 7.0, 0.0][:length], 1.5]]
    assert not block.faults


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "utf-16-le", "utf-8-sig"])
def test_json_lines_are_read_in_the_encoding_told_and_else_it_is_named(tmp_path: Path, encoding: str) -> None:
    rows = [{"größe": "ö", "id": "pö", "price": 1.5, "stock": 2}, {"id": "q", "price": 1, "stock": 16777217}]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_text(tmp_path / "a.jsonl.gz", text.encode(encoding))
    source = open_source(tmp_path / "a.jsonl.gz", COLUMNS, Dialect(encoding=encoding))
    block = only_block(source)
    assert (source.ignored, block.ids, block.values[0].tolist()) == (("größe",), ["pö", "q"], [1.5, 2])
    assert [*block.validate(COLUMNS)[2]] == [1]
    if encoding != "utf-8-sig":
        with pytest.raises(UnreadableFile, match=f"--encoding {encoding} would do"):
            open_source(tmp_path / "a.jsonl.gz", COLUMNS)


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_text_beyond_the_first_lines_that_is_not_of_the_encoding_told_is_refused(tmp_path: Path, name: str) -> None:
    row = "p{},1,2\n" if name == "a.csv" else '{{"id": "p{}", "price": 1, "stock": 2}}\n'
    text = "id,price,stock\n" * (name == "a.csv") + "".join(map(row.format, range(20_000)))
    (tmp_path / name).write_bytes(text.encode("utf-16-le") + b"\x00\xd8\n\x00")
    with pytest.raises(UnreadableFile, match=r"not written in utf-16-le \(--encoding\)"):
        list(open_source(tmp_path / name, COLUMNS, Dialect(encoding="utf-16-le")).blocks())


ROWS = 60_000


@pytest.mark.parametrize("writer", ["polars", "pandas", "duckdb"])
def test_line_breaks_in_quotes_are_read_in_files_of_any_size(tmp_path: Path, writer: str) -> None:
    path = tmp_path / "a.csv"
    ids, stock = [f"p{i}" for i in range(ROWS)], np.arange(ROWS)
    text = [f'line "one"\r\n\nline {i}, two' for i in range(ROWS)]
    frame = pd.DataFrame({"text": text, "id": ids, "price": 0.5, "stock": stock})
    if writer == "pandas":
        frame.to_csv(path, index=False)
    elif writer == "polars":
        pl.DataFrame(frame).write_csv(path)
    else:
        duckdb.sql("SELECT * FROM frame").write_csv(str(path))
    assert path.stat().st_size > 2 << 20
    blocks = list(open_source(path, COLUMNS).blocks())
    assert [i for block in blocks for i in block.ids] == ids
    assert np.concatenate([block.values[:, 1] for block in blocks]).tolist() == stock.tolist()
    assert not any(block.faults for block in blocks)


def test_rows_of_other_widths_keep_their_numbers_beside_line_breaks_in_quotes(tmp_path: Path) -> None:
    bad = {1, 7, 50_000, ROWS}
    rows = [f'p{i};0.5;{i};"a\n;b"' if i not in bad else f'p{i};"a\n;b"' for i in range(1, ROWS + 1)]
    (tmp_path / "a.csv").write_text("id;price;stock;text\n" + "\n".join(rows) + "\n")
    blocks = list(open_source(tmp_path / "a.csv", COLUMNS, Dialect(";")).blocks())
    faults = {int(block.numbers[i]): block.ids[i] for block in blocks for i in block.faults}
    assert faults == {number: f"p{number}" for number in bad}


@pytest.mark.parametrize("rows", [0, 5, 500_000])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("ending", ["", "\n"])
def test_quotation_mark_that_is_never_closed_is_named(tmp_path: Path, rows: int, encoding: str, ending: str) -> None:
    """In a column that nobody asked for, it would take rows with it, and nothing else would show it."""
    text = 'id,price,stock,title\np,1,2,"an inch\n' + "q,1,2,x\n" * rows
    (tmp_path / "a.csv").write_text(text.rstrip("\n") + ending, encoding)
    with pytest.raises(UnreadableFile, match="longer than 1 MiB, or a quotation mark in it is never closed"):
        list(open_source(tmp_path / "a.csv", COLUMNS, Dialect(encoding=encoding)).blocks())
