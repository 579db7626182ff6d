"""What runs Ranker elsewhere says itself that nothing is reported to anybody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ranker.process import vendor_telemetry

PROJECT = Path(__file__).parents[2]


def environments() -> dict[str, dict[str, str]]:
    """The variables that each file sets, where it runs the service."""

    def read(path: str) -> Any:
        return yaml.safe_load((PROJECT / path).read_text())

    def pairs(listed: list[dict[str, str]]) -> dict[str, str]:
        return {each["name"]: each["value"] for each in listed if "value" in each}

    (container,) = read("deploy/kubernetes/base/deployment.yaml")["spec"]["template"]["spec"]["containers"]
    return {
        "image": pairs(read("bentofile.yaml")["envs"]),
        "Kubernetes": pairs(container["env"]),
        "compose": read("deploy/compose.yaml")["services"]["ranker"]["environment"],
        "BentoCloud": pairs(read("deploy/bentocloud.yaml")["envs"]),
    }


@pytest.mark.parametrize("place", environments())
def test_vendor_telemetry_is_off_where_ranker_is_deployed(place: str) -> None:
    found = environments()[place]
    assert {name: found.get(name) for name in vendor_telemetry.OFF} == dict(vendor_telemetry.OFF)
