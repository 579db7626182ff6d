"""Rows of side information: from histories to the ids in them, and from these products' rows to one row a request.

Owns padding, and that a product without usable features has the defaults. Knows nothing of stores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ranker.vectors.feature.columns import to_elements
from ranker.vectors.rows import Ask, Features, Matrix, Rows, RowStatus
from ranker.vectors.schema import FeatureSchema


class SideRows:
    """Makes the rows of one history's side information.

    Args:
        schema: The model's.
        name: The history, as `FeatureSchema.side_information` has it.
    """

    def __init__(self, schema: FeatureSchema, name: str) -> None:
        side = schema.side_information[name]
        group = schema.described_groups[side.of]
        self.of = side.of
        """The group that has the history."""
        self._width = side.width
        self._columns = group.slices[side.history]
        self._history = next(feature for feature in group.features if feature.name == side.history)
        self._nobody = Rows.missing(1, group.width)
        product = schema.product
        self._parts = [(side.slices[f.name], product.slices[f.name], product.defaults) for f in side.features]

    def ids(
        self, asked: Sequence[Ask], found: Sequence[Features | None], groups: Sequence[Mapping[str, Rows]]
    ) -> list[list[str]]:
        """Return the ids in the history of each request, the newest first.

        Args:
            asked: The requests.
            found: What was found for each; None where its history is not stored.
            groups: The rows of its groups that were found.
        """
        rows = [self._row(*one) for one in zip(asked, found, groups, strict=True)]
        values = np.concatenate([row.values[:1, self._columns] for row in rows])
        values[np.concatenate([row.statuses[:1] for row in rows]) != RowStatus.FOUND] = 0  # its default: no products
        items, counts = to_elements(self._history, values)
        assert counts is not None  # a history is a sequence
        texts = [[*map(str, ids)] for ids in items.tolist()]
        return [ids[:count] for ids, count in zip(texts, counts.tolist(), strict=True)]

    def rows(self, counts: Sequence[int], products: Rows) -> Matrix:
        """Return a row for each of R requests, shape (R, W).

        Args:
            counts: How many products each one's history has.
            products: The rows of these, behind one another.
        """
        made: Matrix = np.zeros((len(counts), self._width), np.float32)
        of = np.repeat(np.arange(len(counts)), counts)
        place = np.arange(len(of)) - np.repeat(np.cumsum(counts) - counts, counts)
        (lacking,) = products.statuses.nonzero()
        for here, there, defaults in self._parts:
            values = products.values[:, there]
            if len(lacking):
                values = values.copy()
                values[lacking] = defaults[there]
            made[:, here.start] = counts
            elements = made[:, here.start + 1 : here.stop]  # to part the last axis takes no copy
            elements.reshape(len(counts), -1, values.shape[1])[of, place] = values
        return made

    def _row(self, ask: Ask, features: Features | None, groups: Mapping[str, Rows]) -> Rows:
        if self.of == "context":
            return self._nobody if ask.context is None else Rows.known(ask.context)
        if self.of == "user":
            return self._nobody if features is None else features.user
        return groups[self.of]
