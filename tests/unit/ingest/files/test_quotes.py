"""Quotation marks that swallow rows of a CSV file are found, and no others, wherever a file is cut in reading."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranker.errors import UnreadableFile
from ranker.ingest.files.dialect import Dialect
from ranker.ingest.files.opening import open_source
from ranker.ingest.files.quotes import LONGEST, QuoteCheck
from ranker.ingest.files.rows import Columns

COLUMNS = Columns("id", ("price",))


def found(data: bytes, size: int, delimiter: bytes = b",") -> int | None:
    check = QuoteCheck(delimiter)
    lines = (check.find(data[start : start + size]) for start in range(0, len(data), size))
    return next((line for line in lines if line is not None), None)


def swallowing(data: bytes) -> int | None:
    """Say the same slowly: walk over the fields one byte at a time."""
    line, at, begins = 1, 0, True
    while at < len(data):
        if begins and data[at : at + 1] == b'"':
            end = at + 1
            while (end := data.find(b'"', end)) >= 0 and data[end + 1 : end + 2] == b'"':
                end += 2
            if end < 0 or end + 1 == len(data):
                return None
            inside = data[at + 1 : end]
            if {*inside} & {*b"\r\n"} and data[end + 1] not in b",\r\n":
                return line
            line, at, begins = line + inside.count(b"\n"), end + 1, False
        else:
            line, begins = line + (data[at] == 10), data[at] in b",\r\n"
            at += 1
    return None


@given(
    st.lists(st.sampled_from([b"a", b",", b'"', b'""', b"\n", b"\r", b',"', b'",', b'"\n']), max_size=30),
    st.integers(1, 40),
)
def test_check_says_what_a_walk_over_the_fields_says_however_a_file_is_cut(parts: list[bytes], size: int) -> None:
    data = b"".join(parts) + b"\n"
    assert found(data, size) == swallowing(data)


@given(st.lists(st.lists(st.text("a,;\"\n\r '"), min_size=1, max_size=3), max_size=5), st.sampled_from([",", ";"]))
def test_what_a_writer_writes_swallows_nothing(rows: list[list[str]], delimiter: str) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter).writerows(rows)
    assert found(text.getvalue().encode(), 3, delimiter.encode()) is None


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_file_whose_rows_would_be_swallowed_is_refused_with_the_line(
    tmp_path: Path, ending: str, encoding: str
) -> None:
    path = tmp_path / "a.csv"
    rows = ["id,price,name", *(f"p{i},{i},x" for i in range(70_000)), 'a,1,"foo', 'b,2,"bar', "c,3,z"]
    path.write_bytes((ending.join(rows) + ending).encode(encoding))
    with pytest.raises(UnreadableFile, match=r"on line 70002, a quotation mark opens a field .* write them twice"):
        [*open_source(path, COLUMNS, Dialect(encoding=encoding)).blocks()]
    path.write_bytes((ending.join(rows).replace('"foo', '"""foo"').replace('"bar', '"""bar"')).encode(encoding))
    ids = [i for block in open_source(path, COLUMNS, Dialect(encoding=encoding)).blocks() for i in block.ids]
    assert ids[-3:] == ["a", "b", "c"]


def test_marks_within_a_line_are_read_as_before(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('id,price,name\na,1,5" pipe\nb,2,"Foo" bar\nc,3,"line\nbreak"\n')
    (block,) = open_source(path, COLUMNS).blocks()
    assert (block.ids, block.faults) == (["a", "b", "c"], {})


def test_field_without_an_end_is_not_kept_for_ever() -> None:
    check = QuoteCheck(b",")
    assert {check.find(piece) for piece in [b'a,"', *[b"x" * (1 << 20)] * 4]} == {None}
    assert check._rest is None
    assert LONGEST < 4 << 20
