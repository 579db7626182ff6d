"""A Cluster whose slots move and one of whose primaries dies, and a primary that Sentinels name."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path

import pytest
from redis import Redis, RedisCluster
from redis.exceptions import RedisError

from ranker.demo.servers import cluster
from ranker.errors import StoreIsCluster, StoreUnavailable
from ranker.features.near_cache.cache import CachedStore
from ranker.features.store import RedisStore
from ranker.features.uncached import UncachedStore
from ranker.ingest.writer import FeatureWriter
from ranker.redis.connect import connect
from ranker.redis.connection import RedisConnections
from ranker.redis.hash_slots import key_slot
from ranker.serving.preflight import refuse_cluster
from ranker.vectors.rows import Features, ProductId, RowStatus, UserId
from ranker.vectors.schema import FeatureSchema
from tests.support.near_cache import near
from tests.support.pages import rights
from tests.support.redis_servers import sentinel
from tests.support.sample import SCHEMA, eventually, product_vector, run, user_vector

PRODUCTS = [ProductId(str(i)) for i in range(60)]


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with cluster(tmp_path_factory.mktemp("servers") / "cluster") as url:
        yield url


@pytest.fixture
def writer(nodes: str) -> Iterator[RedisCluster]:
    with RedisCluster.from_url(nodes) as client:
        client.flushall(target_nodes=RedisCluster.PRIMARIES)
        client.set("user:u", user_vector(1))
        for i in PRODUCTS:
            client.set(f"product:{i}", product_vector(int(i)))
        yield client


def clustered(url: str) -> str:
    return url.replace("redis://", "redis+cluster://")


def held(store: CachedStore, products: Sequence[ProductId]) -> Features | None:
    (features,) = store.held([(UserId("u"), products)])
    return features


async def fetch(store: CachedStore) -> Features:
    return held(store, PRODUCTS) or await store.fetch(UserId("u"), PRODUCTS)


async def settled(store: CachedStore) -> None:
    """Wait until every node announces and all of it is held: what is read before the last one does is not kept."""
    async with asyncio.timeout(5):
        while held(store, PRODUCTS) is None:
            await fetch(store)


def prices(features: Features) -> list[float]:
    return features.products.values[:, 0].tolist()


def of(host: str, port: int) -> Redis:
    return Redis(host=host, port=port)


def test_slots_that_move_under_load_leave_no_row_stale_or_missing(nodes: str, writer: RedisCluster) -> None:
    expected = {i: float(i) for i in PRODUCTS}
    slots = {key_slot(f"product:{i}") for i in PRODUCTS[:20]}

    def move(slot: int) -> None:
        source = writer.nodes_manager.get_node_from_slot(slot)
        target = next(node for node in writer.get_primaries() if node.name != source.name)
        with of(source.host, source.port) as here, of(target.host, target.port) as there:
            ids = [client.execute_command("CLUSTER MYID").decode() for client in (here, there)]
            there.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", ids[0])
            here.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", ids[1])
            for key in here.execute_command("CLUSTER GETKEYSINSLOT", slot, 100):
                here.execute_command("MIGRATE", target.host, target.port, key, 0, 1000)
            for client in (there, here):
                client.execute_command("CLUSTER SETSLOT", slot, "NODE", ids[1])

    async def test() -> None:
        store = near(clustered(nodes))
        await store.open()
        await settled(store)
        moving = asyncio.create_task(asyncio.to_thread(lambda: [move(slot) for slot in slots]))
        while not moving.done():
            features = await fetch(store)
            assert features.unread is None
            assert prices(features) == list(expected.values())
            await asyncio.sleep(0.002)  # held rows are had without a turn of the loop
        await moving
        for i in PRODUCTS:  # by the new owners, whom the store may not know yet
            expected[i] += 100
            await asyncio.to_thread(writer.set, f"product:{i}", product_vector(expected[i]))
        async with asyncio.timeout(5):
            while prices(await fetch(store)) != list(expected.values()):  # noqa: ASYNC110  # what is waited for sets no event
                await asyncio.sleep(0.01)
        await store.close()

    run(test, 60)


def refusal(url: str, schema: FeatureSchema = SCHEMA) -> str | None:
    """Return what the start says of a server; None if it goes on."""

    async def test() -> str | None:
        connections = RedisConnections(url, size=1, timeout_s=1.0)
        try:
            await refuse_cluster(connections, schema, url)
        except StoreIsCluster as err:
            return str(err)
        finally:
            await connections.close()
        return None

    return run(test)


def schema_with(key: str, form: str) -> FeatureSchema:
    entities = {name: {"key": name + key, "format": form, "features": ["age"]} for name in ("user", "product")}
    return FeatureSchema.from_mapping(entities)


def test_node_that_is_taken_for_one_server_is_refused_at_the_start(nodes: str, writer: RedisCluster) -> None:
    right = clustered(nodes)
    for schema in (SCHEMA, schema_with(":{id}", "hash")):
        said = refusal(nodes, schema)
        assert said is not None
        assert f"Set RANKER_REDIS_URL to {right}," in said
    rules = ("reset", "on", ">hunter2", "~*", "+mget", "+ping", "+hello")  # it may not ask INFO
    writer.execute_command("ACL SETUSER", "reader", *rules, target_nodes=RedisCluster.ALL_NODES)
    said = refusal(nodes.replace("://", "://reader:hunter2@"))
    assert said is not None
    assert right in said
    assert "hunter2" not in said


def test_server_that_can_be_read_as_one_is_not_refused(tmp_path: Path, redis_url: str) -> None:
    assert refusal(redis_url) is None
    with cluster(tmp_path / "cluster", primaries=1) as url:
        assert refusal(url) is not None  # MGET of several slots
        assert refusal(url, schema_with(":{id}", "hash")) is None
        with Redis.from_url(url) as client:
            client.execute_command("ACL SETUSER", "nobody", "reset", "on", ">PASSWORD", "+ping", "+hello")
        assert refusal(url.replace("://", "://nobody:PASSWORD@")) is None  # other trouble is no reason


def test_dead_primary_costs_only_what_lived_there(tmp_path: Path) -> None:
    with cluster(tmp_path / "cluster", full_coverage=False) as url, RedisCluster.from_url(url) as client:
        client.set("user:u", user_vector(1))
        for i in PRODUCTS:
            client.set(f"product:{i}", product_vector(int(i)))
        home = client.nodes_manager.get_node_from_slot(key_slot("user:u"))
        victim = next(node for node in client.get_primaries() if node.name != home.name)
        lost = [
            i for i in PRODUCTS if client.nodes_manager.get_node_from_slot(key_slot(f"product:{i}")).name == victim.name
        ]
        assert 0 < len(lost) < len(PRODUCTS)

        async def test() -> None:
            connections = connect(clustered(url), size=2, timeout_s=1.0)
            rows, store = RedisStore(connections, SCHEMA), near(clustered(url))
            plain = UncachedStore(rows, SCHEMA)
            await plain.open()
            await store.open()
            await settled(store)
            assert prices(await fetch(store)) == [float(i) for i in PRODUCTS]
            with of(victim.host, victim.port) as dying, suppress(RedisError):
                await asyncio.to_thread(dying.shutdown, nosave=True)
            await eventually(lambda: held(store, PRODUCTS) is None)
            for _ in range(3):
                features = await plain.fetch(UserId("u"), PRODUCTS)
                assert features.unread is not None
                unread = [i for i, s in zip(PRODUCTS, features.products.statuses, strict=True) if s == RowStatus.UNREAD]
                assert unread == lost
                assert features.user.complete
                remembered = await fetch(store)  # as last known, and said to be so
                assert remembered.unread is not None
                assert prices(remembered) == [float(i) for i in PRODUCTS]
            living = next(i for i in PRODUCTS if i not in lost)
            await asyncio.to_thread(client.set, f"product:{living}", product_vector(500))
            await eventually(lambda: held(store, [living]) is None)
            assert (await store.fetch(UserId("u"), [living])).products.values[0, 0] == 500
            alone = await rows.products.read(lost)
            assert alone.unread is not None
            assert set(alone.rows.statuses.tolist()) == {RowStatus.UNREAD}
            await plain.close()
            await store.close()

        run(test, 60)


def test_slot_that_is_half_moved_is_read_from_both_nodes_and_not_kept(nodes: str, writer: RedisCluster) -> None:
    keys = ["product:{tag}a", "product:3", "product:none", "product:{tag}b", "product:{tag}none"]
    expected = [product_vector(7), product_vector(3), None, product_vector(8), None]
    writer.set("product:{tag}a", product_vector(7))
    writer.set("product:{tag}b", product_vector(8))
    slot = key_slot(keys[0])
    source = writer.nodes_manager.get_node_from_slot(slot)
    target = next(node for node in writer.get_primaries() if node.name != source.name)

    async def test() -> None:
        connections, store = connect(clustered(nodes), size=2, timeout_s=1.0), near(clustered(nodes))
        await connections.open()
        await store.open()
        assert await connections.mget(keys) == expected
        with of(source.host, source.port) as here, of(target.host, target.port) as there:
            ids = [client.execute_command("CLUSTER MYID").decode() for client in (here, there)]
            there.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", ids[0])
            here.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", ids[1])
            here.execute_command("MIGRATE", target.host, target.port, keys[0], 0, 1000)
            assert await connections.mget(keys) == expected
            moved = ProductId("{tag}a")
            for value in (7, 9):
                assert (await store.fetch(None, [moved])).products.values[0, 0] == value
                assert held(store, [moved]) is None
                there.execute_command("ASKING")
                there.set(keys[0], product_vector(9))
            for client in (there, here):
                client.execute_command("CLUSTER SETSLOT", slot, "STABLE")
        await connections.close()
        await store.close()

    run(test)
    writer.flushall(target_nodes=RedisCluster.PRIMARIES)


def test_documented_users_suffice_on_a_cluster(nodes: str, writer: RedisCluster) -> None:
    for node in writer.get_primaries():
        with of(node.host, node.port) as client:
            for user in ("ranker", "loader"):
                client.execute_command("ACL", "SETUSER", user, "reset", *chain(*rights(user)))
    url = clustered(nodes).replace("://", "://ranker:PASSWORD@")
    with FeatureWriter(url.replace("://ranker", "://loader").replace("@", "@127.0.0.1:1,"), SCHEMA) as loading:
        loading.write_products(PRODUCTS, [[500 + int(i)] * 3 for i in PRODUCTS])

    async def test() -> None:
        store = near(url)
        await store.open()
        await settled(store)
        assert prices(await fetch(store)) == [500.0 + int(i) for i in PRODUCTS]
        await asyncio.to_thread(writer.set, "product:5", product_vector(50))
        await eventually(lambda: held(store, PRODUCTS) is None)
        assert prices(await fetch(store))[5] == 50
        await store.close()

    run(test)


def test_sentinels_name_the_primary_to_read_from(tmp_path: Path) -> None:
    with sentinel(tmp_path, "shop") as (url, primary):
        primary.select(1)
        primary.set("user:u", user_vector(1))
        for i in PRODUCTS:
            primary.set(f"product:{i}", product_vector(int(i)))
        port = url.rsplit(":", 1)[1].split("/")[0]

        async def test() -> None:
            store = near(f"redis+sentinel://127.0.0.1:1,127.0.0.1:{port}/shop/1")
            await store.open()
            await settled(store)
            assert prices(await fetch(store)) == [float(i) for i in PRODUCTS]
            await asyncio.to_thread(primary.set, "product:5", product_vector(50))
            await eventually(lambda: held(store, PRODUCTS) is None)
            assert prices(await fetch(store))[5] == 50
            await store.close()
            with pytest.raises(StoreUnavailable, match="called other"):
                await connect(f"redis+sentinel://127.0.0.1:{port}/other", size=1, timeout_s=1.0).ping()

        run(test)
