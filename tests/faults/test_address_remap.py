"""Servers that are reached elsewhere than a Cluster or Sentinels announce them, as behind forwarded ports."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from redis import Redis, RedisCluster

from ranker.demo.ports import free_port
from ranker.demo.servers import cluster, wait_for
from ranker.doctor.nodes import find_nodes
from ranker.errors import StoreUnavailable
from ranker.redis.clients import close_async, connect, connect_async
from ranker.redis.connect import connect as connect_readers
from ranker.redis.sentinels import Primary
from ranker.redis.url import parse
from ranker.vectors.rows import ProductId, UserId
from tests.support.near_cache import near
from tests.support.sample import eventually, product_vector, run, user_vector
from tests.support.sentinels import watched

PRODUCTS = [ProductId(str(i)) for i in range(30)]
PRIMARIES = 3


@pytest.fixture(scope="module")
def forwarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A Cluster whose nodes announce ports at which nobody listens; yield its URL, and how it is remapped."""
    folder = tmp_path_factory.mktemp("nodes")
    with cluster(folder, primaries=PRIMARIES) as url, ExitStack() as stack:
        reached = [int(node.name) for node in folder.iterdir()]
        announced = [free_port() for _ in reached]
        nodes = [stack.enter_context(Redis(port=port)) for port in reached]
        for node, port in zip(nodes, announced, strict=True):
            node.config_set("cluster-announce-port", port)
        for node in nodes:  # all have heard of it
            wait_for(
                lambda node=node: {owner[1] for _, _, owner in node.execute_command("CLUSTER SLOTS")} == {*announced}
            )
        remap = (f"127.0.0.1:{there}=127.0.0.1:{here}" for there, here in zip(announced, reached, strict=True))
        yield url.replace("redis", "redis+cluster", 1), ",".join(remap)


def test_cluster_behind_forwarded_ports_is_loaded_served_and_followed(forwarded: tuple[str, str]) -> None:
    plain, remap = forwarded
    url = f"{plain}?address_remap={remap}"
    values = {"user:u": user_vector(1), **{f"product:{i}": product_vector(int(i)) for i in PRODUCTS}}
    with connect(url) as client:
        assert isinstance(client, RedisCluster)
        for key, value in values.items():
            client.set(key, value)

    async def test() -> None:
        again = await connect_async(url)
        try:
            assert [await again.get(key) for key in values] == list(values.values())
            store = near(url)
            await store.open()
            await eventually(lambda: store.keeping)
            features = await store.fetch(UserId("u"), PRODUCTS)
            assert features.unread is None
            assert features.products.values[:, 0].tolist() == [float(i) for i in PRODUCTS]
            told = store.invalidations
            await again.set("product:7", product_vector(70))
            await eventually(lambda: store.invalidations > told)
            assert (await store.fetch(None, [PRODUCTS[7]])).products.values[0, 0] == 70
            await store.close()
        finally:
            await close_async(again)

    run(test)


def test_doctor_asks_remapped_nodes(forwarded: tuple[str, str]) -> None:
    plain, remap = forwarded
    nodes, _ = find_nodes(f"{plain}?address_remap={remap}")
    assert nodes is not None
    with nodes:
        assert [client.ping() for client in nodes.clients] == [True] * PRIMARIES


def test_without_the_remap_announced_ports_are_asked_in_vain(forwarded: tuple[str, str]) -> None:
    async def test() -> None:
        readers = connect_readers(forwarded[0], size=1, timeout_s=0.5)
        try:
            with pytest.raises(StoreUnavailable):
                await readers.ping()
        finally:
            await readers.close()

    run(test)


def test_primary_that_sentinels_announce_elsewhere_is_reached_by_the_remap(tmp_path: Path) -> None:
    with watched(tmp_path, replicas=0) as service:
        port = service.servers[0]
        url = f"{service.url}?address_remap=127.0.0.1=localhost"
        with connect(url) as client:
            assert client.connection_pool.get_master_address() == ("localhost", port)
            client.set("product:1", product_vector(1))

        async def test() -> None:
            client = await connect_async(url)
            primary = Primary(parse(url))
            store = near(url)
            try:
                assert await client.connection_pool.get_master_address() == ("localhost", port)
                assert await primary.discover_master("shop") == ("localhost", port)
                await store.open()
                await eventually(lambda: store.keeping)
                assert (await store.fetch(None, [PRODUCTS[1]])).products.values[0, 0] == 1
            finally:
                await asyncio.gather(close_async(client), primary.close(), store.close())

        run(test)
        nodes, _ = find_nodes(url)
        assert nodes is not None
        with nodes:
            assert [parse(node.url).where for node in nodes.nodes] == [f"localhost:{port}"]
