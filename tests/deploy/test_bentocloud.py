"""deploy/bentocloud.yaml, by BentoML's own classes."""

from __future__ import annotations

from pathlib import Path

import attr
import pytest
import yaml
from bentoml._internal.cloud.deployment import DeploymentConfig
from bentoml._internal.cloud.schemas.modelschemas import DeploymentStrategy
from bentoml._internal.utils.cattr import bentoml_cattr

from ranker.settings.environment import Settings

FILE = Path(__file__).parent.parent.parent / "deploy" / "bentocloud.yaml"


@pytest.fixture(scope="module")
def given() -> dict:
    return yaml.safe_load(FILE.read_text())


def test_bentoml_reads_every_key(given: dict) -> None:
    read = bentoml_cattr.structure(given, DeploymentConfig)
    written = read.to_dict()
    assert {key for key in given if key not in {f.name for f in attr.fields(DeploymentConfig)}} == set()
    assert written["services"] == given["services"]
    assert written["envs"] == given["envs"]
    assert DeploymentStrategy(given["services"]["ranker"]["deployment_strategy"])


def test_it_sets_what_ranker_reads(given: dict) -> None:
    environ = {item["name"]: item["value"] for item in given["envs"]}
    settings = Settings.from_env(environ)
    assert settings.runner == "local"
    assert settings.api_workers == 2


def test_its_services_are_those_of_the_bento(given: dict) -> None:
    source = (FILE.parent.parent / "ranker" / "service.py").read_text()
    assert all(f'name="{name}"' in source for name in given["services"])
