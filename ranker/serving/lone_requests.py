"""Intra-request parallelism: with how many threads a model scores a request that is alone, decided when it is loaded.

Owns the decision, and the line of the log that says it. Knows nothing of when a request is alone.
"""

from __future__ import annotations

import logging

import numpy as np

from ranker.errors import ModelError
from ranker.scoring.graph.proof import near_rows
from ranker.scoring.loaded import LoadedModel
from ranker.scoring.row_threads import RowThreads, measure_gain
from ranker.settings.environment import Settings

logger = logging.getLogger(__name__)
logger.setLevel(logging.INFO)  # BentoML lets warnings through alone, and this is said once a start

ROWS = 100
"""Products of the request that both ways are timed with."""


def row_threads(role: str, model: LoadedModel, settings: Settings) -> RowThreads | None:
    """Return what scores a model's lone requests; None where one thread does, as it does all others.

    Args:
        role: What the log calls it.
        model: The model.
        settings: As read from the environment.
    """
    threads = settings.lone_threads
    if threads == 1 or role == "shadow":  # nobody waits for a shadow
        return None
    if model.split is not None or model.schema.rows == "together":
        why = "it is served in parts" if model.split is not None else "its rows are scored together"
        logger.info("A lone request of the %s is scored by 1 thread: %s", role, why)
        return None
    shared = RowThreads(model.score, threads)
    if settings.score_threads != "auto":
        logger.info("A lone request of the %s is scored by %d threads (RANKER_SCORE_THREADS)", role, threads)
        return shared
    rows = near_rows(model.schema)
    try:
        gain = measure_gain(model.score, shared, np.tile(rows, (-(-ROWS // len(rows)), 1))[:ROWS])
    except ModelError as err:  # rows that no request brings
        logger.info("A lone request of the %s is scored by 1 thread: timing it failed: %s", role, err)
        shared.close()
        return None
    logger.info(
        "A lone request of the %s is scored by %d: %d rows take %.2f ms by %d threads, %.2f by one",
        role,
        threads if gain.pays else 1,
        gain.rows,
        gain.shared_s * 1e3,
        threads,
        gain.one_s * 1e3,
    )
    if gain.pays:
        return shared
    shared.close()
    return None
