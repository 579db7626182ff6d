"""The Python writer: what it takes, what it writes, and where to."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Callable
from importlib import resources
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml
from redis import Redis

from ranker import AsyncFeatureWriter, FeatureWriter
from ranker.demo.redis import EmbeddedRedis
from ranker.demo.servers import cluster
from ranker.errors import InvalidRows, StoreUnavailable, UnusableUrl, WrongColumn, WrongColumns, WrongIds, WrongMatrix
from ranker.redis.clients import connect
from ranker.vectors.schema import FeatureSchema
from ranker.vectors.stored.decoding import RowDecoder
from ranker.vectors.stored.encoding import encode
from tests.support.redis_servers import sentinel
from tests.support.sample import SCHEMA, run

ROWS = np.array([[1.5, 2.0, 3.25], [4.0, 5.0, 6.0]])
VECTORS = encode(ROWS, SCHEMA.fingerprint)
MANY = 2500
MATRIX = np.random.default_rng(3).normal(size=(MANY, SCHEMA.product.width)).astype(np.float32)
IDS = [f"p{i}" for i in range(MANY)]
ABSENT = "is NaN, and the schema does not say what that becomes (`missing: default` or `missing: nan`)"


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


@pytest.mark.parametrize(
    "ids",
    [
        pd.DataFrame({"id": ["x", "a", "b"]})[1:]["id"],  # whose labels begin with 1
        pd.DataFrame(index=["a", "b"]).index,
        pa.table({"id": ["a", "b"]})["id"],
        ("a", "b"),
    ],
)
def test_ids_may_be_a_column(redis_client: Redis, redis_url: str, ids: Any) -> None:
    with FeatureWriter(redis_url, SCHEMA, batch_rows=1) as writer:
        writer.write_products(ids, ROWS)
    assert redis_client.mget("product:a", "product:b") == VECTORS


LABELLED = pd.DataFrame(ROWS, columns=list(SCHEMA.product.names), index=["a", "b"])
NUMBERED = LABELLED.assign(id=["a", "b"]).reset_index(drop=True)


@pytest.mark.parametrize(
    ("ids", "rows", "said"),
    [
        ({"a", "b"}, ROWS, "a set"),
        (frozenset("ab"), ROWS, "a set"),
        ("ab", ROWS, "one text"),
        (pd.DataFrame({"id": ["a"]}), ROWS[:1], "a data frame"),
        (pd.DataFrame({"id": ["a", "b"], "name": ["x", "y"]}), ROWS, "a data frame"),
        (pa.table({"id": ["a"]}), ROWS[:1], "a data frame"),
        (["b", "a"], LABELLED, "in another order"),
        (pa.array(["b", "a"]), LABELLED, "in another order"),
        (NUMBERED["id"][::-1], NUMBERED[list(SCHEMA.product.names)], "in another order"),
        (NUMBERED["id"], NUMBERED[list(SCHEMA.product.names)][::-1], "in another order"),
    ],
)
def test_ids_that_may_not_be_those_of_the_rows_beside_them_are_refused(
    redis_client: Redis, redis_url: str, ids: Any, rows: Any, said: str
) -> None:
    with FeatureWriter(redis_url, SCHEMA) as writer, pytest.raises(WrongIds, match=said):
        writer.write_products(ids, rows)
    assert redis_client.dbsize() == 0


@pytest.mark.parametrize(
    ("ids", "rows"),
    [
        (["a", "b"], LABELLED),
        (pa.array(["a", "b"]), LABELLED),
        (NUMBERED["id"], NUMBERED[list(SCHEMA.product.names)]),
        (["a", "b"], LABELLED.set_axis(["a", "c"])),  # labels of their own
        (NUMBERED[::-1]["id"][::-1].reset_index(drop=True), LABELLED[::-1][::-1].reset_index(drop=True)),
        ({"a": 1, "b": 2}.keys(), ROWS),
    ],
)
def test_ids_beside_labelled_rows_of_one_order_are_taken(
    redis_client: Redis, redis_url: str, ids: Any, rows: Any
) -> None:
    with FeatureWriter(redis_url, SCHEMA) as writer:
        writer.write_products(ids, rows)
    assert redis_client.mget("product:a", "product:b") == VECTORS


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (pd.concat([NUMBERED, NUMBERED["id"]], axis=1), "2 columns called 'id'"),
        (pa.Table.from_pandas(NUMBERED).append_column("id", pa.array(["x", "y"])), "2 columns called 'id'"),
        (NUMBERED.set_axis(pd.Index(["x", "y"], name="id")), "in the index of that name"),
    ],
)
def test_frame_with_ids_in_several_places_is_refused(
    redis_client: Redis, redis_url: str, frame: Any, said: str
) -> None:
    with FeatureWriter(redis_url, SCHEMA) as writer, pytest.raises(WrongIds, match=said):
        writer.write_frame(frame, entity="product")
    assert redis_client.dbsize() == 0


def test_frame_with_the_same_ids_in_a_column_and_the_index_is_taken(redis_client: Redis, redis_url: str) -> None:
    with FeatureWriter(redis_url, SCHEMA) as writer:
        writer.write_frame(NUMBERED.set_index("id", drop=False), entity="product")
    assert redis_client.mget("product:a", "product:b") == VECTORS


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
        (["a", "b"], ROWS * [[1], [np.nan]], [(1, f"price {ABSENT}")]),
        (["a", "b"], [[1, np.inf, 1], [1, 1, 1]], [(0, "stock is not finite in float32")]),
        (["a", "b"], [[1, 1, 1], [1, 1, 1e39]], [(1, "age is not finite in float32")]),
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
    "matrix",
    [
        ROWS[:, :2],
        ROWS[:1],
        ROWS[0],
        [["1", "2", "3"], ["4", "5", "6"]],
        [[1, 2, 3], [4, 5, None]],
        [[1, 2, 3], [4, 5]],
    ],
)
def test_wrong_matrix_is_refused(redis_client: Redis, redis_url: str, matrix: Any) -> None:
    with FeatureWriter(redis_url, SCHEMA) as writer, pytest.raises(WrongMatrix, match=r"\(2, 3\)"):
        writer.write_products(["a", "b"], matrix)
    assert redis_client.dbsize() == 0


NAMES = list(SCHEMA.product.names)
FRAMES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "pandas": pd.DataFrame,
    "pandas with an index": lambda columns: pd.DataFrame(columns, index=["x", "y"]),
    "pandas of nullable types": lambda columns: pd.DataFrame(columns).convert_dtypes(),
    "table": pa.table,
    "chunks": lambda columns: pa.concat_tables([pa.table(columns)[:1], pa.table(columns)[1:]]),
    "batch": pa.RecordBatch.from_pydict,
}


def frame(kind: str, names: list[str] = NAMES, **changed: Any) -> Any:
    """ROWS as a data frame, its columns in this order."""
    columns = dict(zip(NAMES, ROWS.T, strict=True))
    return FRAMES[kind]({name: changed.get(name, columns.get(name, [0.0, 0.0])) for name in names})


@pytest.mark.parametrize("kind", FRAMES)
@pytest.mark.parametrize("names", list(permutations(NAMES)))
def test_columns_of_a_data_frame_are_matched_by_name(
    redis_client: Redis, redis_url: str, kind: str, names: tuple[str, ...]
) -> None:
    given = frame(kind, list(names))
    with FeatureWriter(redis_url, SCHEMA) as writer:
        writer.write_products(["a", "b"], given)
    assert redis_client.mget("product:a", "product:b") == VECTORS

    async def job() -> None:
        async with AsyncFeatureWriter(redis_url, SCHEMA) as writer:
            await writer.write_products(["c", "d"], given)

    run(job)
    assert redis_client.mget("product:c", "product:d") == VECTORS


@pytest.mark.parametrize("kind", FRAMES)
@pytest.mark.parametrize(
    ("names", "said"),
    [
        (NAMES[:2], "lacks age. Its columns are matched by name with price, stock, age: select those, or"),
        ([*NAMES, "id"], "has, and the schema has not, id. Its"),
        (["price", "stock", "colour"], "lacks age; it has, and the schema has not, colour. Its"),
    ],
)
def test_data_frame_with_other_columns_is_refused(
    redis_client: Redis, redis_url: str, kind: str, names: list[str], said: str
) -> None:
    with FeatureWriter(redis_url, SCHEMA) as writer, pytest.raises(WrongColumns) as caught:
        writer.write_products(["a", "b"], frame(kind, names))
    assert f"The data frame {said}" in str(caught.value)
    assert redis_client.dbsize() == 0


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        (pd.DataFrame(ROWS), WrongColumns, "lacks price, stock, age; it has, and the schema has not, 0, 1, 2"),
        (
            pd.DataFrame(ROWS, columns=["price", "price", "stock"]),
            WrongColumns,
            "has more than once price",
        ),
        (frame("pandas", stock=["1", "x"]), WrongColumn, "column stock holds"),
        (frame("table", stock=["1", "x"]), WrongColumn, "column stock holds object of shape (2,); expected 2 numbers"),
        (frame("pandas")[:1], WrongColumn, "column price holds float64 of shape (1,); expected 2 numbers"),
        (frame("pandas", stock=[1.0, None]), InvalidRows, "row 1: stock is NaN"),
        (frame("table", stock=[None, 2]), InvalidRows, "row 0: stock is NaN"),
    ],
)
def test_data_frame_that_is_not_n_numbers_by_feature_is_refused(
    redis_client: Redis, redis_url: str, given: Any, error: type[Exception], said: str
) -> None:
    with FeatureWriter(redis_url, SCHEMA) as writer, pytest.raises(error) as caught:
        writer.write_products(["a", "b"], given)
    assert said in str(caught.value)
    assert redis_client.dbsize() == 0


BIG = 16777217
CHANGED = [
    np.array([[1, BIG, 1]] * 2),
    np.array([[1, 1764341743, 1]] * 2, dtype=np.uint64),
    np.array([[0.5, BIG, 1]] * 2),
    [[1, BIG, 1]] * 2,
    [[0.5, -BIG, 1]] * 2,
    [[0.5, 2**53 + 1, 1]] * 2,  # a float64, in which numpy holds these, has it as 2^53
    frame("pandas", stock=[BIG, BIG]),
    frame("pandas", stock=[BIG, 2.5]),
    frame("table", stock=[2**53 + 1, 1]),
]


@pytest.mark.parametrize("given", CHANGED)
def test_whole_number_that_float32_changes_is_refused_unless_allowed(
    redis_client: Redis, redis_url: str, given: Any
) -> None:
    with FeatureWriter(redis_url, SCHEMA) as writer, pytest.raises(InvalidRows) as caught:
        writer.write_products(["a", "b"], given)
    assert caught.value.problems[0][0] == 0
    assert caught.value.problems[0][1].startswith("stock is a whole number that float32 has as ")
    assert redis_client.dbsize() == 0
    with FeatureWriter(redis_url, SCHEMA, allow_rounding=True) as writer:
        writer.write_products(["a", "b"], given)
    assert redis_client.dbsize() == 2


def test_nan_is_taken_where_the_schema_says_missing_nan_and_nowhere_else(redis_client: Redis, redis_url: str) -> None:
    declared = SCHEMA.to_metadata()
    declared["product"]["features"] = ["price", {"name": "stock", "missing": "nan"}, "age"]
    schema = FeatureSchema.from_mapping(declared)
    with FeatureWriter(redis_url, schema) as writer:
        writer.write_products(["a"], [[1, np.nan, 3]])
        writer.write_products(["b"], pd.DataFrame({"age": [3], "stock": [None], "price": [1]}, dtype=float))
        for wrong, said in (
            ([[1, np.inf, 3]], "stock is not finite in float32"),
            ([[np.nan, 1, 3]], f"price {ABSENT}"),
        ):
            with pytest.raises(InvalidRows, match=re.escape(f"row 0: {said}")):
                writer.write_products(["c"], wrong)
    assert redis_client.mget("product:a", "product:b") == encode([[1, np.nan, 3]] * 2, SCHEMA.fingerprint)


def test_number_that_float32_holds_is_taken_whatever_its_size(redis_client: Redis, redis_url: str) -> None:
    rows = [[2**24, 2**24 + 2, -(2**62)], [0.1, 123456789.1, 1 / 3]]
    with FeatureWriter(redis_url, SCHEMA) as writer:
        writer.write_products(["a", "b"], rows)
        writer.write_products(["c", "d"], np.array(rows, np.float32))
    assert (stored(redis_client, ["a", "b", "c", "d"]) == np.array(rows * 2, np.float32)).all()


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
