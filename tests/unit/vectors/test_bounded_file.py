import errno
import os
import socket
from pathlib import Path

import pytest

from ranker.vectors.bounded_file import read_bounded

BOUND = 2 << 20


def test_file_is_read_whole_up_to_the_bound(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for size in (0, 1, BOUND):
        path.write_bytes(b"x" * size)
        assert read_bounded(path, BOUND) == b"x" * size
    path.write_bytes(b"x" * (BOUND + 1))
    with pytest.raises(OSError, match="larger than 2 MiB") as refused:
        read_bounded(path, BOUND)
    assert refused.value.errno == errno.EFBIG


def test_file_that_is_huge_is_refused_without_being_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(OSError, match="larger than 2 MiB"):
        read_bounded(path, BOUND)


def test_what_may_have_no_end_is_refused_at_once(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)  # nobody writes: to open it waits, unless told not to
    for path in (fifo, Path("/dev/zero")):
        with pytest.raises(OSError, match="may have no end; copy it to a file") as refused:
            read_bounded(path, BOUND)
        assert refused.value.errno == errno.EINVAL


def test_directories_and_sockets_and_what_is_not_there_are_refused(short_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="Is a directory"):
        read_bounded(short_path, BOUND)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(short_path / "socket"))
        with pytest.raises(OSError, match="No such device or address"):
            read_bounded(short_path / "socket", BOUND)
    with pytest.raises(FileNotFoundError):
        read_bounded(short_path / "absent", BOUND)
