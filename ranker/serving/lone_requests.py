"""Intra-request parallelism: with how many threads a model scores a request that is alone, decided when it is loaded.

Owns the decision, and the line of the log that says it. Knows nothing of when a request is alone.
"""

from __future__ import annotations

import logging

import numpy as np

from ranker.errors import ModelError
from ranker.scoring.loaded import LoadedModel
from ranker.scoring.row_threads import SHARING_S, RowThreads, measure_gain
from ranker.settings.environment import Settings
from ranker.vectors.feature.draws import draw
from ranker.vectors.rows import Matrix
from ranker.vectors.schema import FeatureSchema

logger = logging.getLogger(__name__)
logger.setLevel(logging.INFO)  # BentoML lets warnings through alone, and this is said once a start

ROWS = 100
"""Products of the request that is timed."""


def make_row_threads(role: str, model: LoadedModel, settings: Settings) -> RowThreads | None:
    """Return what scores a model's lone requests; None where one thread does, as it does all others.

    Args:
        role: What the log calls it.
        model: The model.
        settings: As read from the environment.
    """
    if role == "shadow":  # nobody waits for a shadow
        return None
    threads, why = choose_threads(model, settings)
    logger.info(
        "A lone request of the %s is scored by %s: %s",
        role,
        "1 thread" if threads == 1 else f"up to {threads} threads",
        why,
    )
    return None if threads == 1 else RowThreads(model.score, threads)


def choose_threads(model: LoadedModel, settings: Settings) -> tuple[int, str]:
    """Return the most threads for a model's lone request, and why so many."""
    threads = settings.lone_threads
    if model.split is not None:
        return 1, "it is served in parts"
    if model.schema.rows == "together":
        return 1, "its rows are scored together"
    if settings.score_threads != "auto":
        return threads, f"RANKER_SCORE_THREADS={threads}"
    if threads == 1:
        return 1, "a process that scores has one core here"
    try:
        gain = measure_gain(model.score, threads, draw_request(model.schema, ROWS))
    except ModelError as err:  # rows that no request brings
        return 1, f"timing it failed: {err}"
    one, block = (f"{rows} rows take {s * 1e3:.2f} ms of CPU" for rows, s in zip(gain[:2], gain[2:], strict=True))
    return threads if gain.pays else 1, f"{one}, {block}, and sharing them {SHARING_S * 1e3:.1f} ms"


def draw_request(schema: FeatureSchema, products: int) -> Matrix:
    """Return a request's rows (products, F) with drawn values.

    Trees take several times as long for them as for rows that are all alike.
    """
    random, columns = np.random.default_rng(0), list[Matrix]()
    for name, group in schema.groups.items():
        rows = 1 if name in schema.request_side else products
        drawn = [draw(feature, rows, random) for feature in group.features]
        columns += [np.broadcast_to(values, (products, values.shape[1])) for values in drawn]
    return np.hstack(columns)
