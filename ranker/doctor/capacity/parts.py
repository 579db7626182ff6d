"""Cost of the parts of a model's graph, for one request with stored features, beside that of the whole graph."""

from __future__ import annotations

from contextlib import closing
from functools import partial

from ranker.api.predict import PredictRequest
from ranker.features.groups.rows import read_groups
from ranker.importing.splitting.proving.gain import measure_gain
from ranker.ingest.read_back import read_rows
from ranker.ranking.context.key_texts import KeyTexts
from ranker.ranking.matrix import Assembler, GroupColumns
from ranker.redis.clients import connect
from ranker.scoring.loaded import LoadedModel
from ranker.scoring.split.note import Gain
from ranker.vectors.rows import Ask, Features, ProductId, UserId


def measure_parts(url: str, model: LoadedModel, request: PredictRequest) -> Gain | None:
    """Measure what the parts take of a core, on one thread; None where the model is served whole.

    Raises:
        StoreUnavailable: Redis does not answer, or refuses.
        ModelError: the model cannot score the rows.
    """
    if model.split is None:
        return None
    schema = model.schema
    texts = KeyTexts(schema).read(request.context, request.zipCode)
    ask = Ask(UserId(str(request.userId)), [ProductId(i) for i in request.productIds], texts)
    with closing(connect(url)) as client:
        rows_of = partial(read_rows, client, schema)
        features = Features(rows_of("user", [str(request.userId)]), rows_of("product", request.productIds))
        read_groups(schema, ask, features, rows_of)
    matrix = Assembler(schema).matrix(features, GroupColumns(schema).fill(None, features))
    return measure_gain(model.whole.score, model.split, matrix)
