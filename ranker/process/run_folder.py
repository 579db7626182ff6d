"""Run folder: where one running service keeps its sockets, shared rows and metrics; private, and gone at its end.

Two services on a machine share nothing then, whoever starts, fails or ends first. Every process of a service holds a
shared lock on its folder (flock(2)), which the kernel lets go of however the process ends: who can have the lock alone
knows that nobody lives there. So the last to leave removes the folder, and a start removes those of services that were
killed; and systemd-tmpfiles, which clears /tmp of what is ten days old, passes a locked folder by. Owns the folder;
knows nothing of what is put into it.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

from ranker.errors import NoRunFolder, StartupError

PREFIX = "ranker-serve-"
MAX_SOCKET_PATH_BYTES = 103
"""Bytes of a socket's path: macOS has room for 104 with the closing NUL, Linux for 108."""
MAX_BASE_BYTES = MAX_SOCKET_PATH_BYTES - len(f"/{PREFIX}12345678/bentoml-uds-12345678/{2**48}.canary.rows")
"""The longest name of a folder below which the sockets can be: BentoML's has a folder, and an address as its name."""
SHORT = ("/tmp", "/var/tmp")  # nosec B108  # mkdtemp makes a folder there that only this user can enter

TRIES = 3


class RunFolder:
    """The folder of one running service, held for as long as this process is one of it.

    Args:
        path: Where it is.
        lock: The folder, open and locked.
    """

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def create(cls, bases: Iterable[str] | None = None) -> Self:
        """Make a folder for a service that starts, after removing those of services that are no more.

        Args:
            bases: Where it may be, best first: by default the folder for temporary files, unless its name is too long
                for sockets below it, and then those that every machine has.

        Raises:
            NoRunFolder: it can be in none of them.
        """
        tried = tuple(dict.fromkeys(_bases() if bases is None else bases))
        for base in tried:
            sweep(base)
        for base in tried:
            if len(os.fsencode(base)) <= MAX_BASE_BYTES:
                with suppress(OSError):
                    for _ in range(TRIES):  # another's sweep may come between the two
                        path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
                        if (held := cls.join(path)) is not None:
                            return held
        raise NoRunFolder(tried, MAX_BASE_BYTES)

    @classmethod
    def join(cls, path: Path) -> Self | None:
        """Hold a folder that exists; None where the path is none, or it was just removed."""
        if not path.name.startswith(PREFIX):
            return None
        with suppress(OSError):
            lock = _open(path)
            fcntl.flock(lock, fcntl.LOCK_SH)
            if path.exists():
                return cls(path, lock)
            os.close(lock)
        return None

    def leave(self) -> None:
        """Let go of it; the last one out removes it."""
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(self.path, ignore_errors=True)
        except BlockingIOError:
            pass  # others live there
        finally:
            os.close(self._lock)


class MetricsFolder(os.PathLike[str]):
    """The path of the metrics in the run folder of the service that this process starts; made when it is asked for.

    For whoever imports a service may not serve it; who does asks once, in the supervisor. The folder is then the one
    for temporary files, too, here and in all processes to come.
    """

    def __fspath__(self) -> str:
        try:
            folder = RunFolder.create()
        except StartupError as err:
            raise err.to_exit() from None
        atexit.register(folder.leave)
        tempfile.tempdir = os.environ["TMPDIR"] = str(folder.path)
        return str(folder.path / "metrics")


def sweep(base: str) -> None:
    """Remove the run folders of this user in which no process lives any more."""
    for path in Path(base).glob(f"{PREFIX}*"):
        with suppress(OSError):
            found = path.lstat()
            if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid():
                RunFolder(path, _open(path)).leave()


def _bases() -> Iterator[str]:
    with suppress(FileNotFoundError):  # there is none that can be written
        yield tempfile.gettempdir()
    yield from SHORT


def _open(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
