"""Source: a file of features as batches of rows, whatever its format."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import IO

from ranker.errors import UnreadableFile
from ranker.ingest.files.rows import Block

SAMPLE_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Source:
    """One file, opened as far as its columns are known.

    Attributes:
        path: Where it is.
        ignored: Columns that are not used.
        rows: How many rows it has; None when only reading tells.
        blocks: Reads it from the beginning.
        advice: Which options may do, where it looks otherwise than it was said to be; empty where it does not.
    """

    path: Path
    ignored: tuple[str, ...]
    rows: int | None
    blocks: Callable[[], Iterator[Block]]
    advice: str = ""

    def signature(self) -> str:
        """Return what tells this file from another: its size, and a digest of its beginning and end."""
        with reading(self.path), self.path.open("rb") as file:
            size = self.path.stat().st_size
            digest = blake2b(file.read(SAMPLE_BYTES), digest_size=8)
            file.seek(max(0, size - SAMPLE_BYTES))
            digest.update(file.read())
        return f"{size}-{digest.hexdigest()}"


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file, decompressed where its name ends in .gz."""
    # A GzipFile reads as an IO[bytes] does, but is not declared as one.
    return gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb")  # type: ignore[return-value]


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what the operating system says of a file into an UnreadableFile."""
    try:
        yield
    except (OSError, EOFError, zlib.error) as err:
        raise UnreadableFile(path, str(getattr(err, "strerror", None) or err)) from err
