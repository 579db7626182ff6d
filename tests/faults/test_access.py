"""Who may read what: a Redis user with read-only rights serves, and TLS is verified."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trustme
from redis import Redis
from redis.exceptions import NoPermissionError

from ranker.errors import StoreUnavailable
from ranker.features.near_cache.cache import CachedStore
from ranker.features.store import RedisStore
from ranker.ingest.writer import FeatureWriter
from ranker.redis.connect import Connections, connect, tracking_beside
from ranker.redis.connection import RedisConnections
from ranker.redis.invalidation import Tracking
from ranker.vectors.rows import ProductId, UserId
from tests.support.pages import rights
from tests.support.proxy import Fault, FaultProxy
from tests.support.redis_process import Server
from tests.support.sample import SCHEMA, eventually, product_vector, run, user_vector
from tests.support.sentinels import watched


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server.running() as made:
        yield made


@pytest.fixture
def admin(server: Server) -> Iterator[Redis]:
    with server.client() as client:
        client.mset({"product:a": product_vector(1), "user:u": user_vector(1), "secret": "x"})
        yield client


def cached(url: str, connections: Connections | None = None, make_tracking: Any = None) -> CachedStore:
    return CachedStore(
        RedisStore(connections or RedisConnections(url, size=2, timeout_s=2.0), SCHEMA),
        SCHEMA,
        size_bytes=1 << 20,
        ttl_s=60,
        user_ttl_s=60,
        tracking="auto",
        make_tracking=make_tracking or partial(Tracking, url, timeout_s=2.0),
    )


async def price(store: CachedStore) -> float:
    return float((await store.fetch(UserId("u"), [ProductId("a")])).products.values[0, 0])


def documented_rules() -> list[str]:
    return rights("ranker")[0]


def test_documented_user_suffices_for_serving_with_tracking_and_for_nothing_else(server: Server, admin: Redis) -> None:
    admin.execute_command("ACL", "SETUSER", "ranker", "reset", *documented_rules())
    url = f"unix://ranker:PASSWORD@{server.socket}"

    async def test() -> None:
        store = cached(url)
        await store.open()
        await eventually(lambda: store.keeping)
        assert await price(store) == 1
        admin.set("product:a", product_vector(2))
        await eventually(lambda: store.invalidations > 0)
        assert await price(store) == 2
        await store.close()

    run(test)
    with Redis.from_url(url) as client:
        for command in (
            ("SET", "product:a", "x"),
            ("MGET", "secret"),
            ("GET", "product:a"),
            ("KEYS", "*"),
            ("FLUSHALL",),
        ):
            with pytest.raises(NoPermissionError):
                client.execute_command(*command)


def test_without_the_right_to_track_rows_live_by_time(
    server: Server, admin: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    rules = [rule for rule in documented_rules() if rule != "+client|tracking"]
    admin.execute_command("ACL", "SETUSER", "untold", "reset", *rules)

    async def test() -> None:
        store = cached(f"unix://untold:PASSWORD@{server.socket}")
        await store.open()
        await eventually(lambda: store.keeping)
        assert await price(store) == 1
        admin.set("product:a", product_vector(2))
        assert await price(store) == 1
        assert store.invalidations == 0
        await store.close()

    run(test)
    assert [r.name for r in caplog.records] == ["ranker.cache"]
    assert "NOPERM" in caplog.text
    assert "60 s old" in caplog.text


def test_right_to_track_that_is_taken_away_and_given_back_shows_nothing_stale(server: Server, admin: Redis) -> None:
    admin.execute_command("ACL", "SETUSER", "ranker", "reset", *documented_rules())

    async def test() -> None:
        store = cached(f"unix://ranker:PASSWORD@{server.socket}")
        await store.open()
        await eventually(lambda: store.keeping)
        assert await price(store) == 1
        admin.execute_command("ACL", "SETUSER", "ranker", "-client|tracking")
        for client in admin.client_list():
            if client["user"] == "ranker":
                admin.client_kill_filter(_id=client["id"])
        await eventually(lambda: not store.keeping)
        for value in (2, 3):
            admin.set("product:a", product_vector(value))
            assert await price(store) == value
        await asyncio.sleep(0.3)  # several refused tries
        assert not store.keeping
        admin.execute_command("ACL", "SETUSER", "ranker", "+client|tracking")
        await eventually(lambda: store.keeping)
        await store.close()

    run(test)


def test_right_to_track_that_comes_late_is_noticed_and_old_rows_go(
    server: Server, admin: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ranker.redis.invalidation.REFUSED_RETRY_S", 0.5)
    rules = [rule for rule in documented_rules() if rule != "+client|tracking"]
    admin.execute_command("ACL", "SETUSER", "late", "reset", *rules)

    async def test() -> None:
        store = cached(f"unix://late:PASSWORD@{server.socket}")
        await store.open()
        await eventually(lambda: store.keeping)
        assert await price(store) == 1
        admin.set("product:a", product_vector(2))  # nobody is told
        assert await price(store) == 1
        admin.execute_command("ACL", "SETUSER", "late", "+client|tracking")
        await eventually(lambda: store.invalidations > 0)
        assert await price(store) == 2
        told = store.invalidations
        admin.set("product:a", product_vector(3))
        await eventually(lambda: store.invalidations > told)
        assert await price(store) == 3
        await store.close()

    run(test)


@pytest.mark.parametrize("reply", [b"-BUSY a script", b"-MOVED 1 127.0.0.1:1", b"-MASTERDOWN", b"-LOADING", b"-OOM"])
def test_trouble_while_tracking_begins_is_no_refusal(server: Server, admin: Redis, reply: bytes) -> None:
    async def test() -> None:
        async with FaultProxy(server.socket) as proxy:
            proxy.fault = Fault(answer=reply + b"\r\n")
            store = cached(proxy.url)
            with pytest.raises(StoreUnavailable):
                await store.open()
            await asyncio.sleep(0.2)
            assert not store.keeping
            proxy.fault = Fault()
            await eventually(lambda: store.keeping)
            await store.close()

    run(test)


def test_tls_server_of_an_unknown_authority_is_refused_and_of_a_named_one_accepted(
    server: Server, admin: Redis, tmp_path: Path
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    known = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(known))
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))

    async def test() -> None:
        async with FaultProxy(server.socket, context) as proxy:
            for url in (proxy.url, f"{proxy.url}?ssl_ca_certs={other}"):
                connections = RedisConnections(url, size=2, timeout_s=2.0)
                with pytest.raises(StoreUnavailable, match="certificate verify failed"):
                    await connections.ping()
                await connections.close()
            store = cached(f"{proxy.url}?ssl_ca_certs={known}")
            await store.open()
            await eventually(lambda: store.keeping)
            assert await price(store) == 1
            await store.close()

    run(test)


def test_tls_certificate_of_another_name_is_refused(server: Server, tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("redis.example").configure_cert(context)
    known = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(known))

    async def test() -> None:
        async with FaultProxy(server.socket, context) as proxy:
            connections = RedisConnections(f"{proxy.url}?ssl_ca_certs={known}", size=2, timeout_s=2.0)
            with pytest.raises(StoreUnavailable, match="certificate verify failed"):
                await connections.ping()
            await connections.close()

    run(test)


def test_documented_users_suffice_where_sentinels_name_the_primary(tmp_path: Path) -> None:
    (of_sentinels,) = rights("sentinel-reader")
    (rules,) = rights("ranker")[:1]
    user = ["user", "sentinel-reader", "reset", *of_sentinels]
    with watched(tmp_path, replicas=0, sentinel_options=[" ".join(user)]) as service:
        with service.client(service.servers[0]) as primary:
            primary.execute_command("ACL", "SETUSER", "ranker", "reset", *rules)
            primary.mset({"product:a": product_vector(1), "user:u": user_vector(1)})
            asked = "sentinel_username=sentinel-reader&sentinel_password=PASSWORD"
            url = f"{service.url.replace('://', '://ranker:PASSWORD@')}?{asked}"

            async def test() -> None:
                connections = connect(url, size=2, timeout_s=2.0)
                store = cached(url, connections, tracking_beside(connections, url, timeout_s=2.0))
                await store.open()
                await eventually(lambda: store.keeping)
                assert await price(store) == 1
                await asyncio.to_thread(primary.set, "product:a", product_vector(2))
                await eventually(lambda: store.invalidations > 0)
                assert await price(store) == 2
                await store.close()
                wrong = connect(url.replace("d=PASSWORD", "d=other"), size=1, timeout_s=2.0)
                with pytest.raises(StoreUnavailable, match="invalid username-password"):
                    await wrong.ping()
                await wrong.close()

            run(test)
        (of_loader,) = rights("loader")[:1]
        with service.client(service.servers[0]) as primary:
            primary.execute_command("ACL", "SETUSER", "loader", "reset", *of_loader)
        loading = url.replace("://ranker", "://loader").replace("127.0.0.1:", "127.0.0.1:1,127.0.0.1:", 1)
        with FeatureWriter(loading, SCHEMA) as writer:  # the first Sentinel named is down
            writer.write_products(["b"], [[7, 7, 7]])
        with service.client(service.servers[0]) as primary:
            assert primary.get("product:b") == product_vector(7)
