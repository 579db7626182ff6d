"""Profile: a model with its schema and rows, and how its trainer scores.

Owns what is ranked by; where it is stored, and who serves it, is the harness's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pandas as pd

from benchmarks.profiles import networks
from benchmarks.profiles.layout import LAYOUTS, Layout
from ranker.demo import synthetic
from ranker.vectors.rows import Matrix
from ranker.vectors.schema import FeatureSchema

SEED = 20280
Scorer = Callable[[Matrix, Matrix], npt.NDArray[np.floating[Any]]]
"""A user (W,) and n products (n, W) to the n scores that the trainer's own model gives."""


@dataclass(frozen=True, slots=True)
class Profile:
    """One profile.

    Attributes:
        name: As in the results.
        features: How many there are, in words.
        model: What it is, in words.
        build: Writes `model.onnx` into a directory, and returns how its trainer scores.
    """

    name: str
    features: str
    model: str
    build: Callable[[Path], Scorer]

    @property
    def layout(self) -> Layout:
        return LAYOUTS[self.name]

    def names(self, *, of_users: bool) -> tuple[list[str], list[str]]:
        """Return the names of features and of ids, in the order of the columns."""
        stored, kind = (self.layout.user, "user") if of_users else (self.layout.product, "product")
        return [f"{kind}_{i:02d}" for i in range(stored.features)], [f"{kind}_id_{i:02d}" for i in range(stored.ids)]

    def mapping(self) -> dict[str, Any]:
        """Return the schema as `schema.yaml` has it; users' features stand before products' in each input."""
        schema: dict[str, Any] = {}
        inputs: dict[str, list[str]] = {name: [] for name in self.layout.inputs}
        for kind in ("user", "product"):
            floats, ids = self.names(of_users=kind == "user")
            schema[kind] = {"features": [*floats, *({"name": name, "type": "int32"} for name in ids)]}
            for name, names in zip(inputs, (floats, ids), strict=False):
                inputs[name] += names
        return schema | ({"inputs": inputs} if len(inputs) > 1 else {})

    def schema(self) -> FeatureSchema:
        """Return the schema."""
        return FeatureSchema.from_mapping(self.mapping())

    def write_schema(self, path: Path) -> None:
        """Write `schema.yaml`: JSON is YAML."""
        path.write_text(json.dumps(self.mapping(), indent=1) + "\n")

    def user_rows(self, n: int) -> Matrix:
        """Return the first n users' rows (n, W), ids behind features."""
        return _concatenate(synthetic.user_rows(n)) if self.name == "light" else self._rows(n, of_users=True)

    def product_rows(self, n: int) -> Matrix:
        """Return the first n products' rows (n, W)."""
        return _concatenate(synthetic.product_rows(n)) if self.name == "light" else self._rows(n, of_users=False)

    def frame(self, rows: Matrix, *, of_users: bool) -> Matrix | pd.DataFrame:
        """Return rows as a feature writer takes them: with ids, whole numbers in a data frame."""
        floats, ids = self.names(of_users=of_users)
        if not ids:
            return rows
        return pd.DataFrame(rows, columns=[*floats, *ids]).astype(dict.fromkeys(ids, np.int32))

    def _rows(self, n: int, *, of_users: bool) -> Matrix:
        stored = self.layout.user if of_users else self.layout.product
        random = np.random.default_rng([SEED, *self.name.encode(), of_users])
        rows = random.standard_normal((n, stored.width), dtype=np.float32)
        if stored.ids:
            tables = networks.table_rows()
            tables = tables[: stored.ids] if of_users else tables[-stored.ids :]
            rows[:, stored.features :] = random.integers(0, tables, (n, stored.ids))
        return rows


def as_fields(layout: Layout, rows: Matrix, *, of_users: bool) -> dict[str, Matrix]:
    """Return the inputs' parts of rows (n, W) or of one row (W,)."""
    stored = layout.user if of_users else layout.product
    return {"features": rows[..., : stored.features], "ids": rows[..., stored.features :]}


def _concatenate(blocks: Iterator[Matrix]) -> Matrix:
    return np.concatenate(list(blocks))


def _of_graph(name: str, build: Callable[[], bytes]) -> Callable[[Path], Scorer]:
    """Return a builder of a graph that is its own trainer's model."""

    def write(directory: Path) -> Scorer:
        path = directory / "model.onnx"
        path.write_bytes(build())
        session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        layout = LAYOUTS[name]

        def score(user: Matrix, products: Matrix) -> npt.NDArray[np.floating[Any]]:
            users, items = as_fields(layout, user, of_users=True), as_fields(layout, products, of_users=False)
            scores: npt.NDArray[np.floating[Any]] = session.run(None, layout.feeds(users, items))[0]
            return scores.reshape(-1)

        return score

    return write


def _write_forest(directory: Path) -> Scorer:
    from benchmarks.profiles import forest  # LightGBM is imported where it is needed: it takes a second

    booster_file = directory / "booster.txt"
    (directory / "model.onnx").write_bytes(forest.build(booster_file))
    booster = forest.lightgbm.Booster(model_file=booster_file)

    def score(user: Matrix, products: Matrix) -> npt.NDArray[np.floating[Any]]:
        rows = np.hstack([np.broadcast_to(user, (len(products), len(user))), products])
        scores: npt.NDArray[np.floating[Any]] = booster.predict(rows, num_threads=1)
        return scores

    return score


PROFILES = {
    profile.name: profile
    for profile in (
        Profile(
            "light",
            "64 + 64",
            "network of one hidden layer of 32 units",
            _of_graph("light", synthetic.build_model),
        ),
        Profile("trees", "32 + 32", "LightGBM of 500 trees with 63 leaves", _write_forest),
        Profile(
            "deep",
            "512 + 64",
            "network of hidden layers of 512, 256 and 64 units",
            _of_graph("deep", networks.build_deep),
        ),
        Profile(
            "ids",
            "13 dense + 26 id",
            "DLRM: embeddings of 16, products of all pairs, a network of 256 and 64 units above",
            _of_graph("ids", networks.build_ids),
        ),
    )
}
