"""CatBoost classifier of numbers, by CatBoost's own ONNX writer, which always gives a list of dictionaries (ZipMap)."""

from __future__ import annotations

from pathlib import Path

import catboost
import shop

COLUMNS = ["age", "spend", "visits", "price", "stock", "rating"]


def train(folder: Path) -> None:
    """Train, export, and write the files."""
    users, products = shop.make_shop()
    shown = shop.join(shop.draw_pairs(400, 20, seed=1), users, products)
    model = catboost.CatBoostClassifier(
        iterations=80, depth=5, thread_count=1, random_seed=0, verbose=False, allow_writing_files=False
    )
    model.fit(shown[COLUMNS].to_numpy(), shop.draw_clicks(shown))

    model.save_model(str(folder / "model.onnx"), format="onnx")

    rows = shop.join(shop.draw_pairs(shop.LISTS, shop.LENGTH, seed=2), users, products)
    shop.write_files(folder, users, products, rows, model.predict_proba(rows[COLUMNS].to_numpy())[:, 1])


if __name__ == "__main__":
    shop.run(train)
