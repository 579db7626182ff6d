"""What lasts longer than a request: stopping, degrading, and coming back."""

from __future__ import annotations

import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from redis import Redis

from ranker.demo.redis import EmbeddedRedis
from ranker.vectors.stored.encoding import encode
from tests.service import served_log
from tests.service.conftest import SCHEMA, Shop, serve


@pytest.fixture
def own_redis(shop: Shop) -> Iterator[EmbeddedRedis]:
    """A server that a test may stop."""
    with tempfile.TemporaryDirectory(prefix="ranker-", dir="/tmp") as name:
        server = EmbeddedRedis(Path(name))
        server.start()
        with Redis.from_url(server.url) as client:
            client.mset({f"user:{i}": v for i, v in enumerate(encode(shop.users, SCHEMA.fingerprint))})
            client.mset({f"product:{i}": v for i, v in enumerate(encode(shop.products, SCHEMA.fingerprint))})
        yield server
        server.stop()


BODY = {"requestId": "r", "userId": "3", "productIds": ["1", "2", "3"]}


def ask(url: str, **change: object) -> httpx.Response:
    return httpx.post(f"{url}/predict", json=BODY | change, timeout=10)


def test_hot_products_are_in_the_cache_before_the_first_request(
    shop: Shop, own_redis: EmbeddedRedis, tmp_path: Path
) -> None:
    (tmp_path / "hot").write_text("1\n2\n\n 3 \n")
    settings = {"RANKER_REDIS_URL": own_redis.url, "RANKER_WARM_PRODUCTS": str(tmp_path / "hot")}
    with serve(shop.environment | settings | {"RANKER_RUNNER": "local"}, tmp_path / "log") as served:
        own_redis.stop()
        answer = ask(served.url, userId="nobody", productIds=["1", "2", "3", "4"]).json()
    # Nothing had been asked for before Redis went away: what is known of the products, the file brought.
    assert answer["degraded"]
    assert answer["missing"] == ["4"]


@pytest.mark.parametrize("runner", ["service", "local"])
def test_stop_is_clean_and_quick_and_leaves_a_feature_log_that_replays(
    stocked: Shop, tmp_path: Path, runner: str
) -> None:
    folder = tmp_path / "served"
    env = stocked.environment | {"RANKER_RUNNER": runner} | served_log.settings(folder)
    with serve(env, tmp_path / "log") as served:
        responses = served_log.ask(served.url)
        assert list(folder.glob("*.parquet")) == []
        started = time.monotonic()
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(20) == 0
        assert time.monotonic() - started < 15
        log = served.log.read_text()
    assert "Traceback" not in log
    assert "Unclosed" not in log
    served_log.check_kept(stocked, folder, responses)
    served_log.check_replay(stocked, folder)


def metric(url: str, name: str) -> float:
    """Sum a metric over its labels, as Prometheus sees it now."""
    lines = httpx.get(f"{url}/metrics", timeout=10).text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.split("{")[0].split(" ")[0] == name)


def test_dead_redis_degrades_and_full_answers_come_back(shop: Shop, own_redis: EmbeddedRedis, tmp_path: Path) -> None:
    env = shop.environment | {"RANKER_REDIS_URL": own_redis.url}
    with serve(env, tmp_path / "log") as served:
        full = ask(served.url).json()
        assert not full["degraded"]
        own_redis.stop()
        # What was ranked before is remembered; what was not gets the default vectors.
        remembered = ask(served.url)
        assert remembered.status_code == 200
        assert remembered.json() == full | {"degraded": True, "degradedReason": "features_unavailable"}
        deadline = time.monotonic() + 30
        while metric(served.url, "ranker_redis_breaker_open") != 1 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert metric(served.url, "ranker_redis_breaker_open") == 1
        assert metric(served.url, "ranker_redis_failures_total") >= 1
        unknown = ask(served.url, userId="4", productIds=["9", "8"]).json()
        assert (unknown["ranking"], unknown["missing"], unknown["degraded"]) == (["9", "8"], ["9", "8"], True)
        own_redis.start()
        deadline = time.monotonic() + 30
        while ask(served.url).json() != full and time.monotonic() < deadline:
            time.sleep(0.05)
        assert ask(served.url).json() == full
        while metric(served.url, "ranker_redis_breaker_open") != 0 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert metric(served.url, "ranker_redis_breaker_open") == 0
        assert metric(served.url, "ranker_redis_breaker_openings_total") >= 1
        assert metric(served.url, "ranker_redis_connections_total") >= 3  # two at the start, and again


def test_dead_redis_is_an_error_where_the_policy_says_so(shop: Shop, own_redis: EmbeddedRedis, tmp_path: Path) -> None:
    env = shop.environment | {"RANKER_REDIS_URL": own_redis.url, "RANKER_ON_FAILURE": "error", "RANKER_RUNNER": "local"}
    with serve(env, tmp_path / "log") as served:
        own_redis.stop()
        response = ask(served.url)
        assert (response.status_code, response.json()["error_type"]) == (503, "store_unavailable")


def test_policies_of_missing_features_hold_over_http(stocked: Shop, tmp_path: Path) -> None:
    env = stocked.environment | {
        "RANKER_RUNNER": "local",
        "RANKER_MISSING_USER": "error",
        "RANKER_MISSING_PRODUCT": "drop",
        "RANKER_MAX_PRODUCTS": "5",
        "RANKER_MAX_IN_FLIGHT_ROWS": "3",
        "RANKER_CACHE_MB": "0",
    }
    with serve(env, tmp_path / "log") as served:
        unknown = ask(served.url, userId="nobody")
        assert (unknown.status_code, unknown.json()["error_type"]) == (404, "unknown_user")
        dropped = ask(served.url, productIds=["1", "none", "2"]).json()
        assert (sorted(dropped["ranking"]), dropped["missing"]) == (["1", "2"], ["none"])
        crowded = ask(served.url, productIds=["1", "2", "3", "4"])
        assert (crowded.status_code, crowded.json()["error_type"]) == (429, "overloaded")
        assert crowded.headers["retry-after"] == "1"
        assert ask(served.url, productIds=list("123456")).json()["error_type"] == "too_many_products"
