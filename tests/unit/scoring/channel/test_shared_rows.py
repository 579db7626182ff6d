"""Memory that a caller names: which names the runner takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ranker.scoring.channel import shared_rows
from ranker.scoring.channel.shared_rows import NAME_BYTES


def padded(name: str) -> bytes:
    return name.encode().ljust(NAME_BYTES, b"\0")


@pytest.mark.parametrize("name", ["rows-a", "rows-X"])
def test_memory_is_taken_under_its_whole_name_and_has_none_from_then_on(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(bytes(4 * 2 * (3 + 1)))
    assert shared_rows.take(tmp_path, padded(name), 3, 2).matrix.shape == (2, 3)
    assert not (tmp_path / name).exists()


def test_file_in_another_folder_is_neither_taken_nor_removed(tmp_path: Path) -> None:
    other = tmp_path / "rows-folder" / "file"
    other.parent.mkdir()
    other.write_bytes(bytes(4 * 2 * (3 + 1)))
    with pytest.raises(ValueError, match="'rows-folder/file' is no name of shared rows"):
        shared_rows.take(tmp_path, padded("rows-folder/file"), 3, 2)
    assert other.exists()


def test_memory_of_an_odd_number_of_values_takes_rows_and_says_of_no_call_that_it_is_alone_unasked(
    tmp_path: Path,
) -> None:
    memory, _ = shared_rows.create(tmp_path, 3, 5)
    rows = np.arange(6, dtype=np.float32).reshape(2, 3)
    for alone, announcement in ((False, memory.write(rows)), (True, memory.write(rows, alone=True))):
        assert shared_rows.is_alone(announcement) == alone
        np.testing.assert_array_equal(memory.read(announcement), rows)
