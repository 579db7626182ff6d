"""Proof by trial: rows near the defaults and far from them, which show what a graph does that its declaration hides.

Owns the rows, and what they must show: a score that is its row's own, whatever rows come with it. Knows nothing of
graphs: it is given what scores.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from ranker.errors import ModelFailed, ModelRejected, WrongShape
from ranker.vectors.rows import Matrix, Scores
from ranker.vectors.schema import FeatureSchema

Score = Callable[[Matrix], Scores]

SCALES = (1e2, 1e4, 1e6)
"""Distances of far rows from the defaults, absolutely: counts, prices and times are as large."""
FAR_ROWS = 4
MAX_COLUMNS_TRIED = 256
"""Columns tried one by one where no row with all columns far can be scored, such as for ids."""
SPREAD_ROWS = 16
NEARBY = np.float32(0.05)
MOSTLY = 0.95
"""The share of rows with one and the same score from which a model is doubted."""
RELATIVE, ABSOLUTE, TIMES_NOISE = 1e-4, 1e-5, 10.0


def near_rows(schema: FeatureSchema) -> Matrix:
    """Three rows near the default vectors, shape (3, F): close enough that whole numbers (ids, counts) stay valid."""
    rows: Matrix = np.random.default_rng(0).random((3, schema.width), dtype=np.float32) * np.float32(0.5)
    rows += np.nan_to_num(schema.defaults)
    rows[0] = schema.defaults
    return rows


def spread_rows(score: Score, schema: FeatureSchema) -> Matrix:
    """Rows from near the defaults to far away that can be scored, shape (at most 64, F)."""
    random = np.random.default_rng(2)
    rows = np.nan_to_num(schema.defaults) + random.random((SPREAD_ROWS, schema.width), dtype=np.float32)
    far = [_moved(schema, random, scale, SPREAD_ROWS, None) for scale in SCALES]
    return np.concatenate([scorable(score, block) for block in (rows, *far)])


def refuse_batch_effects(score: Score, schema: FeatureSchema, because: str = "") -> None:
    """Score rows together and one by one: near the defaults, far from them, mixed, and in another order.

    Sums of large numbers come out otherwise in another order, so far rows may differ by 1e-4 of the largest score of
    rows as far, and by 10 times what a row differs beside copies of itself; near rows by 1e-4 of their score.

    Args:
        score: What scores (n, F) float32, and raises `ModelFailed` for rows that it cannot score.
        schema: What the columns are.
        because: What in the graph makes it so, where that is known.

    Raises:
        ModelRejected: a row's score depends on its company.
    """
    near = near_rows(schema)
    refuse_difference(score, near, because)
    blocks = [near, *_far_blocks(score, schema)]
    everything: Matrix = np.concatenate(blocks)
    alone = np.concatenate([score(row[np.newaxis]) for row in everything])
    allowed = np.full(len(everything), np.nan, dtype=np.float64)
    start = 0
    for i, block in enumerate(blocks):
        rows = slice(start, start := start + len(block))
        finite = np.abs(alone[rows][np.isfinite(alone[rows])])
        size = np.abs(alone[rows]) if i == 0 else finite.max(initial=0.0)
        noise = 0.0 if i == 0 else max((_noise(score, row, len(everything)) for row in block), default=0.0)
        allowed[rows] = ABSOLUTE + RELATIVE * size + TIMES_NOISE * noise
    n = len(everything)
    orders = [np.arange(n), np.arange(n)[::-1], *(np.r_[: len(near), i] for i in range(len(near), n))]
    for order in orders:
        try:
            together = score(everything[order])
        except (ModelFailed, WrongShape) as err:
            raise ModelRejected(f"Rows that it scores one by one, it cannot score together. {err}") from err
        _refuse(alone[order], together, allowed[order], because)


def refuse_difference(score: Score, rows: Matrix, because: str = "") -> None:
    """Score a few rows together and one by one.

    Raises:
        ModelRejected: a row's score depends on its company.
    """
    alone = np.concatenate([score(row[np.newaxis]) for row in rows])
    _refuse(alone, score(rows), ABSOLUTE + RELATIVE * np.abs(alone), because)


def depends_on_order(score: Score, schema: FeatureSchema) -> bool:
    """Whether the scores of rows that are scored together change when the rows come in another order."""
    rows = near_rows(schema)
    rows[:, : schema.user.width] = rows[0, : schema.user.width]  # one request's
    there, back = score(rows), score(rows[::-1])[::-1]
    return not np.allclose(there, back, rtol=RELATIVE, atol=ABSOLUTE, equal_nan=True)


def doubts(score: Score, schema: FeatureSchema) -> list[str]:
    """Return, a sentence each, what looks wrong and may be right."""
    rows = spread_rows(score, schema)
    if len(rows) < SPREAD_ROWS:
        return []
    value, count = Counter(score(rows).tolist()).most_common(1)[0]
    if count < MOSTLY * len(rows) or _differs_nearby(score, schema):
        return []
    return [
        f"{count} of {len(rows)} rows, from the defaults to a million away from them, have the same score, {value:g}: "
        "a ranking of ties. Was it exported as what it is? An XGBRanker converted as its booster becomes a classifier, "
        "say. Compare some scores with the trainer's own."
    ]


def _differs_nearby(score: Score, schema: FeatureSchema) -> bool:
    """Whether rows close to the defaults have scores of their own: then others may be equal at a sigmoid's ends."""
    steps = np.random.default_rng(3).random((SPREAD_ROWS, schema.width), dtype=np.float32)
    rows = scorable(score, np.nan_to_num(schema.defaults) + NEARBY * steps)
    return len(rows) > 0 and len(set(score(rows).tolist())) > len(rows) / 2


def _far_blocks(score: Score, schema: FeatureSchema) -> list[Matrix]:
    random = np.random.default_rng(1)
    blocks = [scorable(score, _moved(schema, random, scale, FAR_ROWS, None)) for scale in SCALES]
    if not any(map(len, blocks)):
        movable = _movable(score, schema)
        blocks = [scorable(score, _moved(schema, random, scale, FAR_ROWS, movable)) for scale in SCALES]
    return [block for block in blocks if len(block)]


def _moved(
    schema: FeatureSchema, random: np.random.Generator, scale: float, rows: int, columns: npt.NDArray[np.bool_] | None
) -> Matrix:
    """Rows so far from the defaults, shape (rows, F), in these columns or all, to both sides."""
    steps = random.uniform(0.1, 1.0, (rows, schema.width)) * random.choice((-1.0, 1.0), (rows, schema.width)) * scale
    if columns is not None:
        steps[:, ~columns] = 0.0
    moved: Matrix = (np.nan_to_num(schema.defaults) + steps).astype(np.float32)
    return moved


def _movable(score: Score, schema: FeatureSchema) -> npt.NDArray[np.bool_]:
    """Find the columns that may be far away by themselves, shape (F,)."""
    movable = np.zeros(schema.width, dtype=np.bool_)
    for column in range(min(schema.width, MAX_COLUMNS_TRIED)):
        rows = np.repeat(np.nan_to_num(schema.defaults)[np.newaxis], 2, axis=0)
        rows[:, column] += np.array([-SCALES[-1], SCALES[-1]], dtype=np.float32)
        movable[column] = len(scorable(score, rows)) == len(rows)
    return movable


def scorable(score: Score, rows: Matrix) -> Matrix:
    """Return those of the rows that the model can score alone; an id may be beyond its table."""
    return rows[[_can(score, row) for row in rows]]


def _can(score: Score, row: Matrix) -> bool:
    try:
        score(row[np.newaxis])
    except (ModelFailed, WrongShape):
        return False
    return True


def _noise(score: Score, row: Matrix, n: int) -> float:
    """Measure how a row's score differs beside n - 1 copies of itself: by rounding, where none depends on others."""
    alone, beside = score(row[np.newaxis]), score(np.repeat(row[np.newaxis], n, axis=0))
    with np.errstate(invalid="ignore"):  # infinity less infinity
        differences = np.abs(beside - alone).astype(np.float64)
    return float(differences[np.isfinite(differences)].max(initial=0.0))


def _refuse(alone: Scores, together: Scores, allowed: Sequence[float] | npt.NDArray[np.float64], because: str) -> None:
    with np.errstate(invalid="ignore"):  # infinity less infinity
        same = np.abs(together - alone) <= allowed
    same |= (alone == together) | (np.isnan(alone) & np.isnan(together))
    if same.all():
        return
    i = int(np.flatnonzero(~same)[0])
    raise ModelRejected(
        f"A row's score depends on the rows scored with it: one got {alone[i]:g} alone and {together[i]:g} among "
        f"{len(alone)}, so batching would change rankings." + (f" {because}" if because else "")
    )
