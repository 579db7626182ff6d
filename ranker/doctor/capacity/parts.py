"""Cost of the parts of a model's graph, for one request with stored features, beside that of the whole graph."""

from __future__ import annotations

from contextlib import closing

from ranker.api.predict import PredictRequest
from ranker.ingest.read_back import read_rows
from ranker.ranking.matrix import Assembler
from ranker.redis.clients import connect
from ranker.scoring.loaded import LoadedModel
from ranker.scoring.split.note import Gain
from ranker.splitting.proving.gain import measure_gain
from ranker.vectors.rows import Features


def measure_parts(url: str, model: LoadedModel, request: PredictRequest) -> Gain | None:
    """Measure what the parts take of a core, on one thread; None where the model is served whole.

    Raises:
        StoreUnavailable: Redis does not answer, or refuses.
        ModelError: the model cannot score the rows.
    """
    if model.split is None:
        return None
    with closing(connect(url)) as client:
        user = read_rows(client, model.schema, "user", [str(request.userId)])
        products = read_rows(client, model.schema, "product", request.productIds)
    matrix = Assembler(model.schema).matrix(Features(user, products))
    return measure_gain(model.whole.score, model.split, matrix)
