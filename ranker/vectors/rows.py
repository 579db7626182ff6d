"""Rows and ids: what a store holds once it is decoded, and the array types of the request's way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, NewType

import numpy as np
import numpy.typing as npt

UserId = NewType("UserId", str)
ProductId = NewType("ProductId", str)
MAX_ID_LENGTH = 256
"""Characters of a user, product or request id, in requests and where vectors are stored."""
ANYBODY = UserId("anybody")
"""Whom tools ask for where users have no features of their own."""
Key = str | bytes
Matrix = npt.NDArray[np.float32]
"""A 2-D float32 array."""
Scores = npt.NDArray[np.float32]
"""A 1-D float32 array."""
Counts = npt.NDArray[np.int64]
"""A 1-D array of numbers of rows."""
Statuses = npt.NDArray[np.uint8]
"""A 1-D array of `RowStatus`."""


class RowStatus(IntEnum):
    """State of one stored vector, once it was read."""

    FOUND = 0
    MISSING = 1
    WRONG_SCHEMA = 2
    CORRUPT = 3
    UNREAD = 4
    """The part of the store that has it does not answer."""


class Unread:
    """Placeholder of a value that cannot be had now; of length 0, so that decoders, which test lengths, look twice."""

    __slots__ = ("reason",)

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def __len__(self) -> int:
        return 0


@dataclass(slots=True)  # frozen, every field would cost twice as much to set, several times a request
class Rows:
    """Decoded vectors of n entities of one kind.

    Attributes:
        values: Shape (n, W), float32. A row whose status is not FOUND holds no meaning.
        statuses: Shape (n,), uint8, each a `RowStatus`.
        complete: True when every status is FOUND.
    """

    values: Matrix
    statuses: Statuses
    complete: bool

    def __len__(self) -> int:
        return len(self.statuses)

    def taken(self, positions: Sequence[int] | npt.NDArray[np.intp]) -> Rows:
        """Return a copy of the rows at these positions."""
        statuses = self.statuses[positions]
        return Rows(self.values[positions], statuses, np.count_nonzero(statuses) == 0)

    def part(self, start: int, stop: int) -> Rows:
        """Return the rows from `start` until before `stop`, as views."""
        statuses = self.statuses[start:stop]
        return Rows(self.values[start:stop], statuses, self.complete or np.count_nonzero(statuses) == 0)

    @classmethod
    def known(cls, values: Matrix) -> Rows:
        """Return rows, shape (n, W), that need not be looked for."""
        return cls(values, np.zeros(len(values), np.uint8), complete=True)

    @classmethod
    def missing(cls, n: int, width: int) -> Rows:
        """Return n rows that were not found."""
        return cls(np.empty((n, width), np.float32), np.full(n, RowStatus.MISSING, np.uint8), complete=n == 0)

    @classmethod
    def unread(cls, n: int, width: int) -> Rows:
        """Return n rows that cannot be had."""
        return cls(np.empty((n, width), np.float32), np.full(n, RowStatus.UNREAD, np.uint8), complete=n == 0)


@dataclass(slots=True)
class Features:
    """Features of one request, as a store has them.

    Attributes:
        user: One row, width Wu; the schema's default, and found, where the request is no user's.
        products: n rows in request order, width Wp.
        held: How many of these rows were in memory, and fresh.
        reading: How the others were read; None where none was.
        unread: Why rows are missing, or are what was last known of them, while others could be read; None when all
            could.
        groups: The rows of groups under keys of their own, by name: one, or one for each product; and one of each
            history's side information; None where the schema has none of them.
    """

    user: Rows
    products: Rows
    held: int = 0
    reading: Reading | None = None
    unread: str | None = None
    groups: Mapping[str, Rows] | None = None


class Ask(NamedTuple):
    """What a request says that keys are made of.

    Attributes:
        user_id: The user; None where it names none.
        product_ids: The products, in order.
        texts: Values of its context that are parts of keys, by name; None where no key has any.
        context: What it brings, shape (n, F - stored width), the context's columns first; None for defaults.
    """

    user_id: UserId | None
    product_ids: Sequence[ProductId]
    texts: Mapping[str, str | None] | None = None
    context: Matrix | None = None


@dataclass(slots=True)
class SplitRows:
    """Rows of a round, for a split model: what belongs to a request once, however many products it has.

    Attributes:
        requests: Shape (R, Wr), float32: the user's columns, then the context's.
        prepared: Shape (N, Wk), float32: the products' prepared columns; the rows may be strided. Nothing may do
            arithmetic on them, for they may hold bits.
        pair: Shape (N, Wc), float32: what the requests bring for each product; None where they bring nothing.
        counts: Shape (R,), int64: how many of the rows, in order, are each request's; N in all.
    """

    requests: Matrix
    prepared: Matrix
    pair: Matrix | None
    counts: Counts

    def __len__(self) -> int:
        return len(self.prepared)


class Reading(NamedTuple):
    """Measurements of one read of rows from where they are stored.

    Attributes:
        decode_s: Seconds it took to make rows of what was read.
        requests: Reads that were merged into one round trip, the largest one where there were several.
        keys: Keys of that round trip.
    """

    decode_s: float
    requests: int
    keys: int
