"""A made-up shop: what the examples train on, and the files that `ranker` reads.

Run with an example's name it would be your own data: users and products with an id each, and who was shown what.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

USERS, PRODUCTS = 60, 120
LISTS, LENGTH = 10, 20
"""Of the pairs that are compared."""


def make_shop(seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return users (id, age, spend, visits, segment, city) and products (id, price, stock, rating, brand, on_sale).

    Some do not say how old they are, and some products have no rating yet.
    """
    random = np.random.default_rng(seed)
    users = pd.DataFrame(
        {
            "id": [f"u{i}" for i in range(USERS)],
            "age": random.integers(18, 80, USERS).astype(float),
            "spend": random.gamma(2, 100, USERS).round(2),
            "visits": random.integers(0, 400, USERS),
            "segment": random.choice(["new", "regular", "vip"], USERS),
            "city": random.choice(["Berlin", "Köln", "München", "Wien"], USERS),
        }
    )
    products = pd.DataFrame(
        {
            "id": [f"p{i}" for i in range(PRODUCTS)],
            "price": random.gamma(3, 20, PRODUCTS).round(2),
            "stock": random.integers(0, 50, PRODUCTS),
            "rating": random.uniform(1, 5, PRODUCTS).round(1),
            "brand": random.choice(["acme", "globex", "initech", "umbrella", "wonka"], PRODUCTS),
            "on_sale": random.random(PRODUCTS) < 0.2,
        }
    )
    users.loc[random.random(USERS) < 0.2, "age"] = np.nan
    products.loc[random.random(PRODUCTS) < 0.25, "rating"] = np.nan
    return users, products


def draw_pairs(lists: int, length: int, seed: int) -> pd.DataFrame:
    """Return lists of products that a user each was shown: (list, user_id, product_id), list by list."""
    random = np.random.default_rng(seed)
    shown = [random.choice(PRODUCTS, length, replace=False) for _ in range(lists)]
    return pd.DataFrame(
        {
            "list": np.repeat(np.arange(lists), length),
            "user_id": np.repeat([f"u{i}" for i in random.integers(0, USERS, lists)], length),
            "product_id": [f"p{i}" for i in np.concatenate(shown)],
        }
    )


def join(pairs: pd.DataFrame, users: pd.DataFrame, products: pd.DataFrame) -> pd.DataFrame:
    """Return the pairs with their features, row by row."""
    return pairs.merge(users.rename(columns={"id": "user_id"}), "left").merge(
        products.rename(columns={"id": "product_id"}), "left"
    )


def draw_clicks(rows: pd.DataFrame, seed: int = 3) -> np.ndarray:
    """Return who clicked, 0 or 1, shape (n,): the rich like what is dear, all like what is on sale and well rated."""
    wanted = (rows.spend / 4 - rows.price) / 40 + rows.on_sale * 1.5 + rows.rating.fillna(2.5) - 3
    wanted += (rows.segment == "vip") * (rows.brand == "wonka") * 2 - (rows.age.fillna(90) > 65) * 0.5
    return np.random.default_rng(seed).binomial(1, 1 / (1 + np.exp(-wanted)))


def write_files(
    folder: Path, users: pd.DataFrame, products: pd.DataFrame, rows: pd.DataFrame, prediction: np.ndarray
) -> None:
    """Write what `ranker features load` and `ranker model import --check` read."""
    users.to_parquet(folder / "users.parquet")
    products.to_parquet(folder / "products.parquet")
    rows.assign(prediction=np.asarray(prediction, dtype=np.float64)).to_parquet(folder / "rows.parquet")


def run(train: Callable[[Path], None]) -> None:
    """Train into the folder that the command line names, or into the present one."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    folder.mkdir(parents=True, exist_ok=True)
    train(folder)
    print(f"Wrote model.onnx, users.parquet, products.parquet and rows.parquet into {folder}.")
