"""Models of frameworks, split as an import splits them and served by a worker: its rankings are the frameworks' own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import lightgbm
import numpy as np
import pytest
from onnx import helper
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType
from redis import Redis
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ranker.api.predict import PredictRequest
from ranker.importing.compile import compile_graph
from ranker.importing.splitting.split import Split, split
from ranker.scoring.model import OnnxModel
from ranker.scoring.registry import find_model, load_model, store_model
from ranker.scoring.split.files import SplitChoice
from ranker.scoring.split.note import Note
from ranker.serving.worker import Worker
from ranker.vectors.schema import FeatureSchema
from ranker.vectors.stored.encoding import encode
from tests.support.models import onnx_bytes, schema_of_width, temporary_model_store, tensor
from tests.support.sample import run
from tests.support.serving import serving

USER, PRODUCT, USERS, PRODUCTS = 6, 5, 4, 80
SCHEMA = schema_of_width(USER, PRODUCT)
Own = Callable[[np.ndarray], np.ndarray]


@dataclass
class Trained:
    """A model as its framework exports it, and what the framework itself gives, float64."""

    graph: bytes
    own: Own
    schema: FeatureSchema = SCHEMA


def rows(n: int = 1500) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    features = rng.standard_normal((n, USER + PRODUCT)).astype(np.float32)
    return features, (features[:, 0] * features[:, USER] + features[:, 2] + rng.standard_normal(n) > 0).astype(int)


def lightgbm_with_missing_values() -> Trained:
    features, clicked = rows()
    features[np.random.default_rng(8).random(features.shape) < 0.1] = np.nan
    given = {"objective": "binary", "num_leaves": 31, "verbose": -1, "num_threads": 1, "min_data_in_leaf": 5}
    booster = lightgbm.train(given, lightgbm.Dataset(features, clicked), 30)
    kinds = [("features", FloatTensorType([None, USER + PRODUCT]))]
    graph = convert_lightgbm(booster, initial_types=kinds, zipmap=False, target_opset=15).SerializeToString()
    return Trained(graph, booster.predict)


def pipeline(last: object) -> Trained:
    features, clicked = rows()
    fitted = make_pipeline(StandardScaler(), last).fit(features, clicked)
    graph = to_onnx(fitted, features[:1], options={id(fitted): {"zipmap": False}}, target_opset=17).SerializeToString()
    return Trained(graph, lambda matrix: fitted.predict_proba(matrix)[:, 1])


def two_towers() -> Trained:
    rng = np.random.default_rng(9)
    user, product = (rng.standard_normal((width, 8)).astype(np.float32) for width in (USER, PRODUCT))
    nodes = [
        helper.make_node("MatMul", ["user", "wu"], ["u"]),
        helper.make_node("Tanh", ["u"], ["of_user"]),
        helper.make_node("MatMul", ["product", "wp"], ["p"]),
        helper.make_node("Tanh", ["p"], ["of_product"]),
        helper.make_node("Mul", ["of_user", "of_product"], ["both"]),
        helper.make_node("ReduceSum", ["both", "axes"], ["scores"], keepdims=1),
    ]
    inputs = [tensor("user", ["n", USER]), tensor("product", ["n", PRODUCT])]
    constants = {"wu": user, "wp": product, "axes": np.array([1])}
    graph = onnx_bytes(nodes, inputs, [tensor("scores", ["n", 1])], constants)

    def own(matrix: np.ndarray) -> np.ndarray:
        wide = matrix.astype(np.float64)
        return (np.tanh(wide[:, :USER] @ user) * np.tanh(wide[:, USER:] @ product)).sum(axis=1)

    return Trained(graph, own)


def formula_over_two_heads() -> Trained:
    found = two_towers()
    schema = FeatureSchema.from_mapping(SCHEMA.to_metadata() | {"score": "scores * 2 + log1p(max(p0, 0)) * u1"})

    def own(matrix: np.ndarray) -> np.ndarray:
        wide = matrix.astype(np.float64)
        return found.own(matrix) * 2 + np.log1p(np.maximum(wide[:, USER], 0)) * wide[:, 1]

    return Trained(compile_graph(found.graph, schema), own, schema)


MODELS = {
    "lightgbm": lightgbm_with_missing_values,
    "logistic regression": lambda: pipeline(LogisticRegression()),
    "network": lambda: pipeline(MLPClassifier((24, 8), max_iter=30, random_state=0)),
    "two towers": two_towers,
    "formula": formula_over_two_heads,
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("shape", ["local", "service"])
@pytest.mark.parametrize("name", MODELS)
def test_served_rankings_are_the_frameworks_own(
    name: str, shape: str, redis_url: str, redis_client: Redis, tmp_path: Path, short_path: Path
) -> None:
    trained = MODELS[name]()
    schema, whole = trained.schema, OnnxModel(trained.graph, trained.schema)
    made = split(trained.graph, whole.inputs, whole.output, schema)
    assert isinstance(made, Split), made
    rng = np.random.default_rng(3)
    users = rng.standard_normal((USERS, USER)).astype(np.float32)
    products = rng.standard_normal((PRODUCTS, PRODUCT)).astype(np.float32)
    if name == "lightgbm":
        products[rng.random(products.shape) < 0.1] = np.nan
    for entity, stored in (("user", users), ("product", products)):
        redis_client.mset({f"{entity}:{i}": row for i, row in enumerate(encode(stored, schema.fingerprint))})

    async def test() -> None:
        with temporary_model_store(tmp_path):
            tag, _ = store_model(trained.graph, schema, "m", "1", split=SplitChoice(Note(), made.parts))
            offline = load_model(find_model(tag))
            async with serving(tag, shape, redis_url, short_path) as worker:
                cold, held = [await asyncio.gather(*(ask(worker, user) for user in range(USERS))) for _ in range(2)]
            for user, first, second in zip(range(USERS), cold, held, strict=True):
                np.testing.assert_array_equal(first, second)
                matrix = np.hstack((np.repeat(users[user : user + 1], PRODUCTS, axis=0), products))
                np.testing.assert_array_equal(first, offline.score(matrix))  # so `log replay` finds the same bits
                own = trained.own(matrix)
                np.testing.assert_allclose(first, own, rtol=1e-4, atol=2e-5)
                for better, worse in np.column_stack((np.argsort(-own)[:-1], np.argsort(-own)[1:])):
                    assert first[better] >= first[worse] or own[better] - own[worse] < 2e-5

    run(test, seconds=60)


async def ask(worker: Worker, user: int) -> np.ndarray:
    request = PredictRequest(userId=str(user), productIds=[str(i) for i in range(PRODUCTS)])
    answer = await worker.rank(request)
    assert (answer.degraded_reason, answer.missing, answer.missing_user) == (None, [], False)
    assert answer.ranking == [request.productIds[i] for i in np.argsort(-answer.row_scores, kind="stable")]
    return answer.row_scores
