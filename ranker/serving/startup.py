"""Startup: the settings, and the models they name.

Owns the defaults that the working folder and a Bento give. For `ranker.service`, and for the command line, which finds
what the service would; that they can be served, `preflight` proves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from ranker.errors import InvalidSettings, ModelUnusable, StartupError
from ranker.scoring import registry
from ranker.serving import bento_folders
from ranker.serving.body_limit import with_body_limit
from ranker.serving.preflight import check_feature_log
from ranker.serving.runner import Role
from ranker.settings.environment import Settings, embedded_redis
from ranker.settings.variables import PREFIX
from ranker.telemetry import tracing

ROLES: tuple[Role, ...] = ("model", "canary", "shadow")
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

    @property
    def roles(self) -> list[Role]:
        """The roles that are served, which are also the services' attributes that name the models."""
        return [role for role, model in zip(ROLES, self, strict=True) if model is not None]


@contextmanager
def ending_with_one_message() -> Iterator[None]:
    """End the process where a start is not possible, with what its operator can do and no traceback."""
    try:
        yield
    except StartupError as err:
        raise err.to_exit() from None


def read(environ: Mapping[str, str], project: Path) -> tuple[Settings, Models]:
    """Read the settings and find the models.

    Args:
        environ: The environment.
        project: The folder that holds the package `ranker`: a Bento has its description beside it.

    Raises:
        InvalidSettings: naming every problem.
        ModelNotFound: a model is not in the store.
        ModelUnusable: one is damaged, or reads other features under the keys of another.
    """
    settings = read_settings(environ, project)
    main = registry.find_model(settings.model)
    canary = registry.find_model(settings.canary_model) if settings.canary_model else None
    shadow = registry.find_model(settings.shadow_model) if settings.shadow_model else None
    models = Models(main, canary, shadow)
    schemas = {str(model.tag): registry.schema_of(model) for model in models if model is not None}
    for (tag, schema), (other_tag, other) in combinations(schemas.items(), 2):
        if shared := schema.shared_keys(other):
            raise ModelUnusable(other_tag, f"beside {tag}, {shared}")
    ranking = [schemas[str(model.tag)] for model in (main, canary) if model is not None]
    return with_body_limit(settings, ranking), models


def quiet(settings: Settings) -> dict[str, Any]:
    """Return what of BentoML's work for each request is left out: it costs as much as the ranking.

    Its metrics, too: requests to rank do not pass where they are counted, so a dashboard that reads them would say that
    nobody asks.
    """
    return {
        "metrics": {"enabled": False},
        # A timer per request stays until it fires, so it must not be long after the deadline.
        "traffic": {"timeout": int(settings.deadline_ms / 1000) + 2},
        "tracing": {"excluded_urls": ["."]},
        "logging": {"access": {"enabled": False}},
    }


def labels(models: Models, version: str) -> dict[str, str]:
    """Return what a Bento says of itself: Ranker's version, the models it was built with, their schema."""
    tags = {field: str(model.tag) for field, model in zip(MODEL_FIELDS, models, strict=True) if model is not None}
    return {"version": version, **tags, "fingerprint": f"{registry.schema_of(models.main).fingerprint:08x}"}


def read_settings(environ: Mapping[str, str], project: Path) -> Settings:
    """Read the settings alone; the arguments are those of `read`.

    Raises:
        InvalidSettings: naming every problem.
    """
    if "BENTOML_NO_UDS" in environ:
        raise InvalidSettings(
            ["BENTOML_NO_UDS would open the runner, which accepts pickle, to every local user; unset it"]
        )
    tracing.find_exporter(environ)
    settings = Settings.from_env(environ, defaults(environ, project))
    check_feature_log(settings)
    return settings


def defaults(environ: Mapping[str, str], project: Path) -> dict[str, str]:
    """Return the settings, by field name, that the place gives where the environment is silent.

    A Bento gives the models it was built with, each in its role. Where the environment names one of them, it names
    them all, so that a canary ends when it becomes the model; then the Bento gives `model` alone.
    """
    bento_folders.use_models_of(project.parent)
    labels = bento_folders.labels_of(project.parent)
    named = any(f"{PREFIX}{field.upper()}" in environ for field in MODEL_FIELDS)
    given = MODEL_FIELDS[:1] if named else MODEL_FIELDS
    return embedded_redis() | {field: labels[field] for field in given if field in labels}
