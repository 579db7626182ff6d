"""What libraries export by default, imported with a suggested or short schema, scores their own frames as they do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from ranker.importing.suggesting.suggestion import suggest
from ranker.training.importing import import_model
from tests.support.models import temporary_model_store
from tests.unit.scoring.test_model import quiet

N = 300


@pytest.fixture(autouse=True)
def store(tmp_path: Path) -> Iterator[None]:
    with temporary_model_store(tmp_path):
        yield


def shop_frame(seed: int = 0) -> pd.DataFrame:
    """Rows in the order of no group, as training frames are."""
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "price": random.random(N, dtype=np.float32) * 100,
            "age": random.integers(18, 80, N).astype(np.float32),
            "brand": random.choice(["acme", "best", "core"], N),
            "stock": random.integers(0, 50, N),
            "segment": random.choice(["new", "vip"], N),
            "spend": random.random(N, dtype=np.float32),
        }
    )


def clicked(frame: pd.DataFrame) -> np.ndarray:
    found: np.ndarray = ((frame.spend > 0.4) ^ (frame.segment == "vip") ^ (frame.price > 50)).to_numpy().astype(int)
    return found


def test_a_pipeline_over_a_frame_with_texts_scores_the_frame() -> None:
    from skl2onnx import to_onnx
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    frame = shop_frame()
    steps = [
        ("numbers", StandardScaler(), ["price", "age", "stock", "spend"]),
        ("texts", OneHotEncoder(handle_unknown="ignore"), ["brand", "segment"]),
    ]
    with quiet():
        pipeline = make_pipeline(ColumnTransformer(steps), LogisticRegression()).fit(frame, clicked(frame))
        content = to_onnx(pipeline, frame[:1]).SerializeToString()  # its default: an input for each column, a ZipMap
    schema = yaml.safe_load(suggest(content))
    for feature in ("spend",):  # the suggestion asks; its owner moves what is the user's
        schema["user"]["features"].append(feature)
        schema["product"]["features"].remove(feature)
    with quiet():
        rows = frame.assign(y=pipeline.predict_proba(frame)[:, 1])
    model = import_model(content, schema, name="texts", check=rows, score_column="y")
    fresh = shop_frame(seed=1)
    with quiet():
        np.testing.assert_allclose(model.score(fresh), pipeline.predict_proba(fresh)[:, 1], atol=1e-5)


@pytest.mark.parametrize("kind", ["ranker", "classifier"])
def test_trees_with_nan_over_a_frame_in_its_own_order_score_the_frame(kind: str) -> None:
    import lightgbm
    import onnxmltools
    from onnxmltools.convert.common.data_types import FloatTensorType

    names = ["price", "age", "stock", "spend"]
    frame = shop_frame()
    numbers = frame[names].astype(np.float32)
    numbers.loc[::7, "price"] = np.nan
    options: dict[str, Any] = {"n_estimators": 20, "num_leaves": 7, "n_jobs": 1, "verbose": -1}
    with quiet():
        if kind == "ranker":
            trees = lightgbm.LGBMRanker(**options).fit(numbers, clicked(frame), group=[30] * (N // 30))
            expected = trees.predict(numbers)
        else:
            trees = lightgbm.LGBMClassifier(**options).fit(numbers, clicked(frame))
            expected = trees.predict_proba(numbers)[:, 1]
        types = [("input", FloatTensorType([None, 4]))]
        content = onnxmltools.convert_lightgbm(trees, initial_types=types).SerializeToString()
    schema = {
        "user": {"features": ["age", "spend"], "missing": "nan"},
        "product": {"features": ["price", "stock"], "missing": "nan"},
        "columns": names,
    }
    model = import_model(content, schema, name="trees", check=numbers.assign(y=expected), score_column="y")
    np.testing.assert_allclose(model.score(numbers), expected, atol=1e-5)
