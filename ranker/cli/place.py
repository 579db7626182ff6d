"""Defaults of commands: the settings, as the service reads them, and a model's schema, where nothing is told."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import TYPE_CHECKING

from ranker.settings.environment import Settings, embedded_redis
from ranker.settings.variables import PREFIX
from ranker.vectors.schema import FeatureSchema

if TYPE_CHECKING:
    from ranker.redis.clients import Client

PROJECT = Path(__file__).resolve().parents[2]


def settings() -> Settings:
    """Return the settings; without RANKER_REDIS_URL, the working folder's demo is found, as the service finds it.

    Raises:
        InvalidSettings: naming every unknown and every invalid variable.
    """
    return Settings.from_env(os.environ, embedded_redis())


def setting(name: str) -> str:
    """Return the default of an option that stands for a setting, as its help names it."""
    return f"{PREFIX}{name.upper()}, else {Settings.model_fields[name].default}"


def schema(model: str | None) -> FeatureSchema:
    """Return the feature schema of a model, by default of the one that would be served, or a YAML file's.

    Raises:
        StartupError: there is none.
    """
    from ranker.ingest.schema_source import find_schema

    return find_schema(model or served_model())


def served_model() -> str:
    """Return the tag of the model that would be served from here.

    Raises:
        InvalidSettings: naming every unknown and every invalid variable.
    """
    return Settings.from_env(os.environ, defaults()).model


def defaults() -> dict[str, str]:
    """Return the settings, by field name, that this place gives where the environment is silent."""
    # Imported late: it brings bentoml.
    from ranker.serving import startup

    return startup.defaults(os.environ, PROJECT)


def connected(sentinel_service: str | None = None) -> AbstractContextManager[Client]:
    """Return a connection to the settings' Redis, closed at the end of a `with`.

    Raises:
        StoreUnavailable: it does not answer.
    """
    from ranker.redis.clients import connect

    return closing(connect(settings().redis_url, sentinel_service))
