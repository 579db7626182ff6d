"""Layout: what a profile's stored vectors hold, and the graph's inputs that are made of them.

Owns what the contenders must know of stored bytes and of inputs; must not know of Redis or of models, and imports numpy
only, for the contenders import it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

HEADER_BYTES = 8
"""Before the values of a stored vector, of either version."""
INPUTS: Mapping[str, np.dtype[Any]] = {"features": np.dtype(np.float32), "ids": np.dtype(np.int64)}
"""A graph's inputs, the users' columns before the products'; `ids` only where the profile has some."""

Fields = Mapping[str, npt.NDArray[Any]]
"""Input → values, of one row or of several; an array of records is one, too."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What is stored of one entity.

    Attributes:
        features: Float32 values, first.
        ids: Int32 values behind them.
    """

    features: int
    ids: int = 0

    @property
    def width(self) -> int:
        """Columns of both kinds."""
        return self.features + self.ids

    @property
    def record(self) -> np.dtype[Any]:
        """The stored vector, with its inputs as fields."""
        fields = [("header", f"V{HEADER_BYTES}"), ("features", "<f4", (self.features,))]
        return np.dtype([*fields, ("ids", "<i4", (self.ids,))] if self.ids else fields)


@dataclass(frozen=True, slots=True)
class Layout:
    """What is stored of users and products.

    Attributes:
        user: Of a user.
        product: Of a product.
    """

    user: Stored
    product: Stored

    @property
    def inputs(self) -> tuple[str, ...]:
        """The graph's inputs."""
        return ("features", "ids") if self.user.ids or self.product.ids else ("features",)

    def columns(self, name: str) -> list[int]:
        """Return which columns of a user's row, with a product's behind it, make an input."""
        width = self.user.width
        if name == "features":
            return [*range(self.user.features), *range(width, width + self.product.features)]
        return [*range(self.user.features, width), *range(width + self.product.features, width + self.product.width)]

    def feeds(self, users: Fields, products: Fields) -> dict[str, npt.NDArray[Any]]:
        """Return the graph's inputs.

        Args:
            users: One user, values of shape (W,), or the user of each row, (n, W).
            products: The n products, (n, W).
        """
        made = {}
        for name in self.inputs:
            user, product = users[name], products[name]
            width = user.shape[-1]
            rows = np.empty((len(product), width + product.shape[1]), dtype=INPUTS[name])
            rows[:, :width] = user
            rows[:, width:] = product
            made[name] = rows
        return made


LAYOUTS = {
    "light": Layout(Stored(64), Stored(64)),
    "trees": Layout(Stored(32), Stored(32)),
    "deep": Layout(Stored(512), Stored(64)),
    "ids": Layout(Stored(6, 13), Stored(7, 13)),
}
"""By profile."""


def of_environment() -> Layout:
    """Return the layout of the profile that a contender is started for."""
    return LAYOUTS[os.environ["BENCH_PROFILE"]]
