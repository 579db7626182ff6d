"""Notes on files that can be loaded: what in them is taken as it is, and may have been meant otherwise.

Owns the sentences. What cannot be loaded is a fault, and no business of a note.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from unicodedata import is_normalized

import numpy as np

from ranker.ingest.files.rows import Block, Columns, Integers

SHOWN = 3
"""Examples of a note, and features that one names."""
MOST_NAMES = 8
ODD = {
    "begin or end with white space": re.compile(r"\s.*|.*\s", re.DOTALL),
    "hold control characters, or such as are not seen": re.compile(
        r".*[\x00-\x08\x0b-\x1f\x7f\xad\u200b-\u200f\u2060\ufeff].*", re.DOTALL
    ),
    "are in quotation marks": re.compile(r"""(['"`]).*\1""", re.DOTALL),
    "are whole numbers with a fraction, as are made of integers beside gaps": re.compile(r"-?[0-9]+\.0+"),
}
"""Mistake in an id → pattern of the whole of such an id."""
_USUAL = re.compile(r"[0-9A-Za-z_\-:/]+")
NOT_NFC = "are in no normal form of Unicode that keyboards write (NFC)"


class Notes:
    """Collects what is worth a note, block by block.

    Args:
        columns: What is wanted of the files.
    """

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._ids: Counter[str] = Counter()
        self._unknown: Counter[str] = Counter()
        self._examples: dict[str, dict[str, None]] = {}
        self._lacking = {name for name in columns.features if columns.may_lack(name)}
        self._lacking |= {feature.name for feature, _ in columns.typed}

    def add(self, block: Block, good: Integers) -> None:
        """Look at the rows of a block that can be loaded, by their positions."""
        for i in good.tolist():
            if not _USUAL.fullmatch(block.ids[i]):
                self._look_at(block.ids[i])
        for name, texts in block.unknown.items():
            self._unknown[name] += texts.total()
            self._keep(name, texts)
        plain = dict(self._columns.plain)
        for name in [*self._lacking]:
            lacks = np.isnan(block.values[good, plain[name]]).all() if name in plain else name in block.lacking
            if not lacks:
                self._lacking.remove(name)

    def sentences(self) -> Iterator[str]:
        """Yield what was noted."""
        for name, count in self._unknown.items():
            shown = ", ".join(map(repr, self._examples[name]))
            yield f"{count:,} value(s) of {name} are not in its vocabulary, and count as unknown, such as {shown}."
        if self._lacking:
            names = sorted(self._lacking)
            more = f" and {len(names) - MOST_NAMES:,} more" if len(names) > MOST_NAMES else ""
            yield (
                f"No row has a value of {', '.join(names[:MOST_NAMES])}{more}: what the schema says of absent values "
                "stands in."
            )
        for what, count in self._ids.items():
            shown = ", ".join(map(ascii, self._examples[what]))  # else two spellings look alike
            yield f"{count:,} id(s) {what}, such as {shown}: requests must name them exactly so."

    def _look_at(self, identifier: str) -> None:
        odd = [what for what, pattern in ODD.items() if pattern.fullmatch(identifier)]
        if not is_normalized("NFC", identifier):
            odd.append(NOT_NFC)
        for what in odd:
            self._ids[what] += 1
            self._keep(what, [identifier])

    def _keep(self, what: str, examples: Sequence[str] | Counter[str]) -> None:
        kept = self._examples.setdefault(what, {})
        for example in examples:
            if len(kept) == SHOWN:
                return
            kept[example] = None
