"""`ranker doctor --capacity` measures everything on real parts, says what it could not, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import json
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import psutil
import pytest
from click.testing import CliRunner, Result
from redis import Redis
from starlette.types import Receive, Scope, Send

import ranker.doctor.capacity.survey as surveying
from ranker import FeatureWriter
from ranker.cli import main
from ranker.cli.display.capacity import as_data, print_survey
from ranker.doctor.capacity.figures import STATES, State
from ranker.doctor.capacity.loopback import measure
from ranker.doctor.capacity.requests import make_requests, warming
from ranker.doctor.capacity.server import measure_key_us, measure_redis_bytes
from ranker.doctor.capacity.survey import Survey, survey
from ranker.doctor.capacity.whole import measure_wholes
from ranker.doctor.nodes import Node, Nodes
from ranker.doctor.sample import Sample, take_sample
from ranker.errors import StoreUnavailable
from ranker.features.near_cache.arena import ENTRY_BYTES
from ranker.importing.compile import compile_graph
from ranker.scoring.loaded import LoadedModel
from ranker.scoring.model import OnnxModel
from ranker.scoring.registry import store_model
from ranker.scoring.split.model import SplitModel
from ranker.scoring.split.note import Note
from ranker.settings.environment import Settings
from ranker.vectors.group import EntitySchema
from ranker.vectors.rows import Scores, SplitRows
from ranker.vectors.schema import FeatureSchema
from ranker.vectors.stored.encoding import encode
from tests.support.models import loaded_model, mlp_onnx, schema_of_width, temporary_model_store
from tests.support.splits import cut_mlp
from tests.unit.importing.test_preamble import weighted

SCHEMA = schema_of_width(3, 4)
MODEL = loaded_model(mlp_onnx(SCHEMA.width), SCHEMA)
USERS, PRODUCTS, ASKED = 10, 40, 8
BUDGET_S = 0.02


def only(client: Redis) -> Nodes:
    return Nodes([Node(client, "")])


@pytest.fixture
def stored(redis_client: Redis) -> Redis:
    rng = np.random.default_rng(0)
    for entity, count, width in (("user", USERS, 3), ("product", PRODUCTS, 4)):
        rows = encode(rng.standard_normal((count, width), dtype=np.float32), SCHEMA.fingerprint)
        redis_client.mset({f"{entity}:{i}": row for i, row in enumerate(rows)})
    return redis_client


@pytest.fixture
def sample(stored: Redis) -> Sample:
    return take_sample(only(stored), SCHEMA)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ranker.doctor.capacity.requests.VARIETY", 50)


@pytest.fixture(autouse=True)
def nothing_left(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No process, thread or file of a measurement outlives it."""
    tmp_path_factory.getbasetemp()  # before there is another place for what is temporary
    gc.collect()  # ends the threads of scorers that earlier tests dropped; the survey would freeze them for good
    processes = {*psutil.Process().children()}
    threads = {*threading.enumerate()}
    with tempfile.TemporaryDirectory(prefix="survey-") as temporary:  # short enough for a socket's path
        monkeypatch.setenv("TMPDIR", temporary)
        monkeypatch.setattr(tempfile, "tempdir", temporary)
        yield
        assert not any(path.name.endswith(".rows") for path in Path(temporary).glob("ranker-*/*"))
    assert {*psutil.Process().children()} <= processes
    started = {*threading.enumerate()} - threads
    assert not [t for t in started if t.name in ("runner", "doctor") or t.name.startswith("scorer")]


@pytest.mark.parametrize("runner", ["local", "service"])
def test_everything_is_measured_in_both_shapes(redis_url: str, stored: Redis, sample: Sample, runner: str) -> None:
    log = {"feature_log": "stream:served", "feature_log_percent": 100}
    settings = Settings.model_validate({"redis_url": redis_url, "runner": runner} | log)
    surveyed = survey(settings, MODEL, sample, ASKED, None, BUDGET_S)
    costs, shop = surveyed.costs, surveyed.shop
    assert tuple(costs.api_us) == STATES
    assert min(costs.api_us.values()) > 0
    assert costs.products == ASKED
    assert (costs.runner_us is not None) == (runner == "service")
    assert costs.redis_key_us is not None
    assert (shop.user.count, shop.product.count) == (USERS, PRODUCTS)
    assert (shop.user.wire_bytes, shop.product.wire_bytes) == pytest.approx((6 + 6 + 27, 10 + 5.75 + 31), abs=2)
    assert shop.http_bytes > 100
    assert shop.process_bytes > 10 << 20
    assert surveyed.not_measured == []
    assert not surveyed.defaulted
    assert not stored.exists("served")  # for nobody was served


class Counted(SplitModel):
    """Counts the rounds that it scores."""

    rounds = 0

    def score_rows(self, rows: SplitRows) -> Scores:
        self.rounds += 1
        return super().score_rows(rows)


@pytest.mark.parametrize("runner", ["local", "service"])
def test_the_parts_of_a_split_model_are_measured_as_they_are_served(
    redis_url: str, sample: Sample, runner: Literal["local", "service"]
) -> None:
    cut, settings = cut_mlp(SCHEMA), Settings(redis_url=redis_url, runner=runner)
    split = Counted(cut.parts, SCHEMA)
    model = LoadedModel(SCHEMA, lambda: OnnxModel(cut.whole, SCHEMA), split, Note())
    surveyed = survey(settings, model, sample, ASKED, None, BUDGET_S)
    assert split.rounds > len(STATES)
    assert surveyed.parts is not None
    assert min(surveyed.parts.whole_us, surveyed.parts.split_us, surveyed.parts.prepare_us) > 0
    assert (surveyed.parts.products, surveyed.parts.product_bytes) == (ASKED, 4 * 16)
    assert surveyed.shop.product.entry_bytes == 4 * (4 + 16) + ENTRY_BYTES
    assert surveyed.shop.user.entry_bytes == 4 * 3 + ENTRY_BYTES
    said = as_data(surveyed, [100.0], 0.6, None)["parts"]
    assert said == surveyed.parts.model_dump()
    assert survey(settings, MODEL, sample, ASKED, None, BUDGET_S).parts is None


GROUPED = FeatureSchema.from_mapping(
    {
        "user": {"features": ["age"]},
        "product": {"features": ["price", {"name": "brand", "type": "category", "vocabulary": ["x", "y"]}]},
        "groups": {
            "live": {"per": "user", "key": "live:{userId}", "ttl_s": 30, "features": ["clicks", "carts"]},
            "brand": {"per": "product", "key": "brand:{product.brand}", "features": ["rating"]},
            "stock": {"per": "product", "key": "stock:{productId}", "format": "hash", "features": ["left"]},
        },
    }
)


@pytest.mark.parametrize("in_parts", [False, True])
def test_keys_of_groups_are_counted_in_redis_and_in_the_cache(
    redis_url: str, redis_client: Redis, in_parts: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    schema = GROUPED
    with FeatureWriter(redis_url, schema) as writer:
        writer.write_users(["u"], [[30.0]])
        writer.write_products(["a", "b", "c"], pd.DataFrame({"price": [1.0, 2.0, 3.0], "brand": ["x", "y", "x"]}))
        writer.write_group("live", ["u"], [[5.0, 2.0]])
        writer.write_group("brand", ["x", "y"], [[4.5], [3.5]])
    redis_client.hset("stock:a", "left", "9")
    cut = cut_mlp(schema)
    model = loaded_model(cut.whole, schema)
    if in_parts:
        model = LoadedModel(schema, lambda: OnnxModel(cut.whole, schema), SplitModel(cut.parts, schema), Note())
    sample = take_sample(only(redis_client), schema)
    assert {one.name: one.total for one in sample.entities} == {
        "user": 1,
        "product": 3,
        "live": 1,
        "brand": 2,
        "stock": 1,
    }
    settings = Settings(redis_url=redis_url, runner="local")
    surveyed = survey(settings, model, sample, 3, None, BUDGET_S)
    groups = surveyed.shop.groups
    assert {name: (one.count, one.per, one.ttl_s) for name, one in groups.items()} == {
        "live": (1, "user", 30.0),
        "brand": (2, "product", 300.0),
        "stock": (1, "product", 300.0),
    }
    assert groups["live"].entry_bytes == 4 * 2 + ENTRY_BYTES
    assert groups["stock"].wire_bytes == (7 + 6) + (4 + 6) + (1 + 6)  # key, field and value, as bulk strings
    assert all((one.redis_bytes or 0) > 24 for one in groups.values())
    shares = [one.cache_share for one in surveyed.shop.entities.values()]
    assert sum(shares) == pytest.approx(1)
    assert surveyed.not_measured == []
    assert surveyed.costs.redis_key_us is not None
    assert (surveyed.parts is not None) == in_parts
    print_survey(surveyed, [100.0], 0.6, None)
    printed = " ".join(capsys.readouterr().out.split())
    assert "1 users, 3 products, 1 rows of live, 2 rows of brand and 1 rows of stock" in printed
    assert "a row of live after 30 s" in printed


def test_products_of_histories_that_are_looked_up_are_counted(redis_url: str, redis_client: Redis) -> None:
    schema = FeatureSchema.from_mapping(
        {
            "user": {"features": [{"name": "viewed", "type": "product", "length": 4}]},
            "product": {"features": ["price", {"name": "style", "shape": [2]}]},
            "inputs": {"viewed_style": "viewed.style"},
        }
    )
    inputs = [("viewed_style", ["n", 8], "float"), ("price", ["n", 1], "float")]
    model = loaded_model(compile_graph(weighted(inputs, [8, 1]), schema), schema)
    redis_client.mset({"user:u": b"[[1, 2, 9]]", "product:1": b"[1, [1, 2]]", "product:2": b"[2, [3, 4]]"})
    settings = Settings(redis_url=redis_url, runner="local")
    surveyed = survey(settings, model, take_sample(only(redis_client), schema), 2, None, BUDGET_S)
    assert (surveyed.costs.products, surveyed.costs.looked_up) == (2, 4)


def test_groups_with_a_time_to_live_of_their_own_follow_the_states(redis_url: str, redis_client: Redis) -> None:
    redis_client.mset({"user:u": b"[1]", "product:a": b'[1, "x"]', "product:b": b'[2, "y"]'})
    group = GROUPED.to_metadata()["groups"]["live"] | {"format": "hash", "ttl_s": 3600}
    schema = FeatureSchema.from_mapping(GROUPED.to_metadata() | {"groups": {"live": group}})
    model = loaded_model(mlp_onnx(schema.width), schema)
    requests = make_requests(take_sample(only(redis_client), schema), 2)

    def reads_of_group(state: State) -> int:
        redis_client.config_resetstat()
        settings = Settings(redis_url=redis_url, runner="local")
        asyncio.run(measure_wholes(settings, model, requests, BUDGET_S, [state]))
        return int(redis_client.info("commandstats")["cmdstat_hmget"]["calls"])  # nothing else is a hash

    assert reads_of_group("all read") > 2 + reads_of_group("all cached")


def test_each_state_reads_from_redis_what_it_says(redis_url: str, stored: Redis, sample: Sample) -> None:
    settings, requests = Settings(redis_url=redis_url, runner="local"), make_requests(sample, ASKED)

    def keys_read(state: State) -> int:
        before = stored.info("stats")["keyspace_hits"]
        asyncio.run(measure_wholes(settings, MODEL, requests, BUDGET_S, [state]))
        return int(stored.info("stats")["keyspace_hits"] - before)

    once = USERS + PRODUCTS  # what fills the cache
    assert keys_read("all cached") == once
    # At least 2 x 64 answers: of 64 in flight that share an MGET, each round reads the users, or everything, again.
    assert keys_read("user read") > once + USERS
    assert keys_read("all read") > 2 * once


def test_without_a_cache_only_that_state_is_measured(redis_url: str, sample: Sample) -> None:
    surveyed = survey(Settings(redis_url=redis_url, cache_mb=0, runner="local"), MODEL, sample, ASKED, None, BUDGET_S)
    assert list(surveyed.costs.api_us) == ["all read"]


def test_fewer_products_than_asked_for_are_said(redis_url: str, sample: Sample) -> None:
    settings = Settings(redis_url=redis_url, runner="local")
    assert survey(settings, MODEL, sample, 1000, None, BUDGET_S).costs.products == PRODUCTS


def test_what_fills_the_cache_covers_what_is_asked(sample: Sample) -> None:
    requests = make_requests(sample, ASKED)
    filling = warming(requests)
    assert {r.userId for r in filling} == {r.userId for r in requests}
    assert {p for r in filling for p in r.productIds} == {p for r in requests for p in r.productIds}
    assert sum(len(r.productIds) for r in filling) <= USERS + PRODUCTS


def test_redis_that_goes_away_is_its_own_error(sample: Sample) -> None:
    settings = Settings(redis_url="unix:///tmp/no-such.sock", runner="local")
    with pytest.raises(StoreUnavailable):
        survey(settings, MODEL, sample, ASKED, None, BUDGET_S)


def test_failure_behind_http_is_raised_in_front_of_it() -> None:
    class Failing:
        lane = None
        failure: Exception | None = None

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            self.failure = StoreUnavailable("gone")
            await send({"type": "http.response.start", "status": 503, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})

    with pytest.raises(StoreUnavailable, match="gone"):
        asyncio.run(measure(Failing(), [b"{}"], BUDGET_S))


def reads(sample: Sample) -> list[tuple[EntitySchema, list[bytes]]]:
    return [(sample.user.entity, sample.user.keys[:1]), (sample.product.entity, sample.product.keys)]


def test_hashes_are_measured_as_hashes(redis_url: str, redis_client: Redis) -> None:
    declared = {"user": {"features": ["a"]}, "product": {"format": "hash", "features": ["price", "stock"]}}
    schema = FeatureSchema.from_mapping(declared)
    redis_client.set("user:1", "[1]")
    for i in range(PRODUCTS):
        redis_client.hset(f"product:{i}", mapping={"price": 1.5, "stock": 7})
    model = loaded_model(mlp_onnx(schema.width), schema)
    sample = take_sample(only(redis_client), schema)
    settings = Settings(redis_url=redis_url, runner="local")
    surveyed = survey(settings, model, sample, ASKED, None, BUDGET_S)
    assert surveyed.costs.redis_key_us is not None
    # The key, the fields' names and their values, each with its length and two ends of line.
    key, names, values = 5 + 2 + 10, (5 + 1 + 5) * 2, 2 * (2 + 1 + 5)
    assert surveyed.shop.product.wire_bytes == pytest.approx(key + names + values, abs=2)


def test_figures_a_user_may_not_ask_for_are_none(redis_url: str, stored: Redis, sample: Sample) -> None:
    stored.acl_setuser("shy", enabled=True, nopass=True, keys=["*"], commands=["+mget", "+hello", "+ping"])
    with Redis.from_url(redis_url.replace("unix://", "unix://shy:x@"), protocol=2) as client:
        assert measure_key_us(only(client), reads(sample), BUDGET_S) is None
        assert measure_redis_bytes(only(client), sample.product) is None
    stored.acl_deluser("shy")
    assert (measure_redis_bytes(only(stored), sample.product) or 0) > 24


def test_cpu_of_other_clients_is_not_taken_for_ours(redis_url: str, stored: Redis, sample: Sample) -> None:
    assert measure_key_us(only(stored), reads(sample), BUDGET_S) is not None
    ended = threading.Event()

    def disturb() -> None:
        with Redis.from_url(redis_url) as other:
            while not ended.is_set():
                other.ping()

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        assert measure_key_us(only(stored), reads(sample), 0.2) is None
    finally:
        ended.set()
        thread.join()


# --- the command ----------------------------------------------------------------------------------------------------


@pytest.fixture
def model_tag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(surveying, "survey", partial(survey, budget_s=BUDGET_S))
    with temporary_model_store(tmp_path):
        yield store_model(mlp_onnx(SCHEMA.width), SCHEMA, "shop")[0]


def run(redis_url: str, model_tag: str, *arguments: str) -> Result:
    environ = {"RANKER_REDIS_URL": redis_url, "RANKER_MODEL": model_tag, "RANKER_RUNNER": "local"}
    return CliRunner().invoke(main, ["doctor", "--capacity", "--products", str(ASKED), *arguments], env=environ)


@pytest.mark.usefixtures("stored")
def test_capacity_prints_what_it_measured_assumed_and_concluded(redis_url: str, model_tag: str) -> None:
    result = run(redis_url, model_tag, "--rate", "50", "--rate", "5000", "--utilisation", "0.5")
    assert result.exit_code == 0, result.output
    assert f"Measured here and now, with {ASKED} products a request" in result.stdout
    assert "50% of each core is left free" in result.stdout
    assert "a user again after 10 s and a product after 300 s" in result.stdout
    rows = [line.split()[:2] for line in result.stdout.splitlines() if line.strip().startswith(("50 ", "5,000 "))]
    assert rows == [["50", "warm"], ["50", "cold"], ["5,000", "warm"], ["5,000", "cold"]]
    assert "not measured" not in result.stdout


@pytest.mark.usefixtures("stored")
def test_capacity_as_json_adds_up(redis_url: str, model_tag: str) -> None:
    report = json.loads(run(redis_url, model_tag, "--json", "--hit-rates", "1", "1").stdout)["capacity"]
    assert [(p["rate"], p["cache"]) for p in report["plans"]] == [
        (rate, cache) for rate in (1e3, 1e4, 1e5) for cache in ("warm", "cold")
    ]
    cached_us = report["costs"]["api_us"]["all cached"]
    warm = report["plans"][2]
    assert warm["api_cores"] == pytest.approx(10_000 * cached_us / 1e6 / 0.6)
    assert (warm["keys_per_s"], report["hit_rates"]) == (0, "stated")
    assert report["plans"][3]["keys_per_s"] == pytest.approx(10_000 * (ASKED + 1))


def test_capacity_without_features_fails_with_what_it_needs(
    redis_url: str, redis_client: Redis, model_tag: str
) -> None:
    result = run(redis_url, model_tag)
    assert result.exit_code == 1
    assert "fail  capacity          not measured" in result.stdout
    assert "stored users and products" in result.stdout


@pytest.mark.usefixtures("stored")
def test_capacity_says_what_was_not_measured(redis_url: str, model_tag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def blind(*arguments: object) -> Survey:
        seen: Survey = survey(*arguments, budget_s=BUDGET_S)  # type: ignore[arg-type]  # handed on as they came
        costs = replace(seen.costs, redis_key_us=None)
        return replace(seen, costs=costs, not_measured=["CPU of Redis"])

    monkeypatch.setattr(surveying, "survey", blind)
    result = run(redis_url, model_tag)
    assert "not measured us for each key" not in result.stdout
    assert "CPU of Redis: what needs it is left open" in result.stdout
    (warm, *_) = [line for line in result.stdout.splitlines() if line.strip().startswith("1,000")]
    assert "not measured" in warm


@pytest.mark.parametrize("arguments", [["--utilisation", "1"], ["--hit-rates", "1.5", "0"], ["--rate", "0"]])
def test_figures_that_make_no_sense_are_refused(arguments: list[str]) -> None:
    assert CliRunner().invoke(main, ["doctor", "--capacity", *arguments]).exit_code == 2
