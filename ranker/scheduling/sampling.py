"""Stable hash sampling: a share of the users, the same ones in every process, on every machine, in every version.

Owns the hash. Knows nothing of models but a tag.
"""

from __future__ import annotations

from hashlib import blake2b

PARTS = 10_000
"""Parts of equal size that users fall into: a hundredth of a percent each."""


class Split:
    """Hash split: gives one tag, such as a canary's, its share of the users.

    A user's part is BLAKE2b (8 bytes, big-endian) of the UTF-8 text `TAG NUL USER`, modulo 10,000; the canary gets the
    parts below a hundred times its percentage. So it keeps its users when the percentage grows, and the tag gives
    another canary other users.

    Args:
        tag: The canary's.
        percent: Its share of the users, 0 to 100.
    """

    def __init__(self, tag: str, percent: float) -> None:
        self._salt = blake2b(f"{tag}\0".encode(), digest_size=8)
        self._parts = round(percent * PARTS / 100)

    def takes(self, user_id: str) -> bool:
        """Say whether a user is the canary's."""
        digest = self._salt.copy()
        digest.update(user_id.encode())
        return int.from_bytes(digest.digest(), "big") % PARTS < self._parts
