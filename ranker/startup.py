"""What a start needs before any worker exists: settings, the model they name, and proof that both can be served.

Owns the checks and the defaults that depend on where the project lies. A leaf: for `service.py`, and for the command
line, which finds what the service would.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ranker import access, registry, tracing
from ranker.address import parse
from ranker.credentials import log_in
from ranker.errors import InvalidSettings, ModelUnusable, StoreUnavailable, StoreUnreachable
from ranker.settings import PREFIX, Settings, embedded_redis
from ranker.tls import explained

MODEL_FIELDS = ("model", "canary_model", "shadow_model")
"""The settings that name a model; also the labels by which a Bento tells which ones it was built with."""


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
    return Settings.from_env(environ, defaults(environ, project))


def check(settings: Settings, models: Models) -> None:
    """Open the models and talk to Redis.

    Raises:
        ModelUnusable: a model does not fit its schema.
        InvalidSettings, StoreUnreachable: Redis cannot be had.
    """
    for model in models:
        if model is not None:
            registry.load_model(model)
    check_redis(settings)


def check_redis(settings: Settings) -> None:
    """Talk to Redis.

    Raises:
        InvalidSettings, StoreUnreachable, EntraPackageMissing: Redis cannot be had.
    """
    asyncio.run(_ping(settings))


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


async def _ping(settings: Settings) -> None:
    try:
        connections = access.connect(settings.redis_url, size=1, timeout_s=settings.deadline_ms / 1000)
    except ValueError:  # its message may quote the URL
        raise InvalidSettings(["RANKER_REDIS_URL has an option that redis-py does not take"]) from None
    try:
        if (auth := parse(settings.redis_url).auth) is not None:
            await asyncio.to_thread(log_in, auth)  # the first token may take longer than an exchange
        await connections.ping()
    except StoreUnavailable as err:
        secure = settings.redis_url.lower().startswith("rediss")
        raise StoreUnreachable(connections.where, explained(err.reason, secure=secure)) from None
    finally:
        await connections.close()
