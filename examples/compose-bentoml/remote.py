"""A service of one's own that asks a Ranker which runs elsewhere, at RANKER_URL."""

from __future__ import annotations

import os

import bentoml


@bentoml.service(name="remote_shop")
class RemoteShop:
    """Ranks the products of a page."""

    ranker = bentoml.depends(url=os.environ.get("RANKER_URL", "http://127.0.0.1:3000"))

    @bentoml.api
    async def page(self, user: str, products: list[str]) -> list[str]:
        """Return the products, best first."""
        answer = await self.ranker.to_async.predict(userId=user, productIds=products)
        return list(answer["ranking"])
