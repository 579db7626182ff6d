"""Data of the example shop: impressions and clicks of ZOZOTOWN, with its users and its 80 products.

Source: the small-sized Open Bandit Dataset by ZOZO, Inc., CC BY 4.0; Y. Saito, S. Aihara, M. Matsutani, Y. Narita,
"Open Bandit Dataset and Pipeline: Towards Realistic and Reproducible Off-Policy Evaluation", 2020 (arXiv:2008.07146).
It comes in the wheel obp, whose files are read here without importing it: its own dependencies are heavy and absent.

Owns reading and joining the files; must not know of features, models or Redis.

A *user* is one distinct tuple of the four hashed user features, so rather a segment of visitors than a person. The
dataset's campaigns `men` and `women` number their products anew, but show the same 80 products as `all`: the standard
scores in item_feature_0 and the groups in item_features 1 to 3 admit one matching (up to six pairs of products that no
feature tells apart), and it keeps the order of both campaigns. `BLOCKS` is that matching; a test holds it to the files.
The columns user-item_affinity belong to a single visitor, whom no column identifies, and are left out.
"""

from __future__ import annotations

import csv
import importlib.metadata
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ranker.errors import DemoPackageMissing

POLICIES = ("bts", "random")
CAMPAIGNS = ("all", "men", "women")
BLOCKS: dict[str, tuple[tuple[int, int], ...]] = {
    "all": ((0, 80),),
    "men": ((0, 5), (10, 30), (67, 76)),
    "women": ((5, 10), (30, 67), (76, 80)),
}
"""Per campaign, the products of `all` it shows, as ranges in the order of its own ids."""
COLUMNS = [
    *("", "timestamp", "item_id", "position", "click", "propensity_score"),
    *("user_feature_0", "user_feature_1", "user_feature_2", "user_feature_3"),
]

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


def read_shop(folder: Path | None = None) -> Shop:
    """Read the shop.

    Args:
        folder: The dataset's folder `obd`; by default the one in the installed wheel.

    Raises:
        DemoPackageMissing: the wheel obp is not installed, or holds other data.
    """
    folder = folder or dataset_folder()
    rows: list[list[str]] = []
    campaigns: list[int] = []
    products: list[int] = []
    for policy in POLICIES:
        for number, campaign in enumerate(CAMPAIGNS):
            shown = [product for start, stop in BLOCKS[campaign] for product in range(start, stop)]
            read = _read_log(folder / policy / campaign / f"{campaign}.csv")
            rows += read
            campaigns += [number] * len(read)
            products += [shown[int(row[2])] for row in read]
    visitors = [tuple(row[6:10]) for row in rows]
    # Most frequent first; the hashes settle ties, so that an id always means the same user.
    users = [user for user, _ in sorted(Counter(visitors).items(), key=lambda item: (-item[1], item[0]))]
    number_of = {user: i for i, user in enumerate(users)}
    impressions = Impressions(
        # numpy knows no time zones; all times are UTC.
        times=np.array([row[1].removesuffix("+00:00") for row in rows], dtype="datetime64[us]"),
        users=np.array([number_of[visitor] for visitor in visitors]),
        products=np.array(products),
        positions=np.array([int(row[3]) - 1 for row in rows]),
        campaigns=np.array(campaigns),
        clicks=np.array([int(row[4]) for row in rows]),
    )
    # The other policy's file hashes the same groups with another salt.
    with (folder / "bts" / "all" / "item_context.csv").open(newline="") as file:
        items = sorted(csv.DictReader(file), key=lambda item: int(item["item_id"]))
    return Shop(
        user_ids=user_ids(len(users)),
        users=np.array(users),
        product_ids=[item["item_id"] for item in items],
        products=np.array([[item[f"item_feature_{k}"] for k in (1, 2, 3)] for item in items]),
        product_values=np.array([float(item["item_feature_0"]) for item in items]),
        impressions=impressions.where(np.argsort(impressions.times, kind="stable")),
    )


def user_ids(n: int) -> list[str]:
    """Return the n most frequent users' ids: `u001` and so on."""
    return [f"u{i:03d}" for i in range(1, n + 1)]


def product_ids(n: int) -> list[str]:
    """Return the first n products' ids, as in the dataset: `0` and so on."""
    return [str(i) for i in range(n)]


def dataset_folder() -> Path:
    """Return the folder `obd` in the installed wheel obp.

    Raises:
        DemoPackageMissing: it is not installed, or holds no dataset.
    """
    try:
        distribution = importlib.metadata.distribution("obp")
    except importlib.metadata.PackageNotFoundError:
        raise DemoPackageMissing("obp", "it is not installed") from None
    folder = Path(str(distribution.locate_file("obp/dataset/obd")))
    if not folder.is_dir():
        raise DemoPackageMissing("obp", f"version {distribution.version} carries no dataset; 0.4.1 does")
    return folder


def _read_log(path: Path) -> list[list[str]]:
    """Return the first ten columns of a log; the up to 80 others, left unsplit, are most of the file."""
    try:
        with path.open() as file:
            header, *lines = (line.split(",", len(COLUMNS)) for line in file)
    except (OSError, ValueError) as err:
        raise DemoPackageMissing("obp", f"its dataset cannot be read: {err}") from err
    if header[: len(COLUMNS)] != COLUMNS:
        raise DemoPackageMissing("obp", f"{path.name} has other columns than version 0.4.1")
    return lines
