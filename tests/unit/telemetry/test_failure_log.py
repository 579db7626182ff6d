"""What the log says of answers that are not what they should be."""

from __future__ import annotations

import numpy as np
import pytest

from ranker.ranking.answer import Answer, Failure
from ranker.ranking.timings import Moments
from ranker.telemetry.failure_log import FailureLog
from ranker.vectors.rows import Features, Rows


def answer(*failures: Failure, scores: tuple[float, ...] = (1.0, 2.0)) -> Answer:
    given = np.array(scores, np.float32)
    features = Features(Rows.missing(1, 1), Rows.missing(len(scores), 1))
    matrix = np.zeros((len(scores), 2), np.float32)
    finite = bool(np.isfinite(given).all())
    moments = Moments(0, 0, 0, 0, 0, 0)
    return Answer([], given, [], None, features, given, moments, matrix, failures=failures, finite=finite)


def test_the_first_of_each_kind_is_logged_with_what_was_raised(caplog: pytest.LogCaptureFixture) -> None:
    log = FailureLog()
    model = Failure("model_failed", "The model could not score 2 rows: idx=98999 must be within [-500,499].")
    for _ in range(3):
        log.note(answer(model), "m:1", "r-1", None)
        log.note(answer(Failure("store_unavailable", "Redis is down."), model), "m:1", "r-2", None)
    first, second = (record.getMessage() for record in caplog.records)
    assert "'r-1'" in first
    assert "m:1" in first
    assert model.sentence in first
    assert "Redis is down." in second


def test_scores_that_are_no_numbers_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    log = FailureLog()
    for scores in ((np.inf, 1.0, np.nan), (-np.inf, 1.0), (np.nan, 1.0), (np.nan, 2.0)):
        log.note(answer(scores=scores), "m:1", "r", None)
    infinite, nan = (record.getMessage() for record in caplog.records)
    assert "NaN for 1 and infinity for 1 of the 3 products" in infinite
    assert "NaN for 1 and infinity for 0 of the 2 products" in nan
