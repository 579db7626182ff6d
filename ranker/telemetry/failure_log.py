"""Failure log: what answers had to do without, and scores that are no numbers; one line of a kind a minute.

Owns when and in which words; what is counted is the metrics'.
"""

from __future__ import annotations

import logging

import numpy as np

from ranker.process.log_limit import Seldom
from ranker.ranking.answer import Answer
from ranker.telemetry.logs import make_extra

logger = logging.getLogger("ranker.failures")

REPORT_INTERVAL_S = 60.0


class FailureLog:
    """Logs why answers are not what they should be."""

    def __init__(self) -> None:
        self._seldom = Seldom(REPORT_INTERVAL_S)

    def note(self, answer: Answer, model: str, request_id: str, trace_id: str | None) -> None:
        """Log what went wrong with one answer, unless the like was logged within the interval."""
        about = make_extra(request_id, trace_id, model=model, degraded_reason=answer.degraded_reason)
        products = len(answer.row_scores)
        for kind, sentence in answer.failures:
            if self._seldom.due(kind):
                logger.warning(
                    "The answer to request %r, for %d products by %s, is degraded: %s More of this kind (%s) in the "
                    "next %g s are only counted.",
                    request_id,
                    products,
                    model,
                    sentence,
                    kind,
                    REPORT_INTERVAL_S,
                    extra=about,
                )
        if answer.finite:
            return
        nan, infinite = (int(np.count_nonzero(test(answer.row_scores))) for test in (np.isnan, np.isinf))
        if self._seldom.due("infinite" if infinite else "nan"):
            logger.warning(
                "%s gave NaN for %d and infinity for %d of the %d products of request %r. NaN ranks last, infinity at "
                "its end of the list. More in the next %g s are only counted.",
                model,
                nan,
                infinite,
                products,
                request_id,
                REPORT_INTERVAL_S,
                extra=about,
            )
