"""Hash slots of a Redis Cluster: which slot a key is in, and who owns which slots by `CLUSTER SLOTS`. Pure.

The specification is https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/.
"""

from __future__ import annotations

import re
from binascii import crc_hqx
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ranker.redis.url import Host
from ranker.vectors.rows import Key

SLOTS = 16384
HashSlots = npt.NDArray[np.bool_]
"""A set of hash slots, shape (16384,)."""


class View(NamedTuple):
    """Map of the slots as one node sees it.

    Attributes:
        epoch: The higher, the newer.
        owners: The primary that owns each slot, by its place in `primaries`, shape (16384,); -1 for none.
    """

    epoch: int
    primaries: list[Host]
    owners: npt.NDArray[np.int16]


def key_slot(key: Key) -> int:
    """Return a key's slot: CRC16 of the key, or of what stands in its first braces, if that is not empty."""
    data = key.encode() if isinstance(key, str) else key
    if b"{" in data:
        start = data.index(b"{") + 1
        end = data.find(b"}", start)
        if end > start:
            data = data[start:end]
    return crc_hqx(data, 0) % SLOTS


def key_slots(keys: Sequence[Key]) -> list[int]:
    """Return each key's slot, as `key_slot`, at half the cost where keys are texts without braces."""
    return [
        crc_hqx(key.encode(), 0) % SLOTS if isinstance(key, str) and "{" not in key else key_slot(key) for key in keys
    ]


def read_view(info: bytes, ranges: Any, asked: Host) -> View:
    """Read the replies to `CLUSTER INFO` and `CLUSTER SLOTS`.

    Args:
        info: The first.
        ranges: The second: first slot, last slot, and the owner's address and what else is known of it, for each.
        asked: Who was asked, for a node that knows no name for itself.

    Raises:
        ValueError: They are something else.
    """
    epoch = re.search(rb"cluster_current_epoch:(\d+)", info)
    if epoch is None:
        raise ValueError("CLUSTER INFO tells no epoch")
    primaries: dict[Host, int] = {}
    owners = np.full(SLOTS, -1, dtype=np.int16)
    try:
        for first, last, (name, port, *_), *_ in ranges:
            host = (name.decode() if name not in (None, b"", b"?") else asked[0], int(port))
            owners[first : last + 1] = primaries.setdefault(host, len(primaries))
    except (TypeError, AttributeError) as err:
        raise ValueError("CLUSTER SLOTS lists no slots") from err
    return View(int(epoch[1]), list(primaries), owners)
