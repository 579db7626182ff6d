"""Timings of one request: where its time went. Value objects: nothing here looks at a clock."""

from __future__ import annotations

from typing import NamedTuple

TOTAL = b"total;dur=%.3f"
HEADER = b"fetch;dur=%.3f, assemble;dur=%.3f, score;dur=%.3f, total;dur=%.3f, queue;dur=%.3f, rank;dur=%.3f"


class Timings(NamedTuple):
    """Seconds each step of one request took, waiting included.

    Attributes:
        queue: The wait for its turn, and parsing.
        fetch: Until all rows were there.
        decode: What of that went into making rows of stored bytes; 0 where all were held.
        assemble: The matrix.
        score: Until the scores were there.
        rank: Order, and ids.
        serialise: The answer's bytes; 0 where there are none.
        total: From its arrival until its answer was made.
    """

    queue: float
    fetch: float
    decode: float
    assemble: float
    score: float
    rank: float
    serialise: float
    total: float

    def to_header(self) -> bytes:
        """Render as a `Server-Timing` value, in milliseconds (https://www.w3.org/TR/server-timing/)."""
        queue, fetch, _, assemble, score, rank, _, total = self
        return HEADER % (fetch * 1e3, assemble * 1e3, score * 1e3, total * 1e3, queue * 1e3, rank * 1e3)


def total_header(total_s: float) -> bytes:
    """Render the `Server-Timing` of a request without stages, for it was refused, or its ranking failed."""
    return TOTAL % (total_s * 1e3)


class Moments(NamedTuple):
    """Moments of one request: when it arrived, began, and had each step behind it, by `time.monotonic`."""

    arrived: float
    began: float
    fetched: float
    assembled: float
    scored: float
    ranked: float

    def timings(self, decode_s: float, rendered: float) -> Timings:
        """Return how long each step took.

        Args:
            decode_s: What of the fetch was decoding, in seconds.
            rendered: When the answer's bytes were made.
        """
        arrived, began, fetched, assembled, scored, ranked = self
        return Timings(
            began - arrived,
            fetched - began,
            decode_s,
            assembled - fetched,
            scored - assembled,
            ranked - scored,
            rendered - ranked,
            rendered - arrived,
        )
