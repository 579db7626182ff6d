"""Survey of a load's files: the first reading, in which every row is checked before any is written.

Owns what is known of the files afterwards, and the file of rejected rows. Writes nothing to Redis.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import orjson

from ranker.errors import UnusableRejects
from ranker.ingest.files.duplicates import Duplicates
from ranker.ingest.files.notes import Notes
from ranker.ingest.files.rows import DUPLICATE, Block, Columns, Fault, Integers, Reject
from ranker.ingest.files.source import Source
from ranker.ingest.files.statistics import Statistics

EXAMPLES = 5
OnProgress = Callable[[int], None]
"""Told how many rows have been dealt with."""


@dataclass(slots=True)
class Survey:
    """Contents of the files.

    Attributes:
        rows: How many rows.
        counts: How many of them cannot be loaded, by reason.
        examples: The first of those, in words.
        rounded: Whole numbers that float32 changes in rows that can be loaded as such, by column.
        duplicates: Positions, over all files, of rows whose id came before; sorted.
        statistics: Of the features, over the rows that can be loaded as such; duplicates are counted in.
        notes: What is taken as it is, and may have been meant otherwise, in sentences.
    """

    rows: int
    counts: Counter[str]
    examples: list[str]
    rounded: Counter[str]
    duplicates: Integers
    statistics: Statistics
    notes: tuple[str, ...]

    @property
    def rejected(self) -> int:
        return self.counts.total()


class RejectsFile:
    """Counts rejected rows, and writes each as a line of JSON where a file is wanted."""

    def __init__(self, path: Path | None) -> None:
        self.counts: Counter[str] = Counter()
        self.examples: list[str] = []
        self._path = path
        self._file: IO[bytes] | None = None

    def __enter__(self) -> RejectsFile:
        if self._path is not None:
            try:
                self._file = self._path.open("wb")
            except OSError as err:
                raise UnusableRejects(self._path, f"it cannot be written ({err.strerror})") from err
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, reject: Reject) -> None:
        self.counts[reject.fault.reason] += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(str(reject))
        if self._file is not None:
            line = {"file": _text(reject.file), "row": reject.row, "id": _text(reject.id)}
            line |= {"reason": reject.fault.reason}
            line |= {"column": _text(reject.fault.column)} if reject.fault.column else {}
            self._file.write(orjson.dumps(line) + b"\n")


def refuse_input_as_rejects(rejects: Path | None, sources: Sequence[Source]) -> None:
    """Make sure that listing rejected rows overwrites none of the files that they come from, whatever it is called.

    Raises:
        UnusableRejects: it would.
    """
    if rejects is not None and rejects.exists():
        for source in sources:
            if rejects.samefile(source.path):
                raise UnusableRejects(rejects, "it is one of the files to be loaded")


def survey(sources: Sequence[Source], columns: Columns, rejects: Path | None, on_progress: OnProgress) -> Survey:
    """Read all files once.

    Args:
        sources: The files.
        columns: What is wanted of them.
        rejects: Where rows that cannot be loaded are listed; None for nowhere.
        on_progress: Told how many rows have been read.

    Raises:
        UnreadableFile: a file is damaged.
        UnusableRejects: `rejects` cannot be written.
    """
    statistics, notes = Statistics(columns.width), Notes(columns)
    rows = 0
    rounded: Counter[str] = Counter()
    with RejectsFile(rejects) as rejected, Duplicates() as duplicates:
        for position, name, block in numbered(sources):
            good, matrix, faults = block.validate(columns)
            for i, fault in sorted(faults.items()):
                rejected.add(Reject(name, int(block.numbers[i]), block.ids[i], fault))
            duplicates.add([block.ids[i] for i in good], good + position)
            statistics.add(matrix)
            notes.add(block, good)
            if block.rounded is not None:
                counts = block.rounded[good].sum(axis=0).tolist()
                rounded.update({columns.feature_of(j): count for j, count in enumerate(counts) if count})
            rows = position + len(block)
            on_progress(rows)
        repeated = duplicates.find()
        if len(repeated):
            for position, name, block in numbered(sources):
                for i in within(repeated, position, len(block)):
                    rejected.add(Reject(name, int(block.numbers[i]), block.ids[i], Fault(DUPLICATE)))
    return Survey(rows, rejected.counts, rejected.examples, rounded, repeated, statistics, (*notes.sentences(),))


def numbered(sources: Sequence[Source]) -> Iterator[tuple[int, str, Block]]:
    """Yield every block with the position of its first row over all files, and its file's name."""
    position = 0
    for source in sources:
        for block in source.blocks():
            yield position, source.path.name, block
            position += len(block)


def _text(text: str) -> str:
    """Return text that JSON can hold: what is no Unicode in it is spelled out."""
    return text.encode("utf-8", "backslashreplace").decode()


def within(positions: Integers, start: int, n: int) -> Integers:
    """Return which of n rows, from `start` on, are among sorted positions."""
    low, high = np.searchsorted(positions, [start, start + n])
    return positions[low:high] - start
