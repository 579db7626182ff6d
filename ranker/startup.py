"""What a start needs before any worker exists: settings, the model they name, and proof that both can be served.

Owns the checks and the defaults that depend on where the project lies. A leaf: for `service.py`, and for the command
line, which finds what the service would.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from ranker.errors import (
    InvalidSettings,
    ModelUnusable,
    StoreIsCluster,
    StoreUnavailable,
    StoreUnreachable,
)
from ranker.features.store import RedisStore
from ranker.redis.connect import connect
from ranker.redis.connection import RedisConnections
from ranker.redis.url import parse
from ranker.redis.wire.entra import log_in
from ranker.redis.wire.tls import explained
from ranker.redis.wire.url_options import problem
from ranker.scoring import registry
from ranker.settings.destination import Folder, Stream
from ranker.settings.environment import PREFIX, Settings, embedded_redis
from ranker.telemetry import tracing
from ranker.vectors.rows import ProductId, UserId
from ranker.vectors.schema import FeatureSchema

MODEL_FIELDS = ("model", "canary_model", "shadow_model")
"""The settings that name a model; also the labels by which a Bento tells which ones it was built with."""
ELSEWHERE = ("CROSSSLOT", "MOVED", "ASK")
"""What a node of a Cluster answers to whom it does not serve as one server would."""
ASKED_FOR = 16
"""So many products are read at the start: that one of three nodes has them all happens once in 10^8 times."""


class Models(NamedTuple):
    """The stored models that are served, in the order of `MODEL_FIELDS`.

    Attributes:
        main: What ranks.
        canary: What ranks for a part of the users.
        shadow: What ranks a sample again.
    """

    main: registry.StoredModel
    canary: registry.StoredModel | None
    shadow: registry.StoredModel | None


def read(environ: Mapping[str, str], project: Path) -> tuple[Settings, Models]:
    """Read the settings and find the models.

    Args:
        environ: The environment.
        project: The folder of `service.py`: there the demo keeps its Redis, and a Bento its description beside it.

    Raises:
        InvalidSettings, ModelNotFound, ModelUnusable: naming every problem.
    """
    settings = read_settings(environ, project)
    main = registry.find_model(settings.model)
    canary = registry.find_model(settings.canary_model) if settings.canary_model else None
    shadow = registry.find_model(settings.shadow_model) if settings.shadow_model else None
    schema = registry.schema_of(main)
    for other in (canary, shadow):
        if other is not None and (shared := schema.shared_keys(registry.schema_of(other))):
            raise ModelUnusable(str(other.tag), f"beside {main.tag}, {shared}")
    return settings, Models(main, canary, shadow)


def read_settings(environ: Mapping[str, str], project: Path) -> Settings:
    """Read the settings alone; the arguments are those of `read`.

    Raises:
        InvalidSettings: naming every problem.
    """
    if "BENTOML_NO_UDS" in environ:
        raise InvalidSettings(
            ["BENTOML_NO_UDS would open the runner, which accepts pickle, to every local user; unset it"]
        )
    tracing.exporter(environ)
    settings = Settings.from_env(environ, defaults(environ, project))
    _check_feature_log(settings)
    return settings


def check(settings: Settings, models: Models) -> None:
    """Open the models and talk to Redis.

    Raises:
        ModelUnusable: a model does not fit its schema.
        InvalidSettings, StoreUnreachable: Redis cannot be had.
        StoreIsCluster: it is a node of a Cluster, and the URL says that it is one server.
    """
    served = [model for model in models if model is not None]
    for model in served:
        registry.load_model(model)
    log = settings.feature_log_destination
    if isinstance(log, Stream) and (wrong := problem(log.url)) is not None:
        raise InvalidSettings([f"RANKER_FEATURE_LOG {wrong}"])
    check_redis(settings, map(registry.schema_of, served))


def check_redis(settings: Settings, schemas: Iterable[FeatureSchema] = ()) -> None:
    """Talk to Redis, and read as models with these schemas will.

    Raises:
        InvalidSettings, StoreUnreachable, EntraPackageMissing: Redis cannot be had.
        StoreIsCluster: it is a node of a Cluster, and the URL says that it is one server.
    """
    asyncio.run(_check_redis(settings, schemas))


def defaults(environ: Mapping[str, str], project: Path) -> dict[str, str]:
    """Return the settings, by field name, that the place gives where the environment is silent.

    A Bento gives the models it was built with, each in its role. Where the environment names one of them, it names
    them all, so that a canary ends when it becomes the model; then the Bento gives `model` alone.
    """
    registry.use_models_of(project.parent)
    labels = registry.labels_of(project.parent)
    named = any(f"{PREFIX}{field.upper()}" in environ for field in MODEL_FIELDS)
    given = MODEL_FIELDS[:1] if named else MODEL_FIELDS
    return embedded_redis(project) | {field: labels[field] for field in given if field in labels}


def _check_feature_log(settings: Settings) -> None:
    """Refuse a feature log that can never be written; a Redis that is down may yet come, so it is not asked."""
    destination = settings.feature_log_destination
    if isinstance(destination, Folder):
        if find_spec("pyarrow") is None:
            raise InvalidSettings(
                [
                    "RANKER_FEATURE_LOG names a folder, and its files need the package pyarrow: install ranker[files], "
                    "or write to a Redis stream, which needs nothing (stream:KEY)"
                ]
            )
        try:
            destination.path.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise InvalidSettings([f"RANKER_FEATURE_LOG: {err}"]) from None
        if not os.access(destination.path, os.W_OK | os.X_OK):
            raise InvalidSettings([f"RANKER_FEATURE_LOG: {destination.path} cannot be written"])
    # Every worker that begins looks here, and a file may be away for a moment: `check` reads them.
    elif destination is not None and (wrong := problem(destination.url, files=False)) is not None:
        raise InvalidSettings([f"RANKER_FEATURE_LOG {wrong}"])


async def _check_redis(settings: Settings, schemas: Iterable[FeatureSchema]) -> None:
    if (wrong := problem(settings.redis_url)) is not None:
        raise InvalidSettings([f"RANKER_REDIS_URL {wrong}"])
    connections = connect(settings.redis_url, size=1, timeout_s=settings.deadline_ms / 1000)
    try:
        if (auth := parse(settings.redis_url).auth) is not None:
            await asyncio.to_thread(log_in, auth)  # the first token may take longer than an exchange
        await connections.ping()
        if isinstance(connections, RedisConnections):
            for schema in schemas:
                await refuse_cluster(connections, schema, settings.redis_url)
    except StoreUnavailable as err:
        secure = settings.redis_url.lower().startswith("rediss")
        raise StoreUnreachable(connections.where, explained(err.reason, secure=secure)) from None
    finally:
        await connections.close()


async def refuse_cluster(connections: RedisConnections, schema: FeatureSchema, url: str) -> None:
    """Read as requests will, for a node of a Cluster would answer each of them with an error.

    That says more than `INFO`, which not every user may ask: managed services hide a Cluster behind one address, and
    one node reads its own slots for keys that share a hash tag.

    Raises:
        StoreIsCluster: It is one. Other trouble passes, and is no reason not to start.
    """
    try:
        await RedisStore(connections, schema).fetch(UserId("0"), [ProductId(str(i)) for i in range(ASKED_FOR)])
    except StoreUnavailable as err:
        if err.reason.startswith(ELSEWHERE):
            raise StoreIsCluster(connections.where, err.reason, parse(url).as_cluster) from None
