"""Uncached store: every request's rows are read for it. What a pipeline gets where no near cache is wanted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ranker.features.near_cache.entity_cache import EntityCache
from ranker.features.prepared import Preparer
from ranker.features.shared_read import merged
from ranker.features.store import RowStore
from ranker.process import background
from ranker.vectors.rows import Features, ProductId, Rows, UserId
from ranker.vectors.schema import FeatureSchema


class UncachedStore:
    """A feature store that holds nothing.

    Args:
        store: Where rows are read.
        schema: The entities' widths.
        preparer: Appends to a product's row what the model prepares of it; None for a model that prepares nothing.
    """

    def __init__(self, store: RowStore, schema: FeatureSchema, preparer: Preparer | None = None) -> None:
        self._store = store
        self._reads = background.Tasks("shared read")
        self.groups: dict[str, EntityCache] = {
            name: EntityCache(group, 0, 0.0, store.groups[name].read, self._reads.begin)
            for name, group in schema.keyed.items()
        }
        """Keep nothing; what several requests want of a group at the same moment is read once."""
        self.products = EntityCache(schema.product, 0, 0.0, store.products.read, self._reads.begin)
        """The same of products in histories, whose features alone are wanted."""
        self.hits = self.misses = 0
        self._nobody = Rows.known(schema.user.defaults[np.newaxis])
        self._preparer = preparer
        self._user_width = schema.user.width
        self._product_width = schema.product.width if preparer is None else preparer.width

    def raise_if_down(self) -> None:
        """Raise StoreUnavailable where fetching would, without asking anybody."""
        self._store.raise_if_down()

    def held(self, asked: Sequence[tuple[UserId | None, Sequence[ProductId]]]) -> list[None]:
        """Hold nothing."""
        return [None] * len(asked)

    async def fetch(self, user_id: UserId | None, product_ids: Sequence[ProductId]) -> Features:
        self._store.raise_if_down()
        if user_id is None:
            read = await self._store.products.read(product_ids)
            if self._preparer is not None:
                read = await self._preparer.widen(product_ids, read)
            return Features(self._nobody, read.rows, 0, read.reading, read.unread)
        # Both go out in one call; the request counts once, with its user.
        users, products = self._store.users.begin((user_id,)), self._store.products.begin(product_ids, 0)
        try:
            await users.submission
            await products.submission
        except BaseException:
            products.submission.cancel()
            raise
        user, product = users.rows(), products.rows()
        if self._preparer is not None:
            product = await self._preparer.widen(product_ids, product)
        reading = merged((user.reading, product.reading))
        return Features(user.rows, product.rows, 0, reading, user.unread or product.unread)

    def fresh(self, user_id: UserId | None, product_ids: Sequence[ProductId]) -> npt.NDArray[np.bool_]:
        return np.zeros(1 + len(product_ids), np.bool_)

    def remembered(self, user_id: UserId | None, product_ids: Sequence[ProductId]) -> Features:
        user = self._nobody if user_id is None else Rows.unread(1, self._user_width)
        return Features(user, Rows.unread(len(product_ids), self._product_width))

    @property
    def waiting(self) -> int:
        """Reads that are not sent yet, because others are under way."""
        return self._store.waiting

    async def open(self) -> None:
        await self._store.open()

    async def close(self) -> None:
        await self._reads.cancel()
        await self._store.close()
