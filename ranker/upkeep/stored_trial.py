"""Trial on stored features: a model scores users and products that are in Redis, before it is stored to serve them.

Made-up rows near the defaults say nothing of ids that a table lacks, or of a batch of real ones. Owns the sample and
what is told of it; writes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ranker.errors import ModelFailed, ModelRejected
from ranker.ingest.read_back import read_rows
from ranker.redis.clients import Client
from ranker.scoring.graph import proof
from ranker.scoring.model import OnnxModel
from ranker.upkeep.comparison import sample_ids, some_rows
from ranker.upkeep.stored_matrix import stored_matrix
from ranker.vectors.rows import Features, Matrix, Rows, RowStatus
from ranker.vectors.schema import FeatureSchema

ALONE = 64
"""Rows that are scored one by one as well, to see that they do not depend on one another."""
SHOWN = 3
MOST_USERS = 20
"""Users that products are scored for: their histories hold ids, too."""


@dataclass(frozen=True, slots=True)
class StoredTrial:
    """Outcome of a trial on stored features.

    Attributes:
        products: How many were scored.
        without_features: How many of them had no usable features, and got the defaults.
        not_finite: How many got NaN or an infinite score.
        different: How many different scores there were.
        matrix: The rows, shape (products, F).
    """

    products: int
    without_features: int
    not_finite: int
    different: int
    matrix: Matrix = field(repr=False, compare=False)

    def __str__(self) -> str:
        text = f"{self.products:,} stored products, {self.different:,} different scores"
        if self.without_features:
            text += f", {self.without_features:,} without usable features"
        return text + (f", {self.not_finite:,} scores that are no finite numbers" if self.not_finite else "")


def try_stored(client: Client, model: OnnxModel, n: int, seed: int = 0) -> StoredTrial | None:
    """Score n stored products, each for one of up to `MOST_USERS` stored users.

    Returns:
        None when there are no users or no products under the model's keys.

    Raises:
        ModelRejected: some cannot be scored, have ids that would not be used, or depend on the rows scored with them.
        StoreUnavailable: Redis does not answer, or refuses.
    """
    schema, random = model.schema, np.random.default_rng(seed)
    users, products = (sample_ids(client, schema, entity) for entity in (schema.user, schema.product))
    if not users or not products:
        return None
    chosen = [products[i] for i in random.permutation(len(products))[:n]]
    rows = read_rows(client, schema, "product", chosen)
    matrix, user_of = _matrix(client, schema, [users[i] for i in random.permutation(len(users))], chosen, rows)
    if failing := _unscorable(model, matrix) | _beyond_bounds(model.find_bounds(), matrix):
        shown = ", ".join(f"{chosen[i]} for the user {user_of[i]}" for i in sorted(failing)[:SHOWN])
        reason = Counter(failing.values()).most_common(1)[0][0]
        raise ModelRejected(
            f"{len(failing):,} of {len(chosen):,} stored products cannot be scored, such as {shown}: {reason}. Where "
            "it is an id beyond its table, load those that the model was trained on, or map the others to one that it "
            "knows."
        )
    if schema.rows == "independent":
        proof.refuse_difference(model.score, matrix[:ALONE])
    scores = model.score(matrix)
    missing = int(np.count_nonzero(rows.statuses != RowStatus.FOUND))
    not_finite = int(np.count_nonzero(~np.isfinite(scores)))
    return StoredTrial(len(chosen), missing, not_finite, len(np.unique(scores)), matrix)


def _matrix(
    client: Client, schema: FeatureSchema, users: Sequence[str], products: Sequence[str], rows: Rows
) -> tuple[Matrix, list[str]]:
    """Return the rows of n products, shape (n, F), dealt to the first of the users, and the user of each."""
    parts, user_of = [], []
    for user, places in zip(users, np.array_split(range(len(products)), min(MOST_USERS, len(users))), strict=False):
        if len(places):
            features = Features(read_rows(client, schema, "user", [user]), some_rows(rows, places.tolist()))
            parts.append(stored_matrix(client, schema, user, [products[i] for i in places], features))
            user_of += [user] * len(places)
    return np.concatenate(parts), user_of


def _beyond_bounds(schema: FeatureSchema, matrix: Matrix) -> dict[int, str]:
    """Return the rows with an id that the service would not look up, with that id.

    ONNX Runtime takes a negative one for a place from the table's end, and raises nothing.
    """
    found: dict[int, str] = {}
    start = 0
    for group in schema.groups.values():
        columns = matrix[:, start : start + group.width]
        start += group.width
        for i in np.flatnonzero(group.bounds.find_beyond(columns)).tolist() if group.bounds else ():
            name, reason = group.bounds.describe(columns[i])
            found[i] = f"of {name}, {reason}"
    return found


def _unscorable(model: OnnxModel, matrix: Matrix) -> dict[int, str]:
    """Return the rows that the model raises for, with what it raises; found by halving."""
    found: dict[int, str] = {}
    waiting: list[Sequence[int]] = [range(len(matrix))]
    while waiting:
        rows = waiting.pop()
        try:
            model.score(matrix[rows[0] : rows[-1] + 1])
        except ModelFailed as err:
            if len(rows) == 1:
                found[rows[0]] = err.reason
            else:
                middle = len(rows) // 2
                waiting += [rows[middle:], rows[:middle]]
    return found
