"""XGBoost ranker (rank:ndcg) with missing values, by onnxmltools.

onnxmltools converts no XGBRanker, and of its booster it makes a classifier whose scores are 0 and 1. What scores as the
ranker does is its booster as a regressor's.
"""

from __future__ import annotations

from pathlib import Path

import onnxmltools
import shop
import xgboost
from onnxmltools.convert.common.data_types import FloatTensorType

COLUMNS = ["age", "spend", "visits", "price", "stock", "rating"]


def train(folder: Path) -> None:
    """Train, export, and write the files; `booster.onnx` is the one that scores otherwise."""
    users, products = shop.make_shop()
    shown = shop.join(shop.draw_pairs(400, 20, seed=1), users, products)
    ranker = xgboost.XGBRanker(objective="rank:ndcg", n_estimators=60, max_depth=4, n_jobs=1, random_state=0)
    ranker.fit(shown[COLUMNS].to_numpy(), shop.draw_clicks(shown), qid=shown.list)

    inputs = [("features", FloatTensorType([None, len(COLUMNS)]))]
    regressor = xgboost.XGBRegressor()
    regressor._Booster = ranker.get_booster()
    onnx = onnxmltools.convert_xgboost(regressor, initial_types=inputs)
    (folder / "model.onnx").write_bytes(onnx.SerializeToString())
    booster = onnxmltools.convert_xgboost(ranker.get_booster(), initial_types=inputs)
    (folder / "booster.onnx").write_bytes(booster.SerializeToString())

    rows = shop.join(shop.draw_pairs(shop.LISTS, shop.LENGTH, seed=2), users, products)
    shop.write_files(folder, users, products, rows, ranker.predict(rows[COLUMNS].to_numpy()))


if __name__ == "__main__":
    shop.run(train)
