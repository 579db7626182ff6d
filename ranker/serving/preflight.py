"""Preflight: proof, before any worker exists, that what the settings name can be served."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterable
from importlib.util import find_spec

from ranker.errors import InvalidSettings, StoreIsCluster, StoreUnavailable, StoreUnreachable
from ranker.features.store import RedisStore
from ranker.redis.connect import connect
from ranker.redis.connection import RedisConnections
from ranker.redis.url import parse
from ranker.redis.wire.entra import log_in
from ranker.redis.wire.tls import explain_error
from ranker.redis.wire.url_options import find_problem
from ranker.scoring import registry
from ranker.settings.destination import Folder, Stream
from ranker.settings.environment import Settings
from ranker.vectors.schema import FeatureSchema

logger = logging.getLogger(__name__)
logger.setLevel(logging.INFO)  # BentoML lets warnings through alone, and this is said once a start

ELSEWHERE = ("CROSSSLOT", "MOVED", "ASK")
"""Errors with which a node of a Cluster refuses to serve as one server would."""
ASKED_FOR = 16
"""Products read at the start: that one of three nodes has them all happens once in 10^8 times."""


def check(settings: Settings, models: Iterable[registry.StoredModel | None]) -> None:
    """Open the models and talk to Redis.

    Raises:
        ModelUnusable: a model does not fit its schema.
        InvalidSettings, StoreUnreachable: Redis cannot be had.
        StoreIsCluster: it is a node of a Cluster, and the URL says that it is one server.
    """
    served = [model for model in models if model is not None]
    for model in served:
        loaded = registry.load_model(model)
        because = loaded.note.whole_because if loaded.split is None else ""
        logger.info("Model %s scores %s%s", model.tag, loaded.served_as, because and f": {because}")
    log = settings.feature_log_destination
    if isinstance(log, Stream) and (wrong := find_problem(log.url)) is not None:
        raise InvalidSettings([f"RANKER_FEATURE_LOG {wrong}"])
    check_redis(settings, map(registry.schema_of, served))


def check_redis(settings: Settings, schemas: Iterable[FeatureSchema] = ()) -> None:
    """Talk to Redis, and read as models with these schemas will.

    Raises:
        InvalidSettings, StoreUnreachable, EntraPackageMissing: Redis cannot be had.
        StoreIsCluster: it is a node of a Cluster, and the URL says that it is one server.
    """
    asyncio.run(_check_redis(settings, schemas))


def check_feature_log(settings: Settings) -> None:
    """Refuse a feature log that can never be written; a Redis that is down may yet come, so it is not asked."""
    destination = settings.feature_log_destination
    if isinstance(destination, Folder):
        if find_spec("pyarrow") is None:
            raise InvalidSettings(
                [
                    "RANKER_FEATURE_LOG names a folder, and its files need the package pyarrow: install "
                    "'bento-ranker[files]', or write to a Redis stream, which needs nothing (stream:KEY)"
                ]
            )
        try:
            destination.path.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise InvalidSettings([f"RANKER_FEATURE_LOG: {err}"]) from None
        if not os.access(destination.path, os.W_OK | os.X_OK):
            raise InvalidSettings([f"RANKER_FEATURE_LOG: {destination.path} cannot be written"])
    # Every worker that begins looks here, and a file may be away for a moment: `check` reads them.
    elif destination is not None and (wrong := find_problem(destination.url, files=False)) is not None:
        raise InvalidSettings([f"RANKER_FEATURE_LOG {wrong}"])


async def _check_redis(settings: Settings, schemas: Iterable[FeatureSchema]) -> None:
    if (wrong := find_problem(settings.redis_url)) is not None:
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
        raise StoreUnreachable(connections.where, explain_error(err.reason, secure=secure)) from None
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
        await RedisStore(connections, schema).products.read([str(i) for i in range(ASKED_FOR)])
    except StoreUnavailable as err:
        if err.reason.startswith(ELSEWHERE):
            raise StoreIsCluster(connections.where, err.reason, parse(url).as_cluster) from None
