"""Unix socket path: a short one, in a private directory. Knows nothing of the server."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from pathlib import Path

from ranker.errors import EmbeddedRedisFailed
from ranker.process.run_folder import MAX_SOCKET_PATH_BYTES


def socket_path(directory: Path) -> Path:
    """Return where the socket is: in the directory, or in a private one below /tmp when that path would be too long."""
    path = directory / "redis.sock"
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES:
        return path
    digest = hashlib.blake2s(os.fsencode(directory.resolve()), digest_size=8).hexdigest()
    return Path("/tmp") / f"ranker-{os.getuid()}-{digest}" / "redis.sock"


def make_private(directory: Path) -> None:
    """Make a directory only this user can enter; refuse one that somebody else prepared under its name."""
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise EmbeddedRedisFailed(str(directory), "the directory belongs to somebody else; remove it")
