"""A service of one's own that depends on Ranker: both start together, and Ranker is no port of its own."""

from __future__ import annotations

import bentoml

from ranker.service import Ranker

CANDIDATES = {"shoes": [str(product) for product in range(10)]}
"""What a page may show; a shop would ask its search."""


@bentoml.service(name="shop")
class Shop:
    """Ranks the products of a page."""

    ranker = bentoml.depends(Ranker)

    @bentoml.api
    async def page(self, user: str, category: str = "shoes") -> list[str]:
        """Return the products of a category, best first."""
        candidates = CANDIDATES.get(category, [])
        if not candidates:
            return []
        try:
            answer = await self.ranker.to_async.predict(userId=user, productIds=candidates, topK=5)
        except bentoml.exceptions.BentoMLException:
            return candidates  # Ranker refused, or is not there: a page in its own order is better than none
        return list(answer.ranking)
