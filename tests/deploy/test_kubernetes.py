"""deploy/kubernetes, rendered by kubectl, against the API's schemas and against what the service really does."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from prometheus_client import REGISTRY

import ranker.serving.worker  # noqa: F401  # registers every metric
from ranker import __version__
from ranker.http.gate import HEALTH
from ranker.settings.environment import Settings
from ranker.settings.variables import PREFIX

FOLDER = Path(__file__).parent.parent.parent / "deploy" / "kubernetes"
OPERATORS = {"ServiceMonitor", "PrometheusRule", "HTTPRoute"}
"""Kinds that are no part of Kubernetes, so that no schema of it describes them."""
RUNNER_S = 5
"""What the runner has on top of an API worker's bound."""


def render(folder: Path) -> list[dict[str, Any]]:
    kubectl = Path(sys.executable).parent / "kubectl"
    done = subprocess.run([kubectl, "kustomize", folder], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return [resource for resource in yaml.safe_load_all(done.stdout) if resource]


@pytest.fixture(scope="module")
def production(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The example overlay, with its example of a secret."""
    copy = tmp_path_factory.mktemp("deploy") / "kubernetes"
    shutil.copytree(FOLDER, copy)
    for example in copy.rglob("secret.env.example"):
        shutil.copy(example, example.with_suffix(""))
    return render(copy / "overlays" / "production")


def only(resources: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    [found] = [resource for resource in resources if resource["kind"] == kind]
    return found


@pytest.fixture(scope="module")
def deployment(production: list[dict[str, Any]]) -> dict[str, Any]:
    return only(production, "Deployment")


@pytest.fixture(scope="module")
def pod(deployment: dict[str, Any]) -> dict[str, Any]:
    return deployment["spec"]["template"]["spec"]


@pytest.fixture(scope="module")
def settings(pod: dict[str, Any]) -> Settings:
    """What the service reads from the pod's environment; it refuses names that it does not know."""
    [container] = pod["containers"]
    environ = {item["name"]: item.get("value", "redis://redis") for item in container["env"]}
    return Settings.from_env({name: value for name, value in environ.items() if name.startswith(PREFIX)})


def test_every_resource_fits_its_schema(production: list[dict[str, Any]]) -> None:
    checked = [resource for resource in production if resource["kind"] not in OPERATORS]
    for resource in checked:
        kubernetes_validate.validate(resource, "1.33", strict=True)
    assert {"Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy", "Secret"} == {
        resource["kind"] for resource in checked
    }


def test_base_renders_by_itself_and_holds_no_secret() -> None:
    assert "Secret" not in {resource["kind"] for resource in render(FOLDER / "base")}


def test_containers_are_bounded_and_locked_down(pod: dict[str, Any]) -> None:
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    for container in pod["containers"]:
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert set(container["resources"]["limits"]) == {"cpu", "memory"}
        assert container["image"].rpartition(":")[2] == __version__


def test_probes_ask_paths_that_need_no_token(pod: dict[str, Any]) -> None:
    [container] = pod["containers"]
    ports = {port["name"] for port in container["ports"]}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = container[probe]["httpGet"]
        assert asked["path"] in HEALTH
        assert asked["port"] in ports
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez"


def test_a_stop_has_the_time_it_takes(pod: dict[str, Any], settings: Settings) -> None:
    hooks = [container.get("lifecycle", {}).get("preStop", {}) for container in pod["containers"]]
    waits = max(hook.get("sleep", {}).get("seconds", 0) for hook in hooks)
    takes = settings.drain_s + settings.read_timeout_s + settings.deadline_ms / 1000 + 5 + RUNNER_S
    assert pod["terminationGracePeriodSeconds"] > waits + takes


def test_gateways_close_their_idle_connections_first(settings: Settings) -> None:
    longest_s = 600  # Google's, which cannot be set
    assert settings.keep_alive_s > longest_s
    assert Settings.from_env({}).keep_alive_s > longest_s


def test_quota_is_whole_cores_for_workers_and_runner(pod: dict[str, Any], settings: Settings) -> None:
    resources = pod["containers"][0]["resources"]
    assert settings.workers == "auto"
    assert settings.runner == "service"
    assert int(resources["limits"]["cpu"]) >= 2
    assert resources["requests"]["cpu"] == resources["limits"]["cpu"]


def test_what_is_written_has_a_volume(pod: dict[str, Any]) -> None:
    [container] = pod["containers"]
    environ = {item["name"]: item.get("value") for item in container["env"]}
    [mount] = container["volumeMounts"]
    assert mount["mountPath"] == "/tmp"
    assert environ["BENTOML_HOME"].startswith("/tmp/")
    assert [v["emptyDir"]["medium"] for v in pod["volumes"] if v["name"] == mount["name"]] == ["Memory"]


def test_selectors_find_the_pods(production: list[dict[str, Any]], deployment: dict[str, Any]) -> None:
    labels = deployment["spec"]["template"]["metadata"]["labels"].items()
    spec = {resource["kind"]: resource["spec"] for resource in production if "spec" in resource}
    selectors = [
        spec["Deployment"]["selector"]["matchLabels"],
        spec["Service"]["selector"],
        spec["PodDisruptionBudget"]["selector"]["matchLabels"],
        spec["NetworkPolicy"]["podSelector"]["matchLabels"],
        *(
            c["labelSelector"]["matchLabels"]
            for c in deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]
        ),
    ]
    for selector in selectors:
        assert selector
        assert selector.items() <= labels
    service = only(production, "Service")
    assert spec["ServiceMonitor"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    target = spec["HorizontalPodAutoscaler"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"])


def test_ports_agree(production: list[dict[str, Any]], pod: dict[str, Any]) -> None:
    [port] = pod["containers"][0]["ports"]
    service = only(production, "Service")
    [offered] = service["spec"]["ports"]
    assert offered["targetPort"] == port["name"]
    for rule in only(production, "NetworkPolicy")["spec"]["ingress"]:
        assert [p["port"] for p in rule["ports"]] == [port["name"]]
    [endpoint] = only(production, "ServiceMonitor")["spec"]["endpoints"]
    assert endpoint["port"] == offered["name"]
    for rule in only(production, "HTTPRoute")["spec"]["rules"]:
        assert rule["backendRefs"] == [{"name": service["metadata"]["name"], "port": offered["port"]}]


def test_network_is_closed_but_for_callers_redis_and_names(production: list[dict[str, Any]]) -> None:
    policy = only(production, "NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert all(rule["from"] for rule in policy["ingress"])
    assert all(rule["to"] for rule in policy["egress"])
    assert {(p["protocol"], p["port"]) for r in policy["egress"] for p in r["ports"]} == {
        ("TCP", 6379),
        ("UDP", 53),
        ("TCP", 53),
    }


def test_outside_reaches_predict_alone(production: list[dict[str, Any]]) -> None:
    matches = [match for rule in only(production, "HTTPRoute")["spec"]["rules"] for match in rule["matches"]]
    assert matches == [{"method": "POST", "path": {"type": "Exact", "value": "/predict"}}]


def test_a_rollout_never_goes_below_strength(deployment: dict[str, Any], production: list[dict[str, Any]]) -> None:
    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert "replicas" not in deployment["spec"]
    assert only(production, "HorizontalPodAutoscaler")["spec"]["minReplicas"] >= 2


def test_redis_url_comes_from_the_secret(production: list[dict[str, Any]], pod: dict[str, Any]) -> None:
    secret = only(production, "Secret")
    [url] = [item for item in pod["containers"][0]["env"] if item["name"] == "RANKER_REDIS_URL"]
    reference = url["valueFrom"]["secretKeyRef"]
    assert reference["name"] == secret["metadata"]["name"]
    assert reference["key"] in secret["data"]


def test_scaling_by_rows_asks_for_a_gauge_that_is_served(tmp_path: Path) -> None:
    overlay = tmp_path / "deploy" / "overlays" / "rows"
    shutil.copytree(FOLDER, tmp_path / "deploy")
    overlay.mkdir()
    text = {"resources": ["../../base"], "components": ["../../components/rows"]}
    (overlay / "kustomization.yaml").write_text(yaml.safe_dump(text))
    autoscaler = only(render(overlay), "HorizontalPodAutoscaler")
    kubernetes_validate.validate(autoscaler, "1.33", strict=True)
    [metric] = autoscaler["spec"]["metrics"]
    name = metric["pods"]["metric"]["name"]
    assert [f.type for f in REGISTRY._names_to_collectors[name].describe()] == ["gauge"]
    [rule] = yaml.safe_load((FOLDER / "components" / "rows" / "adapter.yaml").read_text())["rules"]["custom"]
    assert rule["seriesQuery"].startswith(f"{name}{{")
