"""scikit-learn pipeline on a data frame: imputer, scaler and one-hot encoder inside, by skl2onnx's own call.

The graph has one input per column, numbers and texts; each takes the feature of its name.
"""

from __future__ import annotations

from pathlib import Path

import shop
from skl2onnx import to_onnx
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

NUMBERS = ["age", "spend", "price", "rating"]
TEXTS = ["segment", "city", "brand"]
WHOLE = ["visits", "stock"]


def train(folder: Path) -> None:
    """Train, export, and write the files."""
    users, products = shop.make_shop()
    shown = shop.join(shop.draw_pairs(400, 20, seed=1), users, products)
    pipeline = make_pipeline(
        make_column_transformer(
            (make_pipeline(SimpleImputer(), StandardScaler()), NUMBERS),
            (StandardScaler(), WHOLE),
            (OneHotEncoder(handle_unknown="ignore"), TEXTS),
        ),
        LogisticRegression(),
    )
    columns = [*NUMBERS, *WHOLE, *TEXTS]
    pipeline.fit(shown[columns], shop.draw_clicks(shown))

    # From float32: ONNX Runtime has no imputer for doubles.
    example = shown[columns][:1].astype(dict.fromkeys(NUMBERS, "float32"))
    (folder / "model.onnx").write_bytes(to_onnx(pipeline, example).SerializeToString())

    rows = shop.join(shop.draw_pairs(shop.LISTS, shop.LENGTH, seed=2), users, products)
    shop.write_files(folder, users, products, rows, pipeline.predict_proba(rows[columns])[:, 1])


if __name__ == "__main__":
    shop.run(train)
