"""Each trouble gives its line, its remedy and the exit code; nothing hangs, nothing is written, no secret is shown."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bentoml._internal.configuration.containers import BentoMLContainer
from click.testing import CliRunner, Result
from redis import Redis, RedisCluster
from redis.exceptions import NoPermissionError

from ranker.cli import main
from ranker.cli.doctor import _print
from ranker.demo.redis import EmbeddedRedis
from ranker.demo.server_binary import server_binary
from ranker.demo.servers import cluster
from ranker.doctor import nodes as doctor_nodes
from ranker.doctor import trial
from ranker.doctor.attempt import attempt
from ranker.doctor.capacity.survey import survey
from ranker.doctor.examination import Examination
from ranker.doctor.keyspace import look
from ranker.doctor.nodes import Node, Nodes, find_nodes
from ranker.doctor.runner import check_runner
from ranker.doctor.sample import take_sample
from ranker.doctor.start import available_bytes, check_memory
from ranker.features.near_cache.cache import CachedStore
from ranker.process.cores import usable_cores
from ranker.ranking.job import Policy
from ranker.scoring.registry import store_model
from ranker.serving.variant import ServedModel, Variant
from ranker.settings.environment import Settings
from ranker.telemetry.metrics import Recorder
from ranker.upkeep.finding import Finding, fail, ok
from ranker.vectors.schema import FeatureSchema
from ranker.vectors.stored.encoding import encode
from tests.support.models import (
    loaded_model,
    mlp_onnx,
    mlp_scores,
    onnx_bytes,
    schema_of_width,
    temporary_model_store,
    tensor,
)
from tests.support.sentinels import watched

SCHEMA = schema_of_width(3, 4)
MODEL = loaded_model(mlp_onnx(7), SCHEMA)
USERS, PRODUCTS = 20, 150
CHECKS = [
    "settings",
    "model",
    "model output",
    "redis",
    "server",
    "eviction",
    "tracking",
    "user features",
    "product features",
    "round trip",
    "trial ranking",
    "runner",
    "cores",
    "memory",
]
SECRET = "hunter2"


@dataclass(frozen=True)
class Clinic:
    """A server that a test may hurt, with a healthy store, and the environment that names it."""

    server: EmbeddedRedis
    admin: Redis
    environ: dict[str, str]
    project: Path

    def examine(self, **changed: str) -> dict[str, Finding]:
        return {finding.check: finding for finding in Examination(self.environ | changed, self.project).findings()}

    def user(self, *rules: str, user: str = "reader") -> str:
        """Make a user of the server; return the URL it connects by."""
        self.admin.execute_command("ACL", "SETUSER", user, "reset", "on", f">{SECRET}", *rules)
        return self.server.url.replace("unix://", f"unix://{user}:{SECRET}@")


def vectors(entity: str, count: int, schema: FeatureSchema = SCHEMA) -> dict[str, bytes]:
    width = schema.user.width if entity == "user" else schema.product.width
    rows = np.random.default_rng(0).standard_normal((count, width), dtype=np.float32)
    return {f"{entity}:{i}": value for i, value in enumerate(encode(rows, schema.fingerprint))}


@pytest.fixture(scope="module")
def own_server() -> Iterator[EmbeddedRedis]:
    with tempfile.TemporaryDirectory(prefix="ranker-", dir="/tmp") as name:
        server = EmbeddedRedis(Path(name))
        server.start()
        yield server
        server.stop()


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("RANKER_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def clinic(own_server: EmbeddedRedis, tmp_path: Path) -> Iterator[Clinic]:
    models = tmp_path / "models"
    models.mkdir()
    with Redis.from_url(own_server.url) as admin, temporary_model_store(models):
        admin.flushall()
        admin.mset(vectors("user", USERS) | vectors("product", PRODUCTS))
        tag, _ = store_model(mlp_onnx(SCHEMA.width), SCHEMA, "shop")
        yield Clinic(own_server, admin, {"RANKER_REDIS_URL": own_server.url, "RANKER_MODEL": tag}, tmp_path / "none")
        admin.config_set("maxmemory-policy", "noeviction")
        admin.acl_deluser("reader")


def only(client: Redis) -> Nodes:
    return Nodes([Node(client, "")])


def run(clinic: Clinic, *arguments: str, **changed: str) -> Result:
    return CliRunner().invoke(main, ["doctor", *arguments], env=clinic.environ | changed)


# --- the healthy ----------------------------------------------------------------------------------------------------


def test_healthy_store_is_all_ok_and_exit_code_0(clinic: Clinic) -> None:
    result = run(clinic)
    lines = result.stdout.splitlines()
    assert [line[:6].strip() for line in lines] == ["ok"] * len(CHECKS), result.stdout
    assert [line[6:24].strip() for line in lines] == CHECKS
    assert result.exit_code == 0
    assert "150 like product:{id}; of 150 read: 150 binary float32; 24 bytes each" in result.stdout
    assert "fetch;dur=" in result.stdout


def test_json_has_the_same_with_figures(clinic: Clinic) -> None:
    report: dict[str, Any] = json.loads(run(clinic, "--json").stdout)
    assert report["ok"] is True
    findings = {finding["check"]: finding for finding in report["findings"]}
    assert list(findings) == CHECKS
    assert findings["product features"]["data"] == {
        "total": PRODUCTS,
        "exact": True,
        "read": PRODUCTS,
        "kinds": {"binary float32": PRODUCTS},
        "bytes": 24,
    }
    assert 0 < findings["round trip"]["data"]["ping_p50_ms"] <= findings["round trip"]["data"]["ping_p99_ms"]
    assert findings["trial ranking"]["data"]["products"] == 100
    assert findings["trial ranking"]["data"]["missing"] == 0
    assert "capacity" not in report


def test_command_of_its_own_process_ends_with_the_same(clinic: Clinic) -> None:
    models = str(BentoMLContainer.model_store_dir.get())
    environ = {name: value for name, value in os.environ.items() if not name.startswith("RANKER_")}
    for changed, code in (({}, 0), ({"RANKER_REDIS_URL": "unix:///tmp/no-such.sock"}, 1)):
        ended = subprocess.run(
            [sys.executable, "-m", "ranker", "doctor", "--json"],
            env=environ | {"BENTOML_HOME": str(Path(models).parent)} | clinic.environ | changed,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == code, ended.stderr
        assert json.loads(ended.stdout)["ok"] is (code == 0)
        assert ended.stderr == b""


def test_help_lists_the_doctor() -> None:
    assert "doctor " in CliRunner().invoke(main, ["--help"]).stdout


def test_nothing_is_written(clinic: Clinic) -> None:
    before = clinic.admin.info("persistence")["rdb_changes_since_last_save"]
    clinic.admin.config_resetstat()
    assert run(clinic).exit_code == 0
    assert clinic.admin.info("persistence")["rdb_changes_since_last_save"] == before
    called = {name.removeprefix("cmdstat_") for name in clinic.admin.info("commandstats")}
    # `client|…` names and arms connections; `config|resetstat` is the test's own.
    reading = {"ping", "mget", "scan", "info", "hello", "config|get", "config|resetstat", "client|tracking"}
    assert called - reading <= {"client|setinfo", "client|setname"}


# --- settings and model ---------------------------------------------------------------------------------------------


def test_all_problems_of_settings_are_said_at_once_and_nothing_else(clinic: Clinic) -> None:
    result = run(clinic, RANKER_RUNER="local", RANKER_WORKERS="0")
    assert result.exit_code == 1
    (line, remedy) = result.stdout.splitlines()
    assert line.startswith("fail  settings")
    for said in ("RANKER_RUNER is not a setting; did you mean RANKER_RUNNER?", "RANKER_WORKERS='0'"):
        assert said in line
    assert "Correct or unset" in remedy


def test_what_service_refuses_to_start_with_fails(clinic: Clinic) -> None:
    found = clinic.examine(BENTOML_NO_UDS="1")["settings"]
    assert found.status == "fail"
    assert "BENTOML_NO_UDS" in found.seen


def test_embedded_redis_of_the_working_folder_is_the_default(
    clinic: Clinic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".ranker").mkdir()
    (tmp_path / ".ranker" / "redis.sock").symlink_to(clinic.server.socket)
    monkeypatch.chdir(tmp_path)
    examination = Examination({"RANKER_MODEL": clinic.environ["RANKER_MODEL"]}, tmp_path)
    findings = {finding.check: finding for finding in examination.findings()}
    assert findings["redis"].status == "ok"
    assert str(clinic.server.socket) in findings["redis"].seen


def test_missing_model_fails_with_the_way_to_import_it_and_redis_is_checked_all_the_same(clinic: Clinic) -> None:
    findings = clinic.examine(RANKER_MODEL="nowhere:1")
    assert findings["model"].status == "fail"
    assert "nowhere:1 is not in the Bento model store" in findings["model"].seen
    assert "ranker model import" in findings["model"].remedy
    assert findings["redis"].status == "ok"
    assert "trial ranking" not in findings
    assert run(clinic, RANKER_MODEL="nowhere:1").exit_code == 1


def test_model_that_gives_nan_on_defaults_is_a_warning(clinic: Clinic) -> None:
    from onnx import helper

    nodes = [
        helper.make_node("ReduceSum", ["features", "axis"], ["sum"], keepdims=0),
        helper.make_node("Log", ["sum"], ["log"]),
        helper.make_node("Mul", ["log", "zero"], ["scores"]),  # log 0 * 0 is NaN
    ]
    constants = {"axis": np.array([1], np.int64), "zero": np.zeros(1, np.float32)}
    graph = onnx_bytes(nodes, [tensor("features", ["n", SCHEMA.width])], [tensor("scores", ["n"])], constants)
    tag, _ = store_model(graph, SCHEMA, "logs")
    found = clinic.examine(RANKER_MODEL=tag)["model output"]
    assert (found.status, found.seen[:3]) == ("warn", "nan")
    assert "RANKER_MISSING_PRODUCT=last" in found.remedy


def test_model_imported_when_less_was_tried_fails_for_its_rows(clinic: Clinic) -> None:
    import bentoml
    from onnx import helper

    nodes = [
        helper.make_node("ReduceMean", ["features"], ["mean"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["features", "mean"], ["differs"]),
        helper.make_node("Mul", ["differs", "unit"], ["scaled"]),
        helper.make_node("Tanh", ["scaled"], ["company"]),
        helper.make_node("ReduceSum", ["company", "axis"], ["scores"], keepdims=0),
    ]
    constants = {"axis": np.array([1], np.int64), "unit": np.array([1e-7], np.float32)}
    graph = onnx_bytes(nodes, [tensor("features", ["n", SCHEMA.width])], [tensor("scores", ["n"])], constants)
    metadata = {"format": 1, "schema": SCHEMA.to_metadata(), "fingerprint": f"{SCHEMA.fingerprint:08x}"}
    with bentoml.models.create("batchy:1", metadata={"ranker": metadata}) as model:
        Path(model.path_of("model.onnx")).write_bytes(graph)
    found = clinic.examine(RANKER_MODEL="batchy:1")["model rows"]
    assert found.status == "fail"
    assert found.seen.startswith("A row's score depends on the rows scored with it")
    assert "Export it for inference" in found.remedy


# --- Redis ----------------------------------------------------------------------------------------------------------


def test_redis_that_is_down_fails_and_is_asked_no_more(clinic: Clinic) -> None:
    findings = clinic.examine(RANKER_REDIS_URL="unix:///tmp/no-such.sock")
    assert findings["redis"].status == "fail"
    assert "/tmp/no-such.sock (unix socket)" in findings["redis"].seen
    assert "Start Redis" in findings["redis"].remedy
    assert "server" not in findings
    assert findings["cores"].status == "ok"
    assert run(clinic, RANKER_REDIS_URL="unix:///tmp/no-such.sock").exit_code == 1


def test_hung_redis_is_given_up_in_time(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_nodes, "TIMEOUT_S", 0.3)
    process = int(clinic.admin.info("server")["process_id"])
    os.kill(process, signal.SIGSTOP)
    try:
        began = time.monotonic()
        result = run(clinic)
        assert time.monotonic() - began < 20
    finally:
        os.kill(process, signal.SIGCONT)
    assert result.exit_code == 1
    assert "fail  redis" in result.stdout
    assert "See what hangs" in result.stdout


def test_redis_that_hangs_halfway_is_given_up_in_time(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_nodes, "TIMEOUT_S", 0.3)
    monkeypatch.setattr("ranker.doctor.examination.TIMEOUT_S", 0.3)
    process = int(clinic.admin.info("server")["process_id"])
    findings = {}
    began = time.monotonic()
    try:
        for finding in Examination(clinic.environ | {"RANKER_DEADLINE_MS": "300"}, clinic.project).findings():
            findings[finding.check] = finding
            if finding.check == "redis":
                os.kill(process, signal.SIGSTOP)
    finally:
        os.kill(process, signal.SIGCONT)
    assert time.monotonic() - began < 10
    assert findings["redis"].status == "ok"
    for check in ("server", "eviction", "features", "round trip", "trial ranking"):
        assert findings[check].status == "fail", findings[check]
    assert findings["tracking"].status == "warn"


def test_policy_that_evicts_is_a_warning(clinic: Clinic) -> None:
    clinic.admin.config_set("maxmemory-policy", "allkeys-lru")
    result = run(clinic)
    assert result.exit_code == 0
    assert "warn  eviction          maxmemory-policy allkeys-lru" in result.stdout
    assert "Set maxmemory-policy noeviction" in result.stdout


def test_policy_is_read_from_info_where_config_is_refused(clinic: Clinic) -> None:
    clinic.admin.config_set("maxmemory-policy", "volatile-ttl")
    url = clinic.user("allkeys", "+@all", "-config")
    found = clinic.examine(RANKER_REDIS_URL=url)["eviction"]
    assert (found.status, found.data["policy"]) == ("warn", "volatile-ttl")


def test_user_that_may_only_what_serving_needs_gets_warnings(clinic: Clinic) -> None:
    url = clinic.user("~user:*", "~product:*", "-@all", "+mget", "+ping", "+hello")
    findings = clinic.examine(RANKER_REDIS_URL=url)
    assert {finding.status for finding in findings.values()} == {"ok", "warn"}
    for check in ("eviction", "features"):
        assert findings[check].seen.startswith("not permitted"), findings[check]
        assert findings[check].remedy
    assert "refused" in findings["tracking"].seen
    assert "+client|tracking" in findings["tracking"].remedy
    assert findings["server"].status == "ok"
    assert findings["trial ranking"].data["which"] == "absent"
    assert run(clinic, RANKER_REDIS_URL=url).exit_code == 0


def test_user_that_may_not_read_the_features_fails(clinic: Clinic) -> None:
    findings = clinic.examine(RANKER_REDIS_URL=clinic.user("~other:*", "+@all"))
    assert findings["round trip"].status == "fail"
    assert "+mget" in findings["round trip"].remedy
    assert findings["trial ranking"].status == "fail"


@pytest.mark.parametrize(
    ("renamed", "status", "seen"),
    [
        (["CONFIG"], "ok", "valkey 9"),
        (["HELLO"], "ok", "valkey 9"),
        (["HELLO", "INFO", "CONFIG"], "warn", "not permitted: neither HELLO nor INFO"),
    ],
    ids=["managed", "old", "closed"],
)
def test_server_without_some_commands_is_asked_by_others(
    clinic: Clinic, short_path: Path, renamed: list[str], status: str, seen: str
) -> None:
    words = [word for name in renamed for word in ("--rename-command", name, "")]
    command = [server_binary(), "--port", "0", "--unixsocket", str(short_path / "s"), "--save", "", *words]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=short_path)
    try:
        while not (short_path / "s").exists():
            time.sleep(0.01)
        findings = clinic.examine(RANKER_REDIS_URL=f"unix://{short_path}/s")
    finally:
        process.terminate()
        process.wait()
    assert findings["server"].status == status
    assert findings["server"].seen.startswith(seen)
    assert findings["eviction"].status == ("warn" if "INFO" in renamed else "ok")


def test_wrong_password_says_so(clinic: Clinic) -> None:
    url = clinic.user("allkeys", "+@all").replace(SECRET, "wrong")
    found = clinic.examine(RANKER_REDIS_URL=url)["redis"]
    assert found.status == "fail"
    assert "right user and password" in found.remedy


def test_tracking_that_is_required_and_refused_says_what_follows(clinic: Clinic) -> None:
    url = clinic.user("allkeys", "+@all", "-client|tracking")
    found = clinic.examine(RANKER_REDIS_URL=url, RANKER_CACHE_TRACKING="on")["tracking"]
    assert found.status == "warn"
    assert "nothing is cached" in found.seen
    assert clinic.examine(RANKER_CACHE_TRACKING="off")["tracking"].status == "ok"
    assert "RANKER_CACHE_MB=0" in clinic.examine(RANKER_CACHE_MB="0")["tracking"].seen


def test_long_names_of_checks_stand_apart_from_what_was_seen(capsys: pytest.CaptureFixture[str]) -> None:
    _print(fail("canary product features", "80 like product:{id}", "Write them again."))
    assert capsys.readouterr().out.startswith("fail  canary product features 80 like product:{id}\n")


def test_secrets_are_never_shown(clinic: Clinic) -> None:
    url = clinic.user("allkeys", "+@all")
    for changed in (
        {},
        {"RANKER_REDIS_URL": url},
        {"RANKER_REDIS_URL": url.replace("reader", "nobody")},
        {"RANKER_REDIS_URL": f"redis://:{SECRET}@127.0.0.1:1/0"},
        {"RANKER_REDIS_URL": f"rediss://:{SECRET}@127.0.0.1:1/0"},
        {"RANKER_REDIS_URL": f"redis://:{SECRET}/x@127.0.0.1:6379/0"},  # read as the host's port
        {"RANKER_REDIS_URL": f"redis://:{SECRET}[@127.0.0.1:6379/0"},
        {"RANKER_REDIS_URL": f"http://:{SECRET}@127.0.0.1:6379/0"},
        {"RANKER_REDIS_URL": f"{url}?password={SECRET}"},
        {"RANKER_REDIS_URL": f"redis://:{SECRET}@127.0.0.1:1/0", "RANKER_WORKERS": "x"},
    ):
        for arguments in ((), ("--json",)):
            result = run(clinic, *arguments, **changed)
            assert SECRET not in result.output, changed
            assert SECRET not in repr(result.exception)
            assert isinstance(result.exception, SystemExit) or result.exception is None, changed
    malformed = clinic.examine(RANKER_REDIS_URL=f"redis://:{SECRET}/x@127.0.0.1:6379/0")["settings"]
    assert malformed.status == "fail"
    assert "%XX" in malformed.seen


def test_url_with_an_option_that_redis_py_does_not_take_fails(clinic: Clinic) -> None:
    found = clinic.examine(RANKER_REDIS_URL=f"redis://:{SECRET}@127.0.0.1:1/0?socket_timeout=soon")["redis"]
    assert (found.status, SECRET in found.seen) == ("fail", False)
    assert "options behind the ?" in found.remedy


# --- several servers ------------------------------------------------------------------------------------------------


def lines(findings: list[Finding], check: str) -> list[Finding]:
    return [finding for finding in findings if finding.check == check]


def test_every_primary_of_a_cluster_is_examined_and_measured(
    clinic: Clinic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "BUDGET_S", 0.1)
    with cluster(tmp_path / "cluster") as url, RedisCluster.from_url(url) as client:
        for key, vector in (vectors("user", USERS) | vectors("product", PRODUCTS)).items():
            client.set(key, vector)
        nodes = client.get_primaries()
        evicting = client.get_redis_connection(nodes[1])
        evicting.config_set("maxmemory-policy", "allkeys-lru")
        environ = {"RANKER_REDIS_URL": url.replace("redis://", "redis+cluster://") + ",127.0.0.1:1"}
        examination = Examination(clinic.environ | environ, clinic.project)
        findings = list(examination.findings())
        (found,) = lines(findings, "cluster")
        assert found.status == "warn"  # a host of the URL that does not answer
        assert "3 primaries, 16,384 of 16,384 slots owned, state ok" in found.seen
        assert "127.0.0.1:1 " in found.remedy
        for check in ("redis", "server", "eviction"):
            assert {f.data["node"] for f in lines(findings, check)} == {node.name for node in nodes}
        (warned,) = (f for f in lines(findings, "eviction") if f.status != "ok")
        assert warned.data["node"] == nodes[1].name
        assert nodes[1].name in warned.seen
        assert "on all 3 primaries" in lines(findings, "tracking")[0].seen
        for entity, count in (("user", USERS), ("product", PRODUCTS)):
            (stored,) = lines(findings, f"{entity} features")
            assert (stored.data["total"], stored.data["read"], stored.data["exact"]) == (count, count, True)
        # Slow is a warning, and this machine may be busy.
        assert "fail" not in {f.status for f in findings}
        assert lines(findings, "trial ranking")[0].data["missing"] == 0

        evicting.execute_command("ACL SETUSER", "default", "-client|tracking", "-mget")
        findings = list(Examination(clinic.environ | environ, clinic.project).findings())
        assert nodes[1].name in lines(findings, "tracking")[0].seen
        assert "NOPERM" in lines(findings, "tracking")[0].seen
        assert lines(findings, "round trip")[0].status == "fail"
        evicting.execute_command("ACL SETUSER", "default", "+@all")

        settings, model, sample = examination.settings, examination.model, examination.sample
        assert settings is not None
        assert model is not None
        assert sample is not None
        measured = survey(settings, model, sample, 20, None, budget_s=0.1)
        assert measured.not_measured == []
        assert (measured.costs.redis_key_us or 0) > 0
        assert measured.shop.product.count == PRODUCTS
        client.get_redis_connection(nodes[2]).execute_command("CLUSTER DELSLOTSRANGE", 16000, 16383)
        for node in nodes[:2]:  # who was told before stays the newest otherwise
            client.get_redis_connection(node).execute_command("CLUSTER DELSLOTSRANGE", 16000, 16383)
        left, (found,) = find_nodes(environ["RANKER_REDIS_URL"])
        assert left is not None
        with left:
            pass
        assert (found.status, found.data["owned"]) == ("fail", 16000)


def test_sentinels_are_examined_and_the_primary_that_they_name(clinic: Clinic, tmp_path: Path) -> None:
    with watched(tmp_path, replicas=1) as service, service.client(service.servers[0]) as primary:
        primary.mset(vectors("user", USERS) | vectors("product", PRODUCTS))
        named = f"127.0.0.1:{service.servers[0]}"
        found = clinic.examine(RANKER_REDIS_URL=service.url)
        assert {f.check: f.remedy for f in found.values() if f.status != "ok"} == {}
        assert found["sentinels"].seen == f"3 of 3 name {named} as shop; quorum 2, 1 replica(s)"
        assert named in found["redis"].seen
        assert found["product features"].data["total"] == PRODUCTS
        service.kill(service.sentinels[1])
        left, (warned,) = find_nodes(service.url)
        assert left is not None
        with left:
            pass
        assert warned.status == "warn"
        assert f"127.0.0.1:{service.sentinels[1]} " in warned.remedy
        other = clinic.examine(RANKER_REDIS_URL=service.url.replace("/shop", "/other"))
        assert other["sentinels"].status == "fail"
        assert "the service (other)" in other["sentinels"].remedy
        assert "redis" not in other


# --- features -------------------------------------------------------------------------------------------------------


def test_no_features_fail_with_the_key_that_is_expected(clinic: Clinic) -> None:
    clinic.admin.flushall()
    clinic.admin.set("other:1", "x")
    findings = clinic.examine()
    for check, key in (("user features", "user:{id}"), ("product features", "product:{id}")):
        assert findings[check].status == "fail"
        assert f"no key like {key} among the 1 keys seen" in findings[check].seen
        assert f"Load them as {key}" in findings[check].remedy
    assert findings["trial ranking"].status == "warn"
    assert run(clinic).exit_code == 1


def test_vectors_of_another_schema_fail(clinic: Clinic) -> None:
    other = schema_of_width(3, 4).model_copy(update={"user": schema_of_width(2, 1).user})
    clinic.admin.mset(vectors("product", PRODUCTS, other))
    found = clinic.examine()["product features"]
    assert found.status == "fail"
    assert "150 of another schema (wrong fingerprint)" in found.seen
    assert "ranker model show" in found.remedy
    assert run(clinic).exit_code == 1


def test_a_few_unusable_vectors_are_a_warning_by_kind(clinic: Clinic) -> None:
    clinic.admin.mset({"product:0": b"RV", "product:1": "[1, 2]", "product:2": b"\x00\x01"})
    clinic.admin.delete("product:3")
    clinic.admin.hset("product:3", "price", 1)
    found = clinic.examine()["product features"]
    assert found.status == "warn"
    assert found.data["kinds"] == {
        "binary float32": PRODUCTS - 4,
        "corrupt": 2,
        "of a wrong width": 1,
        "not a string": 1,
    }


def test_json_store_is_a_warning(clinic: Clinic) -> None:
    row = json.dumps([0.5] * SCHEMA.product.width)
    clinic.admin.mset({f"product:{i}": row if i % 3 else json.dumps(row) for i in range(PRODUCTS)})
    found = clinic.examine()["product features"]
    assert found.status == "warn"
    assert found.data["kinds"] == {"JSON": 100, "JSON in JSON": 50}
    assert "binary vectors" in found.remedy
    assert run(clinic).exit_code == 0


def test_stores_of_others_are_read_in_their_format(clinic: Clinic) -> None:
    declared = {
        "user": {"format": "float64", "features": ["a", "b"]},
        "product": {"format": "hash", "features": ["price", {"name": "stock", "default": 1.0}]},
    }
    clinic.admin.flushall()
    clinic.admin.mset({"user:1": np.ones(2).tobytes(), "user:2": b"short"})
    for product, fields in (("1", {"price": 2}), ("2", {"price": "3.5", "stock": 0}), ("3", {"stock": 1})):
        clinic.admin.hset(f"product:{product}", mapping=fields)
    clinic.admin.hset("product:4", "colour", "red")
    clinic.admin.set("product:5", "no hash")
    sample = take_sample(only(clinic.admin), FeatureSchema.from_mapping(declared))
    assert (sample.user.ids, sample.user.kinds) == (["1"], {"float64": 1, "corrupt": 1})
    assert sorted(sample.product.ids) == ["1", "2"]
    assert sample.product.kinds == {"hash": 2, "corrupt": 1, "without any of the hash fields": 2}
    assert sorted(sample.product.sizes) == [1, 4]


def test_hashes_that_may_not_be_read_are_no_missing_features(clinic: Clinic) -> None:
    declared = {"user": {"features": ["a"]}, "product": {"format": "hash", "features": ["price"]}}
    clinic.admin.hset("product:h", "price", 1)
    url = clinic.user("allkeys", "+@all", "-hmget")
    with Redis.from_url(url) as reader, pytest.raises(NoPermissionError):
        take_sample(only(reader), FeatureSchema.from_mapping(declared))


def test_features_among_many_other_keys_are_found_and_counted_by_estimate(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ranker.doctor.keyspace.SCAN_KEYS", 3000)
    clinic.admin.mset({f"other:{i}": b"" for i in range(6000)})
    clinic.admin.mset(vectors("product", 4000))
    clinic.admin.delete(*(f"user:{i}" for i in range(1, USERS)))  # one is left, which the pass may not see
    keyspace = look([clinic.admin], SCHEMA, 100)
    assert not keyspace.whole
    assert 3000 <= keyspace.scanned < 6000
    assert keyspace.totals["product"] == pytest.approx(4000, rel=0.2)
    assert keyspace.keys["user"] == [b"user:0"]


def test_key_that_fits_both_templates_belongs_to_the_more_specific(clinic: Clinic) -> None:
    bare = {"user": {"features": ["a", "b", "c"]}, "product": {"key": "{id}", "features": ["p", "q", "r", "s"]}}
    schema = FeatureSchema.from_mapping(bare)
    clinic.admin.flushall()
    clinic.admin.mset({"user:1": "[1, 2, 3]", "17": "[1, 2, 3, 4]"})
    sample = take_sample(only(clinic.admin), schema)
    assert (sample.user.ids, sample.product.ids) == (["1"], ["17"])
    assert (sample.user.keys, sample.product.keys) == ([b"user:1"], [b"17"])


def test_bare_ids_of_both_are_told_apart_by_width(clinic: Clinic) -> None:
    bare = {"user": {"key": "{id}", "features": ["a", "b"]}, "product": {"key": "{id}", "features": ["p", "q", "r"]}}
    clinic.admin.flushall()
    clinic.admin.mset({"u": "[1, 2]", "v": "[3, 4]", "p": "[1, 2, 3]", "x": "nonsense"})
    sample = take_sample(only(clinic.admin), FeatureSchema.from_mapping(bare))
    assert sorted(sample.user.ids) == ["u", "v"]
    assert sample.product.ids == ["p"]
    assert sample.product.kinds == {"JSON": 1, "corrupt": 1}
    assert (sample.user.total, sample.product.total) == (2, 2)


# --- a rollout ------------------------------------------------------------------------------------------------------


def test_groups_are_examined_beside_users_and_products(clinic: Clinic) -> None:
    keys = {"live": "live:{userId}", "brand": "brand:{product.p0}", "bare": "bare:{productId}"}
    groups = {
        name: {"per": "user" if name == "live" else "product", "key": key, "features": [f"{name}1"]}
        for name, key in keys.items()
    }
    data = SCHEMA.to_metadata()
    data["product"]["features"][0] = {"name": "p0", "type": "category", "vocabulary": ["x"]}
    schema = FeatureSchema.from_mapping(data | {"groups": groups})
    tag, _ = store_model(mlp_onnx(schema.width), schema, "grouped")
    live = schema.keyed["live"]
    clinic.admin.mset({f"live:{i}": encode([[1.0]], schema.fingerprint_of(live))[0] for i in range(3)})
    clinic.admin.mset({"brand:x": b"[1]", "brand:y": b"no vector"})
    found = clinic.examine(RANKER_MODEL=tag)
    assert found["live features"].status == "ok"
    assert "3 like live:{userId}; of 3 read: 3 binary float32" in found["live features"].seen
    assert found["brand features"].status == "warn"
    assert found["brand features"].data["kinds"] == {"JSON": 1, "corrupt": 1}
    assert found["bare features"].status == "warn"
    assert "no key like bare:{productId}" in found["bare features"].seen
    assert "Until then its features take their defaults" in found["bare features"].remedy


def test_canary_and_shadow_are_examined_beside_the_model(clinic: Clinic) -> None:
    schema = FeatureSchema.from_mapping(
        {
            "user": {"key": "v2:user:{id}", "features": ["x"]},
            "product": {"key": "v2:product:{id}", "features": ["y", "z"]},
        }
    )
    canary, _ = store_model(mlp_onnx(3), schema, "next")
    clinic.admin.mset({f"v2:{key}": value for key, value in vectors("product", 7, schema).items()})
    found = clinic.examine(RANKER_CANARY_MODEL=canary, RANKER_SHADOW_MODEL="absent:1")
    assert list(found) == [
        *CHECKS[:3],
        *("canary", "canary output", "shadow"),
        *CHECKS[3:9],
        *("canary user features", "canary product features"),
        *CHECKS[9:],
    ]
    assert found["canary"].data["tag"] == canary
    assert (found["shadow"].status, "absent:1" in found["shadow"].seen) == ("fail", True)
    assert (found["canary user features"].status, found["canary product features"].status) == ("fail", "ok")
    assert found["canary product features"].data["total"] == 7
    assert found["product features"].data["total"] == PRODUCTS
    assert "of the canary" in found["memory"].seen


def test_canary_that_reads_other_features_under_the_same_keys_fails(clinic: Clinic) -> None:
    canary, _ = store_model(mlp_onnx(2), schema_of_width(1, 1), "same-keys")
    found = clinic.examine(RANKER_CANARY_MODEL=canary)["canary keys"]
    assert found.status == "fail"
    assert found.seen.endswith("other user features under the same keys user:{id}")
    assert found.remedy == "Give it key templates of its own."


def test_shadow_that_reads_other_features_under_the_canarys_keys_fails(clinic: Clinic) -> None:
    keys = {name: {"key": f"v2:{name}:{{id}}"} for name in ("user", "product")}
    tags = []
    for features in (["x"], ["y"]):
        schema = {name: {**key, "features": features} for name, key in keys.items()}
        tags.append(store_model(mlp_onnx(2), FeatureSchema.from_mapping(schema), f"next-{features[0]}")[0])
    found = clinic.examine(RANKER_CANARY_MODEL=tags[0], RANKER_SHADOW_MODEL=tags[1])
    assert "canary keys" not in found
    assert found["shadow keys"].status == "fail"
    assert (
        found["shadow keys"].seen
        == f"beside {tags[0]}, it reads other user features under the same keys v2:user:{{id}}"
    )


# --- the machine ----------------------------------------------------------------------------------------------------


def test_more_workers_than_cores_are_a_warning(clinic: Clinic) -> None:
    found = clinic.examine(RANKER_WORKERS="256")["cores"]
    assert found.status == "warn"
    assert "RANKER_WORKERS=auto" in found.remedy
    assert clinic.examine(RANKER_WORKERS=str(usable_cores()))["cores"].status == "ok"  # the runner shares them


def test_cache_larger_than_the_container_fails(tmp_path: Path) -> None:
    def container(limit: str, current: int, inactive: int) -> Path:
        (tmp_path / "memory.max").write_text(limit)
        (tmp_path / "memory.current").write_text(str(current))
        (tmp_path / "memory.stat").write_text(f"anon 1\ninactive_file {inactive}\n")
        return tmp_path

    settings = Settings(cache_mb=100, workers=2)
    # 300 MiB less 250 MiB in use, of which 200 MiB are pages of files that can go.
    small = container(str(300 << 20), 250 << 20, 200 << 20)
    assert available_bytes(small) == 250 << 20
    assert check_memory(settings, {"model": MODEL}, small).status == "warn"
    assert check_memory(settings, {"model": MODEL}, container(str(100 << 20), 0, 0)).status == "fail"
    assert check_memory(settings, {"model": MODEL}, container("max", 0, 0)).status == "ok"


def test_room_is_that_of_the_caches_a_worker_has_for_its_models() -> None:
    wide = FeatureSchema.from_mapping(
        {
            "user": {"key": "v2:user:{id}", "features": [f"u{i}" for i in range(64)]},
            "product": {"key": "v2:product:{id}", "features": [f"p{i}" for i in range(128)]},
        }
    )
    schemas = {"model": SCHEMA, "canary": wide, "shadow": SCHEMA}
    models = {role: loaded_model(mlp_onnx(schema.width), schema) for role, schema in schemas.items()}
    settings = Settings(cache_mb=3, workers=1, canary_model="c:1", shadow_model="s:1")
    found = check_memory(settings, models)
    for role, schema in schemas.items():
        store = Variant(ServedModel("a:1", schema, mlp_scores), settings, Policy(), Recorder()).store
        assert isinstance(store, CachedStore)
        prefix = "" if role == "model" else f"{role}_"
        held = {name: side.arena.capacity for name, side in (("users", store._users), ("products", store.products))}
        assert {name: found.data[f"{prefix}room_{name}"] for name in held} == held
    assert f"{found.data['canary_room_users']:,} users of the canary" in found.seen
    assert found.data["cache_bytes"] == 3 << 20


def test_check_that_breaks_or_hangs_is_a_finding() -> None:
    def breaks() -> list[Finding]:
        raise KeyError(SECRET)

    def hangs() -> list[Finding]:
        time.sleep(1)
        return []

    (broken,) = attempt("it", breaks, 5)
    assert (broken.status, SECRET in broken.seen) == ("fail", False)
    (hung,) = attempt("it", hangs, 0.05)
    assert (hung.status, hung.seen) == ("fail", "no result in 0.05 s")
    assert attempt("it", lambda: [ok("it", "well")], 5) == [ok("it", "well")]


@pytest.mark.parametrize("runner", ["service", "local"])
def test_runner_is_asked_the_way_a_worker_asks_it(runner: str) -> None:
    model = loaded_model(mlp_onnx(SCHEMA.width), SCHEMA)
    found = check_runner(Settings.from_env({"RANKER_RUNNER": runner}), model)
    assert found.status == "ok"
    assert found.data["rows"] == 100
    assert found.data["p50_ms"] > 0


def test_runner_that_cannot_share_memory_fails_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    far = tmp_path / ("x" * 120)  # a socket's path may not be as long
    far.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(far))
    found = check_runner(Settings.from_env({}), loaded_model(mlp_onnx(SCHEMA.width), SCHEMA))
    assert found.status == "fail"
    assert "TMPDIR" in found.remedy
