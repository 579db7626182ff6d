"""NPZ archives, read in blocks: the ids under the id column's name, and the features as numpy wrote them.

Either one array for each feature, by its name, (n,) or with the shape of a vector behind; or one array `features`
(n, K) with its columns' names in `names` (K,). numpy itself would read each array whole; here the archive's members are
read side by side, row by row.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from ranker.errors import UnreadableFile
from ranker.ingest.files.rows import Block, Columns
from ranker.ingest.files.source import Source, reading
from ranker.ingest.typed_columns import convert
from ranker.vectors.feature import Feature
from ranker.vectors.rounding import find_changed

MATRIX = "features"
NAMES = "names"
NUMBERS = "fiub"
IDS = "USiu"


class Member:
    """One array of an archive, read from its first row on.

    Attributes:
        shape: Its shape.
        dtype: Its type.
    """

    def __init__(self, archive: zipfile.ZipFile, name: str, path: Path) -> None:
        self._file: IO[bytes] = archive.open(f"{name}.npy")
        version = np.lib.format.read_magic(self._file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        self.shape, fortran, self.dtype = read(self._file)
        if self.dtype.hasobject or (fortran and len(self.shape) > 1):
            self.close()
            raise UnreadableFile(path, f"the array {name} holds Python objects, or is in Fortran order")

    def close(self) -> None:
        """Let go of the archive."""
        self._file.close()

    def read(self, n: int) -> npt.NDArray[Any]:
        """Return the next n rows."""
        shape = (n, *self.shape[1:])
        data = self._file.read(int(np.prod(shape)) * self.dtype.itemsize)
        return np.frombuffer(data, self.dtype).reshape(shape)


def open_npz(path: Path, columns: Columns) -> Source:
    """Open an NPZ archive.

    Raises:
        UnreadableFile: it is damaged, its arrays differ in length, or hold something else than numbers and ids.
        MissingColumns: an array is absent.
    """
    with reading(path), _sound(path), zipfile.ZipFile(path) as archive, ExitStack() as opened:
        present = [name.removesuffix(".npy") for name in archive.namelist()]
        together = columns.entity is None and {MATRIX, NAMES} <= set(present)
        names = _matrix_names(archive, path) if together else None
        if names is not None:
            present = [name for name in present if name not in (MATRIX, NAMES)] + names
        ignored = columns.match(path, present)
        wanted = (columns.id, *((MATRIX,) if names is not None else columns.features))
        # Closed whatever is found: a refusal would keep the archive open for as long as its traceback lives.
        ids, *arrays = (opened.enter_context(closing(Member(archive, name, path))) for name in wanted)
        if ids.dtype.kind not in IDS or len(ids.shape) != 1:
            raise UnreadableFile(path, f"the array {columns.id} holds {ids.dtype} of shape {ids.shape}, not n ids")
        typed = {feature.name: feature for feature, _ in columns.typed}
        shape: tuple[int, ...]
        for name, array in zip((MATRIX,) if names is not None else columns.features, arrays, strict=True):
            if names is not None or name not in typed:
                shape, kinds, what = (() if names is None else (len(names),)), NUMBERS, "numbers"
            else:
                shape, kinds, what = _expected(path, typed[name])
            if array.shape != (*ids.shape, *shape) or array.dtype.kind not in kinds:
                raise UnreadableFile(
                    path,
                    f"the array {name} holds {array.dtype} of shape {array.shape}, not {what} of shape "
                    f"{(*ids.shape, *shape)}",
                )
    return Source(path, ignored, ids.shape[0], lambda: _blocks(path, columns, names, ids.shape[0]))


def _expected(path: Path, feature: Feature) -> tuple[tuple[int, ...], str, str]:
    """Return the shape of one row of a typed feature's array, the kinds of its type, and what it holds."""
    if feature.is_sequence:
        raise UnreadableFile(path, f"{feature.name} is a sequence, whose lengths an array does not say; write Parquet")
    if feature.type in ("category", "text"):
        return feature.shape, "Uiu", "texts"
    return feature.shape, NUMBERS, "numbers"


def _matrix_names(archive: zipfile.ZipFile, path: Path) -> list[str]:
    member = Member(archive, NAMES, path)
    if member.dtype.kind != "U" or len(member.shape) != 1:
        raise UnreadableFile(path, f"the array {NAMES} holds {member.dtype} of shape {member.shape}, not K names")
    return [str(name) for name in member.read(member.shape[0])]


def _blocks(path: Path, columns: Columns, names: Sequence[str] | None, n: int) -> Iterator[Block]:
    with reading(path), _sound(path), zipfile.ZipFile(path) as archive:
        ids = Member(archive, columns.id, path)
        if names is not None:
            matrix = Member(archive, MATRIX, path)
            wanted = [names.index(name) for name in columns.features]
        else:
            arrays = [Member(archive, name, path) for name in columns.features]
        for start in range(0, n, columns.block_rows):
            rows = min(columns.block_rows, n - start)
            read = [array.read(rows) for array in arrays] if names is None else list(matrix.read(rows)[:, wanted].T)
            of = dict(zip(columns.features, read, strict=True))
            values, rounded = np.empty((rows, columns.width)), np.zeros((rows, columns.width), dtype=np.bool_)
            for name, j in columns.plain:
                values[:, j] = numbers = of[name]
                if (found := find_changed(numbers)) is not None:
                    rounded[:, j] = found
            numbers = np.arange(start + 1, start + rows + 1)
            block = Block(numbers, _texts(ids.read(rows)), values, rounded=rounded if rounded.any() else None)
            for feature, at in columns.typed:
                block.convert(feature, at, convert(feature, of[feature.name]))
            yield block


def _texts(ids: npt.NDArray[Any]) -> list[str]:
    if ids.dtype.kind == "S":
        return [text.decode("utf-8", "surrogateescape") for text in ids.tolist()]
    return [str(value) for value in ids.tolist()]


@contextmanager
def _sound(path: Path) -> Iterator[None]:
    """Turn what zipfile and numpy say of a damaged archive into an UnreadableFile."""
    try:
        yield
    except (zipfile.BadZipFile, ValueError) as err:
        raise UnreadableFile(path, " ".join(str(err).split())[:300].rstrip(".")) from err
