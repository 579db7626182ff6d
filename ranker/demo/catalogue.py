"""Catalogues that `ranker demo` can make: the shop of the Open Bandit Dataset, or a synthetic one.

Owns what each consists of; must not know where models and vectors are kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ranker.demo import shop, synthetic
from ranker.vectors.rows import Matrix
from ranker.vectors.schema import FeatureSchema

Ids = Callable[[int], list[str]]
Say = Callable[[str], None]
Step = Callable[[str], AbstractContextManager[Say]]
"""Announces a step by its title; within it, what comes of it can be said."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All vectors to be loaded, in blocks.

    Attributes:
        schema: What the columns are.
        users: Their number.
        products: Their number.
        user_rows: Makes the users' vectors.
        product_rows: Makes the products' vectors.
        train: Makes the model: the ONNX file, and its figures if it has any.
    """

    schema: FeatureSchema
    users: int
    products: int
    user_rows: Callable[[], Iterable[Matrix]]
    product_rows: Callable[[], Iterable[Matrix]]
    train: Callable[[], tuple[bytes, dict[str, float] | None]]


class Demo(Protocol):
    """One kind of demo."""

    name: str
    """The model's name in the store."""

    user_ids: Ids
    """The first n users' ids."""
    product_ids: Ids
    """The first n products' ids."""

    def recipe(self) -> str:
        """Return a hash of everything that decides what comes out."""
        ...

    def read(self, step: Step) -> Catalogue:
        """Read or make the data."""
        ...


class ShopDemo:
    """The shop of the Open Bandit Dataset."""

    name = "ranker-demo"

    def __init__(self) -> None:
        self.user_ids: Ids = shop.user_ids
        self.product_ids: Ids = shop.product_ids

    def recipe(self) -> str:
        """Return a hash of the data, and of the modules that read, describe and train."""
        return _hash_of("shop.npz", "shop.py", "features.py", "training.py")

    def read(self, step: Step) -> Catalogue:
        """Read the dataset and describe its users and products by the training window."""
        from ranker.demo import features, training

        with step("Reading the Open Bandit Dataset") as say:
            data = shop.read_shop()
            seen = data.impressions
            say(f"{len(seen):,} impressions, {seen.clicks.sum()} clicks")
        with step("Building feature vectors") as say:
            vectors = features.build_vectors(data, training.split(data)[0])
            say(f"{vectors.schema.user.width} user and {vectors.schema.product.width} product features")

        def train() -> tuple[bytes, dict[str, float] | None]:
            trained = training.train(data, vectors)
            return trained.onnx, trained.quality.to_json()

        return Catalogue(
            schema=vectors.schema,
            users=len(data.user_ids),
            products=len(data.product_ids),
            user_rows=lambda: [vectors.users],
            product_rows=lambda: [vectors.products],
            train=train,
        )


class SyntheticDemo:
    """A seeded catalogue of n products, for load tests."""

    name = "ranker-synthetic"

    def __init__(self, n_products: int) -> None:
        self._n_products = n_products
        self.user_ids: Ids = synthetic.user_ids
        self.product_ids: Ids = synthetic.product_ids

    def recipe(self) -> str:
        """Return a hash of the module and the size."""
        return f"{_hash_of('synthetic.py')}-{self._n_products}"

    def read(self, step: Step) -> Catalogue:
        """Return the generators; nothing is made yet."""
        users = min(self._n_products, synthetic.MAX_USERS)
        return Catalogue(
            schema=synthetic.schema(),
            users=users,
            products=self._n_products,
            user_rows=lambda: synthetic.user_rows(users),
            product_rows=lambda: synthetic.product_rows(self._n_products),
            train=lambda: (synthetic.build_model(), None),
        )


def _hash_of(*files: str) -> str:
    digest = hashlib.blake2s(digest_size=8)
    for file in files:
        digest.update((Path(__file__).parent / file).read_bytes())
    return digest.hexdigest()
