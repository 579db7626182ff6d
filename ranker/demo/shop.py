"""Data of the example shop: impressions and clicks of ZOZOTOWN, with its users and its 80 products.

Source: the small-sized Open Bandit Dataset by ZOZO, Inc., CC BY 4.0; Y. Saito, S. Aihara, M. Matsutani, Y. Narita,
"Open Bandit Dataset and Pipeline: Towards Realistic and Reproducible Off-Policy Evaluation", 2020 (arXiv:2008.07146).
`shop.npz` holds what of it is used here, its six files joined; tests/support/open_bandit.py makes it, and a test holds
it to the dataset.

Owns reading the file; must not know of features, models or Redis.

A *user* is one distinct tuple of the four hashed user features, so rather a segment of visitors than a person.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

CAMPAIGNS = ("all", "men", "women")
BLOCKS: dict[str, tuple[tuple[int, int], ...]] = {
    "all": ((0, 80),),
    "men": ((0, 5), (10, 30), (67, 76)),
    "women": ((5, 10), (30, 67), (76, 80)),
}
"""Per campaign, the products of `all` it shows, as ranges in the order of their ids."""
FILE = Path(__file__).with_name("shop.npz")

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Impressions:
    """n products shown to users, oldest first.

    Attributes:
        times: Shape (n,), datetime64[us], UTC.
        users: Shape (n,), rows of `Shop.users`.
        products: Shape (n,), rows of `Shop.products`.
        positions: Shape (n,), 0 to 2: left, middle, right.
        campaigns: Shape (n,), positions in `CAMPAIGNS`.
        clicks: Shape (n,), 0 or 1.
    """

    times: npt.NDArray[np.datetime64]
    users: Ints
    products: Ints
    positions: Ints
    campaigns: Ints
    clicks: Ints

    def __len__(self) -> int:
        return len(self.times)

    def where(self, chosen: npt.NDArray[Any]) -> Impressions:
        """Return the impressions that a mask or an array of indices chooses."""
        return Impressions(
            self.times[chosen],
            self.users[chosen],
            self.products[chosen],
            self.positions[chosen],
            self.campaigns[chosen],
            self.clicks[chosen],
        )


@dataclass(frozen=True, slots=True)
class Shop:
    """Visitors, products, and the impressions of one to the other.

    Attributes:
        user_ids: `u001` and so on, the most frequent first.
        users: Shape (U, 4), the hashes of user_feature_0 to 3.
        product_ids: `0` to `79`, as in the dataset.
        products: Shape (80, 3), the hashes of item_feature_1 to 3.
        product_values: Shape (80,), item_feature_0, which is standardised.
        impressions: All 60,000.
    """

    user_ids: list[str]
    users: npt.NDArray[np.str_]
    product_ids: list[str]
    products: npt.NDArray[np.str_]
    product_values: npt.NDArray[np.float64]
    impressions: Impressions


def read_shop() -> Shop:
    """Read the shop."""
    with np.load(FILE, allow_pickle=False) as kept:
        impressions = Impressions(
            times=np.cumsum(kept["microseconds"]).astype("datetime64[us]"),
            users=kept["users"].astype(np.int64),
            products=kept["products"].astype(np.int64),
            positions=kept["positions"].astype(np.int64),
            campaigns=kept["campaigns"].astype(np.int64),
            clicks=kept["clicks"].astype(np.int64),
        )
        users, products, values = kept["user_features"], kept["product_features"], kept["product_values"]
    return Shop(user_ids(len(users)), users, product_ids(len(products)), products, values, impressions)


def user_ids(n: int) -> list[str]:
    """Return the n most frequent users' ids: `u001` and so on."""
    return [f"u{i:03d}" for i in range(1, n + 1)]


def product_ids(n: int) -> list[str]:
    """Return the first n products' ids, as in the dataset: `0` and so on."""
    return [str(i) for i in range(n)]
