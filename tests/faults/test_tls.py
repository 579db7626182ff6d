"""TLS as real servers speak it: authorities, names and certificates of clients; with Sentinels, and with a Cluster."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from redis import Redis

from ranker.demo.ports import free_port
from ranker.demo.servers import wait_for
from ranker.doctor.nodes import find_nodes
from ranker.errors import StoreUnreachable
from ranker.redis.clients import close_async, connect, connect_async
from ranker.redis.pools import make_pool, new_connection
from ranker.serving.preflight import check_redis
from ranker.settings.environment import Settings
from ranker.vectors.rows import ProductId, UserId
from tests.support.near_cache import near
from tests.support.sample import eventually, product_vector, run, user_vector
from tests.support.sentinels import Software, Watched, watched
from tests.support.tls import Authority, with_options

NAME = "redis.example"
PRODUCTS = [ProductId(str(i)) for i in range(30)]
VECTORS = {"user:u": user_vector(1), **{f"product:{i}": product_vector(int(i)) for i in PRODUCTS}}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("tls") / "authority", "localhost", "127.0.0.1")


@pytest.fixture(scope="module")
def service(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A primary and three Sentinels, all with TLS alone."""
    with watched(tmp_path_factory.mktemp("watched"), authority.software(), replicas=0) as made:
        with made.client(made.servers[0]) as primary:
            primary.mset(VECTORS)
        yield made


def single(service: Watched, host: str = "127.0.0.1") -> str:
    return f"redis://{host}:{service.servers[0]}"


async def check_served(url: str, write: Redis) -> None:
    """Read everything through a near cache, and see a change that is announced."""
    store = near(url)
    try:
        await store.open()
        await eventually(lambda: store.keeping)
        features = await store.fetch(UserId("u"), PRODUCTS)
        assert features.unread is None
        assert features.products.values[:, 0].tolist() == [float(i) for i in PRODUCTS]
        for value in (70.0, 7.0):
            told = store.invalidations
            await asyncio.to_thread(write.set, "product:7", product_vector(value))
            await eventually(lambda told=told: store.invalidations > told)
            assert (await store.fetch(None, [PRODUCTS[7]])).products.values[0, 0] == value
    finally:
        await store.close()


def refusal(url: str, deadline_ms: float = 10_000) -> str:
    """Return what a start says of a Redis it cannot use."""
    with pytest.raises(StoreUnreachable) as caught:
        check_redis(Settings(redis_url=url, deadline_ms=deadline_ms))
    return str(caught.value)


def test_client_with_a_certificate_is_served_over_tls(service: Watched, authority: Authority) -> None:
    with service.client(service.servers[0]) as writer:
        for host in ("127.0.0.1", "localhost"):
            url = with_options(single(service, host), authority.known)
            run(lambda url=url: check_served(url, writer))


def test_what_is_wrong_with_tls_is_one_clear_sentence_at_the_start(
    service: Watched, authority: Authority, tmp_path: Path
) -> None:
    other = Authority.make(tmp_path / "other", "redis.example")
    named, plain = Watched(tmp_path, other.software()), Watched(tmp_path, Software())
    port, plain_port = free_port(), free_port()
    try:
        named.launch_server(port)
        plain.launch_server(plain_port)
        for url, said, remedy in (
            (with_options(single(service), authority.trusted), str(service.servers[0]), "give ssl_certfile=FILE"),
            (with_options(single(service), other.known), "certificate verify failed", "with ssl_ca_certs=FILE"),
            (with_options(f"redis://127.0.0.1:{port}", other.known), "not valid for '127.0.0.1'", "for other names"),
            (single(service), str(service.servers[0]), "use rediss://"),
        ):
            refused = refusal(url)
            assert said in refused
            assert remedy in refused
        waited = refusal(with_options(f"redis://127.0.0.1:{plain_port}", other.known), deadline_ms=500)
        assert f"no answer from 127.0.0.1:{plain_port}" in waited
        assert "use redis://" in waited
    finally:
        named.end()
        plain.end()


def test_certificates_are_read_once_for_many_connections_and_again_when_they_change(tmp_path: Path) -> None:
    authority = Authority.make(tmp_path / "first", "localhost")
    pool = make_pool(with_options("redis://localhost:1", authority.known), protocol=2)
    first, second = (new_connection(pool).ssl_context.get() for _ in range(2))
    assert first is second
    os.utime(authority.ca, (1, 1))
    assert new_connection(pool).ssl_context.get() is not first


def test_sentinels_and_servers_are_reached_over_tls(service: Watched, authority: Authority) -> None:
    url = with_options(service.url, authority.known)
    with service.client(service.primary()) as writer:
        run(lambda: check_served(url, writer))
    with connect(url) as client:
        assert client.get("user:u") == VECTORS["user:u"]

    async def also_by_asyncio() -> None:
        client = await connect_async(url)
        assert await client.get("user:u") == VECTORS["user:u"]
        await close_async(client)

    run(also_by_asyncio)
    assert "give ssl_certfile=FILE" in refusal(with_options(service.url, authority.trusted))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Watched, Authority]]:
    """Three primaries that announce themselves by address, with certificates for a name alone, as Azure's are."""
    folder = tmp_path_factory.mktemp("cluster")
    authority = Authority.make(folder / "authority", NAME)
    nodes = Watched(folder, authority.software())
    nodes.servers = [free_port() for _ in range(3)]
    try:
        for i, port in enumerate(nodes.servers):
            nodes.launch_server(port, "--cluster-enabled", "yes", "--cluster-port", str(free_port()))
            with nodes.client(port) as node:
                node.execute_command("CLUSTER SET-CONFIG-EPOCH", i + 1)
                first, after = (16384 * k // 3 for k in (i, i + 1))
                node.execute_command("CLUSTER ADDSLOTSRANGE", first, after - 1)
        with nodes.client(nodes.servers[0]) as first_node:
            for port in nodes.servers[1:]:
                with nodes.client(port) as node:
                    bus = node.config_get("cluster-port")["cluster-port"]
                first_node.execute_command("CLUSTER MEET", "127.0.0.1", port, bus)
        for port in nodes.servers:
            with nodes.client(port) as node:
                wait_for(lambda n=node: n.execute_command("CLUSTER INFO")["cluster_state"] == "ok")
                wait_for(lambda n=node: len(n.execute_command("CLUSTER SLOTS")) == 3)
        yield nodes, authority
    finally:
        nodes.end()


def test_cluster_behind_one_name_is_reached_over_tls_where_the_certificates_have_that_name_alone(
    cluster: tuple[Watched, Authority], monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve = socket.getaddrinfo

    def as_a_name_server_would(host: object, *rest: Any, **options: Any) -> Any:
        return resolve("127.0.0.1" if host == NAME else host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", as_a_name_server_would)
    nodes, authority = cluster
    plain = f"redis+cluster://{NAME}:1,{NAME}:{nodes.servers[1]}"
    by_name = with_options(plain, authority.known | {"fixed_hostname": "yes"})
    with connect(by_name) as client:
        for key, vector in VECTORS.items():
            client.set(key, vector)
        run(lambda: check_served(by_name, client))

    async def also_by_asyncio() -> None:
        client = await connect_async(by_name)
        assert await client.get("user:u") == VECTORS["user:u"]
        await close_async(client)

    run(also_by_asyncio)

    by_address = refusal(with_options(plain, authority.known))
    assert "not valid for '127.0.0.1'" in by_address
    assert "fixed_hostname=yes" in by_address


@pytest.mark.parametrize("secure", ["servers", "sentinels"])
def test_sentinels_with_other_tls_than_the_servers_name_the_primary(
    authority: Authority, tmp_path: Path, secure: str
) -> None:
    plain, tls = Software(executable=authority.software().executable), authority.software()
    known = urlencode(authority.known)
    if secure == "servers":
        # Sentinels listen without TLS, and speak it to the servers.
        options = [
            "no" if word == "yes" and tls.options[i - 1] == "--tls-auth-clients" else word
            for i, word in enumerate(tls.options)
        ]
        software, sentinels = tls, replace(plain, options=options)
        query = f"{known}&sentinel_ssl=no"
        scheme = "rediss"
    else:
        peers = [word for word in tls.options]
        for option in ("--tls-replication", "--tls-cluster"):
            peers[peers.index(option) + 1] = "no"
        software, sentinels = plain, replace(tls, options=peers)
        query = "sentinel_ssl=yes&" + "&".join(f"sentinel_{each}" for each in known.split("&"))
        scheme = "redis"
    with watched(tmp_path, software, replicas=0, sentinel_software=sentinels) as service:
        url = f"{service.url.replace('redis', scheme, 1)}?{query}"
        with service.client(service.servers[0]) as writer:
            writer.mset(VECTORS)
            run(lambda: check_served(url, writer))
        with connect(url) as client:
            assert client.get("user:u") == VECTORS["user:u"]

        async def test() -> None:
            client = await connect_async(url)
            try:
                assert await client.get("user:u") == VECTORS["user:u"]
            finally:
                await close_async(client)

        run(test)
        nodes, found = find_nodes(url)
        assert nodes is not None, found
        with nodes:
            assert [client.ping() for client in nodes.clients] == [True]
