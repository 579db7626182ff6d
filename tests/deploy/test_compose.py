"""The compose stack and what it mounts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]


def test_file_is_what_compose_takes() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, DEPLOY / "compose.yaml"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", SERVICES)
def test_service_has_no_more_rights_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert {"mem_limit", "pids_limit"} <= service.keys()
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


@pytest.mark.parametrize("name", SERVICES)
def test_image_is_pinned(name: str) -> None:
    image = SERVICES[name]["image"]
    if name in ("ranker", "loader"):
        assert image.startswith("${RANKER_IMAGE:?")
    else:
        assert image.rpartition(":")[2] not in ("", image, "latest")


@pytest.mark.parametrize("name", sorted(SERVICES.keys() - {"ranker"}))
def test_service_says_how_it_is_checked(name: str) -> None:
    assert {"test", "disable"} & SERVICES[name]["healthcheck"].keys()


def test_ranker_is_checked_by_its_image() -> None:
    assert "/readyz" in (DEPLOY / "Dockerfile").read_text().partition("HEALTHCHECK")[2]
    assert "healthcheck" not in SERVICES["ranker"]


def test_passwords_come_from_the_environment() -> None:
    assert all(secret.keys() == {"environment"} for secret in COMPOSE["secrets"].values())
    urls = [SERVICES[name]["environment"]["RANKER_REDIS_URL"] for name in ("ranker", "loader")]
    assert urls == [
        "redis://serving:${REDIS_SERVING_PASSWORD:?}@redis:6379/0",
        "redis://loading:${REDIS_LOADING_PASSWORD:?}@redis:6379/0",
    ]


def test_what_is_mounted_is_here() -> None:
    mounted = [volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])]
    missing = [path for path in mounted if path.startswith("./") and not (DEPLOY / path).exists()]
    assert set(missing) <= {"./grafana/dashboards"}
    scraped = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    hosts = [
        target.partition(":")[0] for job in scraped for entry in job["static_configs"] for target in entry["targets"]
    ]
    assert set(hosts) <= SERVICES.keys()
