"""Scores to come: what a scorer returns that does not score at once, such as a future or a call to the runner.

Owns what it must offer. Knows nothing of who waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, cast

from ranker.vectors.rows import Matrix, Scores, SplitRows


class LaterScores(Protocol):
    """Scores to come: a future, or what tells of them at once, without a turn of the event loop."""

    def add_done_callback(self, callback: Callable[[Any], None], /) -> object:
        """Have someone told when it is over."""

    def result(self) -> Scores:
        """Return the scores (n,), or raise why there are none."""

    def cancel(self) -> object:
        """Give them up."""


ScoreMatrix = Callable[[Matrix], Scores | LaterScores | Awaitable[Scores]]
"""A matrix (n, F) to scores (n,): at once, or later; then the next call waits for it. The matrix lasts until then, so
the scores must not lie in it."""
ScoreRound = Callable[[SplitRows], Scores | LaterScores | Awaitable[Scores]]
"""The same for a split model."""


def later(scores: LaterScores | Awaitable[Scores]) -> LaterScores:
    """Return scores to come as something that tells when they are there."""
    if hasattr(scores, "add_done_callback"):
        return cast("LaterScores", scores)
    return asyncio.ensure_future(scores)
