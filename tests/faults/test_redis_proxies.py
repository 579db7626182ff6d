"""Proxies before Redis that refuse HELLO and CLIENT in their own words, or hang up: rows live by their TTL."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from redis import Redis

from ranker.demo.ports import free_port
from ranker.demo.servers import running
from ranker.doctor.examination import Examination
from ranker.ingest.writer import AsyncFeatureWriter, FeatureWriter
from ranker.scoring.registry import store_model
from ranker.vectors.rows import ProductId, UserId
from tests.support.models import mlp_onnx, temporary_model_store
from tests.support.near_cache import near
from tests.support.redis_proxies import envoy, twemproxy
from tests.support.sample import SCHEMA, eventually, product_vector, run, user_vector

PRODUCTS = [ProductId(str(i)) for i in range(30)]


@pytest.fixture(scope="module", params=["twemproxy", "envoy", "envoy with a password"])
def proxied(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Redis]]:
    """The URL of a proxy, and a client of the Redis behind it."""
    folder, port = tmp_path_factory.mktemp("proxied"), free_port()
    with ExitStack() as stack:
        redis = stack.enter_context(running(folder / "redis", port))
        if request.param == "twemproxy":
            yield stack.enter_context(twemproxy(folder / "proxy", port)), redis
        else:
            password = "proxy-s" if "password" in request.param else None
            yield stack.enter_context(envoy(port, password)), redis


def test_rows_are_cached_by_their_ttl_after_one_line_in_the_log(
    proxied: tuple[str, Redis], caplog: pytest.LogCaptureFixture
) -> None:
    url, redis = proxied
    redis.mset({"user:u": user_vector(1), **{f"product:{i}": product_vector(int(i)) for i in PRODUCTS}})

    async def test() -> None:
        store = near(url, tracking="auto")
        try:
            await store.open()
            await eventually(lambda: store.keeping)
            for _ in range(2):
                features = await store.fetch(UserId("u"), PRODUCTS)
                assert features.unread is None
                assert features.products.values[:, 0].tolist() == [float(i) for i in PRODUCTS]
                redis.flushall()  # the second time, they are in the cache
        finally:
            await store.close()

    with caplog.at_level(logging.WARNING):
        run(test)
    (record,) = caplog.records
    assert "Redis announces no changes" in record.getMessage()


def test_features_are_loaded_through_it(proxied: tuple[str, Redis]) -> None:
    url, redis = proxied
    row = [[9.0] * SCHEMA.product.width]
    with FeatureWriter(url, SCHEMA) as writer:
        writer.write_products(["1"], row)
    with FeatureWriter(url, SCHEMA, ttl_s=60) as writer:
        writer.write_products(["2"], row)

    async def test() -> None:
        async with AsyncFeatureWriter(url, SCHEMA) as writer:
            await writer.write_products(["3"], row)

    run(test)
    assert redis.mget("product:1", "product:2", "product:3") == [product_vector(9)] * 3
    assert redis.pttl("product:2") > 0


def test_doctor_says_what_cannot_be_asked_and_fails_for_none_of_it(proxied: tuple[str, Redis], tmp_path: Path) -> None:
    url, _ = proxied
    (tmp_path / "models").mkdir()
    with temporary_model_store(tmp_path / "models"):
        tag, _ = store_model(mlp_onnx(SCHEMA.width), SCHEMA, "shop")
        environ = {"RANKER_REDIS_URL": url, "RANKER_MODEL": tag, "RANKER_DEADLINE_MS": "2000"}
        findings = {f.check: f for f in Examination(environ, tmp_path).findings()}
    expected = {"redis": "ok", "server": "warn", "eviction": "warn", "tracking": "warn", "features": "warn"}
    assert {check: findings[check].status for check in expected} == expected
    assert "refused" in findings["tracking"].seen
    assert "SCAN" in findings["features"].seen
    assert "fail" not in (findings[check].status for check in ("round trip", "trial ranking"))


def test_redis_that_is_away_at_the_start_is_no_refusal(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    port = free_port()

    async def test() -> None:
        store = near(f"redis://127.0.0.1:{port}", tracking="auto")
        try:
            with pytest.raises(Exception, match=str(port)):
                await store.open()
            await eventually(lambda: "invalidation connection is down" in caplog.text)
            with running(tmp_path / "redis", port) as redis:
                await eventually(lambda: store.keeping)
                assert redis.info("clients")["tracking_clients"] == 1
        finally:
            await store.close()

    with caplog.at_level(logging.WARNING):
        run(test)
    assert "announces no changes" not in caplog.text
