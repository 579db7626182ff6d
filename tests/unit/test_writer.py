"""The Python writer: what it takes, what it writes, and where to."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from redis import Redis

from ranker import AsyncFeatureWriter, FeatureWriter
from ranker.clients import connect
from ranker.decoding import RowDecoder
from ranker.demo.redis import EmbeddedRedis
from ranker.encoding import encode
from ranker.errors import InvalidRows, StoreUnavailable, UnusableUrl, WrongMatrix
from tests.servers import cluster, sentinel
from tests.strategies import SCHEMA, run

ROWS = np.array([[1.5, 2.0, 3.25], [4.0, 5.0, 6.0]])
VECTORS = encode(ROWS, SCHEMA.fingerprint)
MANY = 2500
MATRIX = np.random.default_rng(3).normal(size=(MANY, SCHEMA.product.width)).astype(np.float32)
IDS = [f"p{i}" for i in range(MANY)]


def stored(client: Any, ids: list[str]) -> np.ndarray:
    values = [client.get(f"product:{i}") for i in ids]
    rows = RowDecoder(SCHEMA.product.width, SCHEMA.fingerprint).decode(values)
    assert rows.complete
    return rows.values


def test_written_rows_are_the_bytes_the_service_reads(redis_client: Redis, redis_url: str) -> None:
    with FeatureWriter(redis_url, SCHEMA) as writer:
        writer.write_products(["a", "b"], ROWS)
        writer.write_users(["u"], [[1, 2]])
    assert [redis_client.get("product:a"), redis_client.get("product:b")] == VECTORS
    assert redis_client.get("user:u") == encode([[1, 2]], SCHEMA.fingerprint)[0]
    assert redis_client.dbsize() == 3
    assert redis_client.pttl("product:a") == -1


def test_time_to_live_is_set_when_asked_for(redis_client: Redis, redis_url: str) -> None:
    with FeatureWriter(redis_url, SCHEMA, ttl_s=100) as writer:
        writer.write_products(["a", "b"], ROWS)
    assert 90_000 < redis_client.pttl("product:b") <= 100_000
    assert redis_client.get("product:b") == VECTORS[1]


def test_full_batches_go_at_once_and_the_rest_with_flush(redis_client: Redis, redis_url: str) -> None:
    with FeatureWriter(redis_url, SCHEMA, batch_rows=1000) as writer:
        writer.write_products(IDS[:999], MATRIX[:999])
        assert redis_client.dbsize() == 0
        writer.write_products(IDS[999:1000], MATRIX[999:1000])
        assert redis_client.dbsize() == 1000
        writer.write_products(IDS[1000:], MATRIX[1000:])
        assert redis_client.dbsize() >= 2000
        writer.flush()
        assert redis_client.dbsize() == MANY
    assert (stored(redis_client, IDS) == MATRIX).all()


def test_ids_may_be_any_unicode_and_come_from_numpy(redis_client: Redis, redis_url: str) -> None:
    with FeatureWriter(redis_url, SCHEMA) as writer:
        writer.write_products(np.array(["schön", "🛒"]), ROWS)  # type: ignore[arg-type]  # works, and stays so
    assert [redis_client.get("product:schön"), redis_client.get("product:🛒")] == VECTORS


def test_last_vector_of_an_id_stays(redis_client: Redis, redis_url: str) -> None:
    with FeatureWriter(redis_url, SCHEMA) as writer:
        writer.write_products(["a", "a"], ROWS)
        writer.write_products(["b"], ROWS[:1])
        writer.write_products(["b"], ROWS[1:])
    assert [redis_client.get("product:a"), redis_client.get("product:b")] == [VECTORS[1]] * 2


@pytest.mark.parametrize(
    ("ids", "matrix", "problems"),
    [
        (["a", ""], ROWS, [(1, "the id is empty")]),
        (["a", "x" * 257], ROWS, [(1, "the id is longer than 256 characters")]),
        (["a", 7], ROWS, [(1, "the id is no string")]),
        (["a", "\ud800"], ROWS, [(1, "the id is no valid Unicode")]),
        (["a", "b"], ROWS * [[1], [np.nan]], [(1, "a number is not finite in float32")]),
        (["a", "b"], [[1, np.inf, 1], [1, 1, 1]], [(0, "a number is not finite in float32")]),
        (["a", "b"], [[1, 1, 1], [1, 1, 1e39]], [(1, "a number is not finite in float32")]),
    ],
)
def test_invalid_rows_are_named_and_nothing_is_written(
    redis_client: Redis, redis_url: str, ids: list[Any], matrix: Any, problems: list[tuple[int, str]]
) -> None:
    with FeatureWriter(redis_url, SCHEMA, batch_rows=1) as writer:
        with pytest.raises(InvalidRows) as caught:
            writer.write_products(ids, matrix)
        assert list(caught.value.problems) == problems
    assert redis_client.dbsize() == 0


@pytest.mark.parametrize(
    "matrix", [ROWS[:, :2], ROWS[:1], ROWS[0], [["1", "2", "3"], ["4", "5", "6"]], [[1, 2, 3], [4, 5, None]]]
)
def test_wrong_matrix_is_refused(redis_client: Redis, redis_url: str, matrix: Any) -> None:
    with FeatureWriter(redis_url, SCHEMA) as writer, pytest.raises(WrongMatrix, match=r"\(2, 3\)"):
        writer.write_products(["a", "b"], matrix)
    assert redis_client.dbsize() == 0


def test_failed_block_is_not_flushed(redis_client: Redis, redis_url: str) -> None:
    def job() -> None:
        with FeatureWriter(redis_url, SCHEMA) as writer:
            writer.write_products(["a", "b"], ROWS)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        job()
    assert redis_client.dbsize() == 0


def test_schema_comes_from_a_file_too(redis_client: Redis, redis_url: str, tmp_path: Path) -> None:
    path = tmp_path / "schema.yaml"
    path.write_text(yaml.safe_dump(SCHEMA.to_metadata()))
    for source in (path, str(path)):
        with FeatureWriter(redis_url, source) as writer:
            assert writer.schema == SCHEMA


def test_rows_survive_a_restart_of_redis_and_are_bounded_meanwhile(short_path: Path) -> None:
    server = EmbeddedRedis(short_path)
    server.start()
    writer = FeatureWriter(server.url, SCHEMA, batch_rows=2)
    writer.write_products(["a"], ROWS[:1])
    server.stop()
    for i in range(2):
        with pytest.raises(StoreUnavailable):
            writer.write_products([f"b{i}", f"c{i}"], ROWS)
    server.start()
    try:
        writer.close()
        with Redis.from_url(server.url) as client:
            # The second failing call's rows were never taken.
            assert sorted(client.keys()) == [b"product:a", b"product:b0", b"product:c0"]
    finally:
        server.stop()


def test_async_writer_takes_rows_from_many_tasks(redis_client: Redis, redis_url: str) -> None:
    async def job() -> None:
        async with AsyncFeatureWriter(redis_url, SCHEMA, batch_rows=100) as writer:
            await asyncio.gather(
                *(writer.write_products(IDS[i : i + 7], MATRIX[i : i + 7]) for i in range(0, MANY, 7)),
                writer.write_users(["u"], [[1, 2]]),
            )
            assert redis_client.dbsize() >= MANY + 1 - 100 - 7
            with pytest.raises(InvalidRows):
                await writer.write_products([""], ROWS[:1])

    run(job)
    assert (stored(redis_client, IDS) == MATRIX).all()
    assert redis_client.dbsize() == MANY + 1


def test_vector_that_comes_while_an_older_one_is_sent_stays(redis_client: Redis, redis_url: str) -> None:
    async def job() -> None:
        async with AsyncFeatureWriter(redis_url, SCHEMA) as writer:
            await writer.write_products(["a"], ROWS[:1])
            sending = asyncio.create_task(writer.flush())
            await asyncio.sleep(0)  # it is on its way now
            await writer.write_products(["a"], ROWS[1:])
            await sending

    run(job)
    assert redis_client.get("product:a") == VECTORS[1]


def test_async_writer_sets_a_time_to_live(redis_client: Redis, redis_url: str) -> None:
    async def job() -> None:
        writer = AsyncFeatureWriter(redis_url, SCHEMA, ttl_s=100)
        await writer.write_products(["a", "b"], ROWS)
        await writer.close()

    run(job)
    assert 90_000 < redis_client.pttl("product:a") <= 100_000


def test_both_writers_write_to_a_cluster(tmp_path: Path) -> None:
    with cluster(tmp_path) as plain:
        url = plain.replace("redis://", "redis+cluster://")
        with FeatureWriter(url, SCHEMA) as writer:
            writer.write_products(IDS[:500], MATRIX[:500])

        async def job() -> None:
            async with AsyncFeatureWriter(url, SCHEMA, ttl_s=100) as writer:
                await writer.write_products(IDS[500:1000], MATRIX[500:1000])

        run(job)
        client = connect(url)
        assert (stored(client, IDS[:1000]) == MATRIX[:1000]).all()
        assert client.pttl("product:p0") == -1
        assert 0 < client.pttl("product:p999") <= 100_000
        client.close()


def test_both_writers_find_the_primary_through_a_sentinel(tmp_path: Path) -> None:
    with sentinel(tmp_path, "features") as (url, primary):
        with pytest.raises(StoreUnavailable, match="watches features"):
            FeatureWriter(url, SCHEMA, sentinel_service="other").flush()
        with FeatureWriter(url, SCHEMA, sentinel_service="features") as writer:
            writer.write_products(["a"], ROWS[:1])

        async def job() -> None:
            named = url.replace("redis://", "redis+sentinel://").removesuffix("/1") + "/features/1"
            async with AsyncFeatureWriter(named, SCHEMA) as writer:
                await writer.write_products(["b"], ROWS[1:])

        run(job)
        # The database of the URL.
        with Redis(port=primary.connection_pool.connection_kwargs["port"], db=1) as client:
            assert [client.get("product:a"), client.get("product:b")] == VECTORS


@pytest.mark.parametrize("option", ["nonsense=1", "socket_timeout=soon", "db=x"])
def test_url_that_redis_py_does_not_take_is_one_clean_error(redis_url: str, option: str) -> None:
    url = f"{redis_url}?password=hunter2&{option}"
    with pytest.raises(UnusableUrl) as caught:
        FeatureWriter(url, SCHEMA).flush()
    assert "hunter2" not in str(caught.value)
    with pytest.raises(UnusableUrl):
        run(AsyncFeatureWriter(url, SCHEMA).flush)


def test_importing_ranker_loads_neither_redis_nor_numpy() -> None:
    code = "import ranker, sys; print([m for m in ('redis', 'numpy', 'bentoml', 'pydantic') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_package_says_that_it_is_typed() -> None:
    assert (resources.files("ranker") / "py.typed").is_file()
