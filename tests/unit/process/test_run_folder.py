"""Run folders whose services live, end, and are killed."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ranker.errors import NoRunFolder
from ranker.process.run_folder import MAX_BASE_BYTES, RunFolder

LIVE = """
import sys
from pathlib import Path
from ranker.process.run_folder import RunFolder
folder = RunFolder.join(Path(sys.argv[2])) if sys.argv[1] == "join" else RunFolder.create([sys.argv[2]])
print(folder.path, flush=True)
if sys.stdin.read():
    folder.leave()
"""


@contextmanager
def process(how: str, path: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process that makes a folder below `path`, or joins it, and leaves it when it reads a word."""
    command = [sys.executable, "-c", LIVE, how, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        yield child, Path(child.stdout.readline().strip())
        child.kill()


def test_folder_is_private_and_gone_once_it_is_left(short_path: Path) -> None:
    folder = RunFolder.create([str(short_path)])
    assert folder.path.parent == short_path
    assert folder.path.stat().st_mode & 0o077 == 0
    (folder.path / "metrics").mkdir()
    (folder.path / "metrics" / "counter_1.db").touch()
    folder.leave()
    assert list(short_path.iterdir()) == []


def test_folder_stays_until_the_last_process_has_left(short_path: Path) -> None:
    with process("create", short_path) as (first, path), process("join", path) as (second, joined):
        assert joined == path
        first.communicate("leave")
        assert path.exists()
        second.communicate("leave")
        assert not path.exists()


def test_start_removes_folders_of_the_killed_and_no_others(short_path: Path) -> None:
    (short_path / "ranker-1000-abc").mkdir()  # the demo's
    with process("create", short_path) as (killed, left), process("create", short_path) as (_, living):
        (left / "metrics").mkdir()
        killed.kill()
        killed.wait()
        ours = RunFolder.create([str(short_path)])
        assert set(short_path.iterdir()) == {living, ours.path, short_path / "ranker-1000-abc"}
        ours.leave()


def test_folder_whose_supervisor_alone_was_killed_is_left_alone(short_path: Path) -> None:
    with process("create", short_path) as (supervisor, path), process("join", path):
        supervisor.kill()
        supervisor.wait()
        RunFolder.create([str(short_path)]).leave()
        assert path.exists()


def test_folder_in_use_cannot_be_locked_as_systemd_tmpfiles_does_before_it_clears_one(short_path: Path) -> None:
    folder = RunFolder.create([str(short_path)])
    opened = os.open(folder.path, os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(opened)
    folder.leave()


def test_link_under_our_name_is_not_followed(short_path: Path) -> None:
    elsewhere = short_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").touch()
    (short_path / "ranker-serve-linked").symlink_to(elsewhere)
    RunFolder.create([str(short_path)]).leave()
    assert (elsewhere / "kept").exists()


def test_folder_that_is_not_ours_is_not_joined(short_path: Path) -> None:
    assert RunFolder.join(short_path) is None
    assert list(short_path.iterdir()) == []
    assert RunFolder.join(short_path / "ranker-serve-gone") is None


def test_long_or_unusable_base_gives_way_to_the_next(short_path: Path) -> None:
    long = short_path / ("x" * MAX_BASE_BYTES)
    long.mkdir()
    folder = RunFolder.create([str(long), str(short_path / "absent"), str(short_path)])
    assert folder.path.parent == short_path
    folder.leave()


def test_no_usable_base_is_said_in_one_sentence(short_path: Path) -> None:
    long = f"/{'x' * MAX_BASE_BYTES}"
    with pytest.raises(NoRunFolder, match=f"{long} or {short_path}/absent.*{MAX_BASE_BYTES} bytes. Set TMPDIR"):
        RunFolder.create([long, f"{short_path}/absent"])


def test_deepest_socket_fits_below_the_longest_base() -> None:
    name = f"ranker-serve-12345678/bentoml-uds-12345678/{id(os)}.shadow.rows"
    assert MAX_BASE_BYTES + len(f"/{name}") <= 103
