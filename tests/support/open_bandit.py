"""The Open Bandit Dataset as the wheel obp carries it, joined into what the example shop is made of.

    python -m tests.support.open_bandit

writes `ranker/demo/shop.npz`. The wheel's files are read without importing it: its own dependencies are heavy and
absent.

The dataset's campaigns `men` and `women` number their products anew, but show the same 80 products as `all`: the
standard scores in item_feature_0 and the groups in item_features 1 to 3 admit one matching (up to six pairs of products
that no feature tells apart), and it keeps the order of both campaigns. `BLOCKS` of `ranker.demo.shop` is that matching;
a test holds it to the files. The columns user-item_affinity belong to a single visitor, whom no column identifies, and
are left out.
"""

from __future__ import annotations

import csv
import importlib.metadata
from collections import Counter
from pathlib import Path

import numpy as np

from ranker.demo.shop import BLOCKS, CAMPAIGNS, FILE, Impressions, Shop, product_ids, user_ids

POLICIES = ("bts", "random")
COLUMNS = [
    *("", "timestamp", "item_id", "position", "click", "propensity_score"),
    *("user_feature_0", "user_feature_1", "user_feature_2", "user_feature_3"),
]


def read_dataset(folder: Path) -> Shop:
    """Read the shop from the dataset's folder `obd`."""
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
        product_ids=product_ids(len(items)),
        products=np.array([[item[f"item_feature_{k}"] for k in (1, 2, 3)] for item in items]),
        product_values=np.array([float(item["item_feature_0"]) for item in items]),
        impressions=impressions.where(np.argsort(impressions.times, kind="stable")),
    )


def dataset_folder() -> Path:
    """Return the folder `obd` in the installed wheel obp (requirements/data.txt)."""
    return Path(str(importlib.metadata.distribution("obp").locate_file("obp/dataset/obd")))


def _read_log(path: Path) -> list[list[str]]:
    """Return the first ten columns of a log; the up to 80 others, left unsplit, are most of the file."""
    with path.open() as file:
        header, *lines = (line.split(",", len(COLUMNS)) for line in file)
    assert header[: len(COLUMNS)] == COLUMNS, f"{path.name} has other columns than version 0.4.1"
    return lines


def write(shop: Shop, path: Path) -> None:
    """Write what `ranker.demo.shop` reads."""
    seen = shop.impressions
    np.savez_compressed(
        path,
        microseconds=np.diff(seen.times.astype(np.int64), prepend=0),
        users=seen.users.astype(np.uint16),
        products=seen.products.astype(np.uint8),
        positions=seen.positions.astype(np.uint8),
        campaigns=seen.campaigns.astype(np.uint8),
        clicks=seen.clicks.astype(np.uint8),
        user_features=shop.users,
        product_features=shop.products,
        product_values=shop.product_values,
    )


if __name__ == "__main__":
    write(read_dataset(dataset_folder()), FILE)
