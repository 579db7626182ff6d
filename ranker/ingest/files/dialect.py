"""Dialect of text files: delimiter, decimal mark and encoding; and the guess at another, where a file is not so. Pure.

Owns the names of the options and what their defaults are. A guess is only ever said: to read a file otherwise than was
asked for could make other numbers of it.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ranker.ingest.files.rows import Columns

Decimal = Literal[".", ","]

DELIMITERS = ",;\t|"
"""Delimiters to look for where a header has not the columns."""
ROWS = 100
"""Rows to look at for their decimals."""
UTF_8 = ("utf-8", "utf-8-sig")
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte-order mark → encoding; the longer ones first, for UTF-32's begins with UTF-16's."""
_WITH_MARK = {
    ".": re.compile(r"\s*[+-]?\d+\.\d+\s*([eE][+-]?\d+)?\s*"),
    ",": re.compile(r"\s*[+-]?\d+,\d+\s*([eE][+-]?\d+)?\s*"),
}


@dataclass(frozen=True, slots=True)
class Dialect:
    """Dialect of a text file: how it is written.

    Attributes:
        delimiter: Of CSV, one character between two fields; None for a comma, and for a tab in files called .tsv.
        decimal: Of CSV, what stands before a number's fraction.
        encoding: Of CSV and JSON Lines, by the name of Python's codec.
    """

    delimiter: str | None = None
    decimal: Decimal = "."
    encoding: str = "utf-8"

    @property
    def is_utf_8(self) -> bool:
        return codecs.lookup(self.encoding).name in UTF_8

    @property
    def options(self) -> dict[str, str | None]:
        """What differs from the default, by the option that says so; None for what does not."""
        return {
            "--delimiter": self.delimiter,
            "--decimal": None if self.decimal == "." else self.decimal,
            "--encoding": None if self.is_utf_8 else codecs.lookup(self.encoding).name,
        }


def advise(sample: bytes, wanted: Columns | None, dialect: Dialect) -> str:
    """Say which options would do where a file is not as its options say; empty where nothing speaks against that.

    Args:
        sample: The beginning of the file, its first lines at least.
        wanted: What is looked for in a CSV file's header; None for JSON Lines.
        dialect: The given options. Its delimiter is known, where columns are wanted.
    """
    likely = replace(dialect, encoding=_guess_encoding(sample, dialect.encoding))
    if wanted is not None:
        likely = _guess_csv(sample.decode(likely.encoding, "replace").lstrip("\ufeff"), wanted, likely)
    options = [
        f"{option} {_quote(value)}"
        for option, value, given in (
            ("--encoding", likely.encoding, dialect.encoding),
            ("--delimiter", likely.delimiter, dialect.delimiter),
            ("--decimal", likely.decimal, dialect.decimal),
        )
        if value != given
    ]
    if not options:
        return ""
    others = ", or the encoding it was saved in" if likely.encoding == "cp1252" != dialect.encoding else ""
    return f"it looks as if {' '.join(options)} would do{others}"


def _quote(value: str | None) -> str:
    return "tab" if value == "\t" else f"'{value}'" if value in (";", "|", ",") else str(value)


def _guess_encoding(sample: bytes, given: str) -> str:
    """Return an encoding in which a sample, cut anywhere, makes sense: the given one, if it does in that."""
    marked = next((name for mark, name in BYTE_ORDER_MARKS.items() if sample.startswith(mark)), None)
    if marked is not None:
        return given if codecs.lookup(given).name.startswith(marked) else marked
    if codecs.lookup(given).name.startswith(("utf-16", "utf-32")):  # takes nearly everything, and makes nonsense of it
        halves = sample[::2].count(0), sample[1::2].count(0)
        return given if max(halves) > len(sample) // 8 else "utf-8" if decodes(sample, "utf-8") else "cp1252"
    if sample[:2].count(0) == 1:
        return "utf-16-be" if sample[0] == 0 else "utf-16-le"
    # Text with accents in another encoding is no UTF-8, but by a rare accident.
    likely = (given, "utf-8") if sample.isascii() else ("utf-8", given)
    is_utf_8 = Dialect(encoding=given).is_utf_8
    return given if is_utf_8 and decodes(sample, given) else next((n for n in likely if decodes(sample, n)), "cp1252")


def decodes(sample: bytes, encoding: str) -> bool:
    """Return whether text, cut anywhere, is of an encoding."""
    try:
        codecs.getincrementaldecoder(encoding)().decode(sample)
    except UnicodeError:
        return False
    return True


def _guess_csv(text: str, wanted: Columns, dialect: Dialect) -> Dialect:
    lines = text.splitlines()
    delimiter = dialect.delimiter or ","
    names = {wanted.id, *wanted.features}
    found = {mark: len(names.intersection(split_rows(lines[:1], mark)[0])) for mark in (delimiter, *DELIMITERS)}
    best = max(found, key=lambda mark: found[mark])  # the first of equals, which is the given one
    rows = split_rows(lines[: ROWS + 1], best)
    at = [rows[0].index(name) for name in wanted.features if name in rows[0]]
    values = [row[i] for row in rows[1:] for i in at if i < len(row)]
    given = dialect.decimal
    other: Decimal = "," if given == "." else "."
    has = {mark: any(pattern.fullmatch(value) for value in values) for mark, pattern in _WITH_MARK.items()}
    return replace(dialect, delimiter=best, decimal=other if has[other] and not has[given] else given)


def split_rows(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    """Return the fields of each row; one row without any where that cannot be told."""
    try:
        return list(csv.reader(lines, delimiter=delimiter)) or [[]]
    except csv.Error:  # a field as long as a file
        return [[]]
