"""Feature vectors of the example shop: what describes a user and a product, and since when it was known.

Owns the schema's names and their numbers; must not know of models or Redis. Everything that counts impressions or
clicks is computed from the impressions handed in, the training window, so nothing of the hold-out leaks in.

User: one 0/1 column per common category of the four hashed features (`user_feature_0=81ce123c`, the hash shortened),
and how often the user was seen. Product: item_feature_0; one 0/1 column per category of the three others; how often it
was shown; its popularity, the clicks it got over the clicks any product would have got in its places; and whether the
campaign for men shows it (the others are the campaign for women's).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ranker.demo.shop import BLOCKS, Impressions, Shop
from ranker.vectors.rows import Matrix
from ranker.vectors.schema import FeatureSchema

COMMON = 0.01
"""Share of the impressions below which a user category has no column: a handful of rows teach only noise."""
HASH_LENGTH = 8
PRIOR_CLICKS = 2.0
"""The strength of the belief that a product is average, in clicks; most have between 0 and 6."""


@dataclass(frozen=True, slots=True)
class Vectors:
    """The vectors of all users and products of a shop, in its order.

    Attributes:
        schema: Their columns' names.
        users: Shape (U, Wu), float32.
        products: Shape (80, Wp), float32.
    """

    schema: FeatureSchema
    users: Matrix
    products: Matrix

    def rows(self, impressions: Impressions) -> Matrix:
        """Return the matrix (n, F) a model sees for these impressions."""
        return np.hstack([self.users[impressions.users], self.products[impressions.products]])


def build_vectors(shop: Shop, window: Impressions) -> Vectors:
    """Describe every user and product of the shop by what was known at the end of the training window."""
    user_names, user_columns = _user_columns(shop, window)
    product_names, product_columns = _product_columns(shop, window)
    schema = FeatureSchema.from_mapping({"user": {"features": user_names}, "product": {"features": product_names}})
    return Vectors(schema, np.column_stack(user_columns), np.column_stack(product_columns))


def popularity(impressions: Impressions, n_products: int) -> npt.NDArray[np.float64]:
    """Return per product the clicks it got over those expected of an average product in its places, smoothed.

    A place is a campaign and a position, for both have rates of their own. 1 is average, and what a product nobody saw
    gets: (clicks + m) / (expected + m), the mean under a gamma prior, with m = `PRIOR_CLICKS`.

    Returns:
        Shape (n_products,).
    """
    places = impressions.campaigns * 3 + impressions.positions
    shown = np.bincount(places, minlength=9)
    rates = np.bincount(places, impressions.clicks, minlength=9) / np.maximum(shown, 1)
    clicks = np.bincount(impressions.products, impressions.clicks, minlength=n_products)
    expected = np.bincount(impressions.products, rates[places], minlength=n_products)
    smoothed: npt.NDArray[np.float64] = (clicks + PRIOR_CLICKS) / (expected + PRIOR_CLICKS)
    return smoothed


def _user_columns(shop: Shop, window: Impressions) -> tuple[list[str], list[Matrix]]:
    seen = np.bincount(window.users, minlength=len(shop.users))
    names, columns = ["user_log_impressions"], [np.log1p(seen, dtype=np.float32)]
    for k in range(shop.users.shape[1]):
        for category in np.unique(shop.users[:, k]):
            member = shop.users[:, k] == category
            if seen[member].sum() >= COMMON * len(window):
                names.append(f"user_feature_{k}={category[:HASH_LENGTH]}")
                columns.append(member.astype(np.float32))
    return names, columns


def _product_columns(shop: Shop, window: Impressions) -> tuple[list[str], list[Matrix]]:
    n = len(shop.products)
    shown = np.bincount(window.products, minlength=n)
    for_men = np.zeros(n, dtype=np.float32)
    for start, stop in BLOCKS["men"]:
        for_men[start:stop] = 1
    names = ["item_feature_0", "product_for_men", "product_log_impressions", "product_log_popularity"]
    columns = [
        shop.product_values.astype(np.float32),
        for_men,
        np.log1p(shown, dtype=np.float32),
        np.log(popularity(window, n)).astype(np.float32),
    ]
    for k in range(shop.products.shape[1]):
        for category in np.unique(shop.products[:, k]):
            names.append(f"item_feature_{k + 1}={category[:HASH_LENGTH]}")
            columns.append((shop.products[:, k] == category).astype(np.float32))
    return names, columns
