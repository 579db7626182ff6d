"""Answer: a ranking and how it came about."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ranker.ranking.timings import Moments, Timings
from ranker.scheduling.batching import Call
from ranker.vectors.rows import Features, Matrix, ProductId, Scores


class Failure(NamedTuple):
    """Reason why a part of an answer is a substitute; no exception, for that would keep its frames.

    Attributes:
        kind: A stable word, the error's that would have been raised.
        sentence: What was raised.
    """

    kind: str
    sentence: str


class Answer(NamedTuple):
    """A ranking and how it came about.

    Attributes:
        ranking: Product ids, best first.
        scores: Shape (len(ranking),), float32, as shown: NaN where there is none, the largest float32 for infinity.
        missing: Products without usable features, in request order.
        degraded_reason: A stable word, or None for a full answer.
        features: What was scored, for counting.
        row_scores: Shape (n,), float32: the score of every product as the model gave it, in request order; NaN where
            there is none.
        moments: When each step was done.
        rows: What the model was given, shape (n, F), float32, and nobody writes to any more; for a split model, which
            was given something else, what makes it.
        call: The call of the model that scored it, the last one where it took several; None where that is not known.
        failures: What went wrong on the way.
        finite: Whether all scores that the model gave are numbers.
        model: The tag of the model that ranked.
    """

    ranking: list[ProductId]
    scores: Scores
    missing: list[ProductId]
    degraded_reason: str | None
    features: Features
    row_scores: Scores
    moments: Moments
    rows: Matrix | Callable[[], Matrix]
    call: Call | None = None
    failures: tuple[Failure, ...] = ()
    finite: bool = True
    model: str = ""

    @property
    def matrix(self) -> Matrix:
        """What was scored, shape (n, F), float32."""
        return self.rows() if callable(self.rows) else self.rows

    @property
    def missing_user(self) -> bool:
        """Whether the user has no usable features."""
        return not self.features.user.complete

    def timings(self, rendered: float | None = None) -> Timings:
        """Return how long each step took, with the bytes made at `rendered`, by `time.monotonic`, if they are."""
        reading = self.features.reading
        return self.moments.timings(
            0.0 if reading is None else reading.decode_s, self.moments.ranked if rendered is None else rendered
        )
