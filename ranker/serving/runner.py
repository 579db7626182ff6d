"""Runner: what scores for the API workers of a machine, and the workers' ways to it.

Owns a scorer and a channel for each model that is served, and where the channels' sockets are. Knows nothing of
BentoML: where the runner listens is handed in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

import orjson

from ranker.errors import ModelFailed, RunnerUnavailable
from ranker.process.memory import freeze, keep_freed_memory
from ranker.ranking.explain.explainer import Outputs
from ranker.ranking.rounds.later_scores import ScoreMatrix
from ranker.scoring.channel.client import ChannelClient
from ranker.scoring.channel.server import ChannelServer
from ranker.scoring.channel.shared_rows import SplitWidths
from ranker.scoring.loaded import LoadedModel
from ranker.scoring.registry import StoredModel, load_model, parts_of, schema_of
from ranker.scoring.row_threads import RowThreads
from ranker.scoring.scorer import Scorer
from ranker.scoring.split.model import columns_of
from ranker.scoring.split.parts import Side
from ranker.scoring.split.product_part import ProductPart
from ranker.serving.lone_requests import make_row_threads
from ranker.serving.shadow import ALLOWED_S
from ranker.serving.variant import ServedModel
from ranker.settings.environment import Settings
from ranker.vectors.rows import Matrix, Scores
from ranker.vectors.schema import FeatureSchema

Role = Literal["model", "canary", "shadow"]
METHODS: dict[Role, str] = {"model": "score", "canary": "score_canary", "shadow": "score_shadow"}
"""BentoML's name of the method that scores for a role."""
LASTING = {"max_requests": 1_000_000_000, "max_age": 1e9}
"""BentoML's client of the runner closes its session after max_requests while other calls are still using it."""


class Runner:
    """Scores with each of the models.

    Args:
        models: Role → model.
        settings: As read from the environment.
    """

    def __init__(self, models: Mapping[Role, LoadedModel], settings: Settings) -> None:
        self._whole = {role: Scorer(model.score, background=role == "shadow") for role, model in models.items()}
        alone = {role: make_row_threads(role, model, settings) for role, model in models.items()}
        self._scorers = {role: make_scorer(role, model, alone[role]) for role, model in models.items()}
        rows = room_rows(settings)
        self._channels = {role: make_channel_server(self._scorers[role], model, rows) for role, model in models.items()}

    async def score(self, role: Role, matrix: Matrix) -> Scores:
        """Score rows (n, F); return (n,). For callers who do not come over a channel."""
        return await self._whole[role](matrix)

    async def open(self, url: str | None) -> None:
        """Listen for the API workers of this machine, where BentoML made a socket."""
        keep_freed_memory()
        for role, channel in self._channels.items():
            if path := find_channel_path(url, role):
                await channel.open(path)
        freeze()

    async def unused(self, within_s: float) -> None:
        """Wait until the last API worker is gone, for so many seconds at most."""
        await asyncio.gather(*(channel.unused(within_s) for channel in self._channels.values()))

    async def close(self) -> None:
        """Answer what is in progress, and stop listening."""
        for role, channel in self._channels.items():
            await channel.close()
            self._scorers[role].close()
            self._whole[role].close()


class WaysToScores:
    """An API worker's ways to the models: in this process, a unix socket away, or wherever BentoML put the runner.

    Args:
        settings: As read from the environment.
        url: Where BentoML's own socket of the runner is; None where there is none.
        remote: Returns BentoML's client of the runner, with a method for each role.
    """

    def __init__(self, settings: Settings, url: str | None, remote: Callable[[], Any]) -> None:
        self._settings = settings
        self._url = url
        self._remote = remote
        self._channels: dict[Role, ChannelClient] = {}

    def served(self, role: Role, stored: StoredModel) -> ServedModel:
        """Return a stored model with the way to it."""
        tag, schema = str(stored.tag), schema_of(stored)
        if self._settings.runner == "local":
            model = load_model(stored)
            products = None if model.split is None else model.split.products
            scores = make_scorer(role, model, make_row_threads(role, model, self._settings))
            outputs = outputs_of(schema, lambda: model)
            return ServedModel(tag, schema, scores.begin, products, outputs, scores.begin_alone)
        outputs = outputs_of(schema, lru_cache(maxsize=1)(partial(load_model, stored)))
        if path := find_channel_path(self._url, role):
            parts = parts_of(stored)  # of which the product part runs here, the others in the runner
            products = None if parts is None else ProductPart(parts, schema)
            # Nobody waits for a shadow.
            timeout_s = ALLOWED_S if role == "shadow" else self._settings.deadline_ms / 1000
            channel = make_channel_client(path, schema, products, room_rows(self._settings), timeout_s)
            self._channels[role] = channel
            return ServedModel(tag, schema, channel.begin, products, outputs, partial(channel.begin, alone=True))
        return ServedModel(tag, schema, self._remotely(role), outputs=outputs)  # whole rows, also of a split model

    def _remotely(self, role: Role) -> ScoreMatrix:
        async def ask(matrix: Matrix) -> Scores:
            try:
                scores: Scores = await getattr(self._remote(), METHODS[role])(matrix)
            except Exception as err:  # whatever aiohttp or BentoML raise, the runner did not score
                if getattr(err, "error_code", None) == HTTPStatus.UNPROCESSABLE_ENTITY:
                    raise ModelFailed(len(matrix), _text(str(err))) from err
                raise RunnerUnavailable(f"{type(err).__name__}: {err}") from err
            return scores

        return ask

    async def reachable(self) -> bool:
        """Say no at once when the runner is gone, which BentoML's own probe of it would wait five seconds for."""
        return "model" not in self._channels or await self._channels["model"].reachable()


def outputs_of(schema: FeatureSchema, open_model: Callable[[], LoadedModel]) -> Outputs | None:
    """Return what gives a model's single outputs, in this process; None where the schema has no choice of outputs.

    Args:
        schema: The model's.
        open_model: Opens it, at the first explanation.
    """
    if schema.score is None and schema.output is None:  # with several, one of these says which counts
        return None
    return lambda matrix: open_model().outputs(matrix)


def make_scorer(role: Role, model: LoadedModel, alone: RowThreads | None = None) -> Scorer:
    """Return what scores a round with a model in this process: a matrix, or for a split model its rows."""
    score = model.score if model.split is None else model.split.score_rows
    return Scorer(score, background=role == "shadow", alone=alone)


def make_channel_server(scorer: Scorer, model: LoadedModel, rows: int) -> ChannelServer:
    """Return the runner's end of the way to a model, for calls of so many rows."""
    if model.split is None:
        return ChannelServer(scorer.begin, model.width, rows, begin_alone=scorer.begin_alone)
    return ChannelServer(scorer.begin, model.split.prepared_width, rows, split_widths(model.schema))


def make_channel_client(
    path: Path, schema: FeatureSchema, products: ProductPart | None, rows: int, timeout_s: float
) -> ChannelClient:
    """Return an API worker's end of the way to a model; the product part of a split one runs at this end."""
    if products is None:
        return ChannelClient(path, schema.width, rows, timeout_s=timeout_s)
    return ChannelClient(path, products.width, rows, timeout_s=timeout_s, split=split_widths(schema))


def split_widths(schema: FeatureSchema) -> SplitWidths:
    """Return what a split model's calls bring over a channel beside prepared rows."""
    columns = columns_of(schema)
    return SplitWidths(len(columns[Side.REQUEST]), len(columns[Side.PAIR]))


def room_rows(settings: Settings) -> int:
    """Return the most rows of one call over a channel: a round's, or a whole list's where its rows go together."""
    return max(settings.max_batch_rows, settings.max_products)


def find_channel_path(url: str | None, role: Role) -> Path | None:
    """Return where the runner's channel is: beside the socket that BentoML made for it, if it made one."""
    parts = urlsplit(url or "")
    return Path(unquote(parts.path)).with_suffix(f".{role}.rows") if parts.scheme == "file" else None


def _text(body: str) -> str:
    """Return what the model raised, of the body of BentoML's answer: an object, or a list with one."""
    try:
        (error,) = orjson.loads(body) if body.startswith("[") else (orjson.loads(body),)
        return str(error["error"])
    except (ValueError, LookupError, TypeError):
        return body
