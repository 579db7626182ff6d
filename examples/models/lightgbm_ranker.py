"""LightGBM ranker (lambdarank) with missing values and categorical columns, by onnxmltools' own call.

The frame's columns lie as they were joined, users' and products' mixed: the schema's `columns:` has their order.
"""

from __future__ import annotations

from pathlib import Path

import lightgbm
import onnxmltools
import pandas as pd
import shop
from onnxmltools.convert.common.data_types import FloatTensorType

COLUMNS = ["age", "brand", "on_sale", "price", "rating", "segment", "spend", "stock"]
CATEGORIES = {
    "brand": ["acme", "globex", "initech", "umbrella", "wonka"],
    "segment": ["new", "regular", "vip"],
}
"""In the order of their codes, as in the schema."""


def as_trained(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the training frame: categories with fixed codes."""
    kinds = {name: pd.CategoricalDtype(texts) for name, texts in CATEGORIES.items()}
    return rows[COLUMNS].astype(kinds)


def train(folder: Path) -> None:
    """Train, export, and write the files."""
    users, products = shop.make_shop()
    shown = shop.join(shop.draw_pairs(400, 20, seed=1), users, products)
    ranker = lightgbm.LGBMRanker(n_estimators=80, num_leaves=15, verbose=-1, n_jobs=1, random_state=0)
    ranker.fit(as_trained(shown), shop.draw_clicks(shown), group=shown.groupby("list").size())

    onnx = onnxmltools.convert_lightgbm(ranker, initial_types=[("features", FloatTensorType([None, len(COLUMNS)]))])
    (folder / "model.onnx").write_bytes(onnx.SerializeToString())

    rows = shop.join(shop.draw_pairs(shop.LISTS, shop.LENGTH, seed=2), users, products)
    shop.write_files(folder, users, products, rows, ranker.predict(as_trained(rows)))


if __name__ == "__main__":
    shop.run(train)
