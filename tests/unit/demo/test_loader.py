from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from redis import Redis

from ranker.demo import synthetic
from ranker.demo.loader import BATCH, Loader
from ranker.demo.servers import cluster
from ranker.errors import ForeignFeatures, StoreUnavailable, UnusableUrl
from ranker.vectors.stored.decoding import RowDecoder
from ranker.vectors.stored.encoding import encode, make_keys
from tests.support.redis_servers import sentinel

SCHEMA = synthetic.schema()
OURS = {SCHEMA.fingerprint}
OTHER = SCHEMA.fingerprint ^ 1
N = 2 * BATCH + 7
IDS = synthetic.product_ids(N)
KEYS = make_keys(SCHEMA.product, IDS)


@pytest.fixture
def loader(redis_url: str, redis_client: Redis) -> Iterator[Loader]:
    with closing(Loader(redis_url)) as loader:
        yield loader


def load(loader: Loader) -> list[int]:
    told: list[int] = []
    rows = np.concatenate(list(synthetic.product_rows(N)))
    loader.load(SCHEMA.product, IDS, [rows[:5], rows[5:]], SCHEMA.fingerprint, told.append)
    return told


def test_loaded_vectors_are_read_back_by_the_service(loader: Loader, redis_client: Redis) -> None:
    assert load(loader) == [5, N]
    rows = RowDecoder(SCHEMA.product.width, SCHEMA.fingerprint).decode(redis_client.mget(KEYS))
    assert rows.complete
    assert (rows.values == np.concatenate(list(synthetic.product_rows(N)))).all()
    assert redis_client.dbsize() == N


def test_count_tells_what_is_there(loader: Loader, redis_client: Redis) -> None:
    assert loader.count(KEYS, SCHEMA.fingerprint) == 0
    load(loader)
    assert loader.count(KEYS, SCHEMA.fingerprint) == N
    assert loader.count(KEYS, OTHER) == 0
    redis_client.delete(KEYS[3])
    redis_client.set(KEYS[5], b"[1.0]")
    assert loader.count(KEYS, SCHEMA.fingerprint) == N - 2


def test_nothing_there_and_our_own_may_be_written(loader: Loader) -> None:
    loader.refuse_foreign(KEYS, OURS)
    load(loader)
    loader.refuse_foreign(KEYS, OURS)


def test_an_earlier_schema_of_ours_may_be_replaced(loader: Loader, redis_client: Redis) -> None:
    redis_client.set(KEYS[-1], encode(np.zeros((1, 64)), OTHER)[0])
    loader.refuse_foreign(KEYS, {SCHEMA.fingerprint, OTHER})
    with pytest.raises(ForeignFeatures):
        loader.refuse_foreign(KEYS, OURS)


@pytest.mark.parametrize("value", [b"[0.5, 1.5]", b"", b"RV\x01\x01", encode(np.zeros((1, 64)), OTHER)[0]])
def test_somebody_elses_value_is_refused_by_name(loader: Loader, redis_client: Redis, value: bytes) -> None:
    redis_client.set(KEYS[BATCH + 1], value)
    with pytest.raises(ForeignFeatures) as caught:
        loader.refuse_foreign(KEYS, OURS)
    assert caught.value.keys == (KEYS[BATCH + 1],)
    assert "--force" in str(caught.value)


def test_a_key_of_another_type_is_refused_too(loader: Loader, redis_client: Redis) -> None:
    redis_client.hset(str(KEYS[0]), "price", "1")
    with pytest.raises(ForeignFeatures, match="product:p0000001"):
        loader.refuse_foreign(KEYS, OURS)


def test_unreachable_redis_is_named_without_its_password(short_path: Path) -> None:
    for url, where in (
        (f"unix://:secret@{short_path}/none.sock", f"{short_path}/none.sock"),
        ("redis://:secret@127.0.0.1:1/0", "127.0.0.1:1"),
    ):
        with pytest.raises(StoreUnavailable) as caught:
            Loader(url)
        assert where in str(caught.value)
        assert "secret" not in str(caught.value)


def test_an_option_that_is_none_is_refused(redis_url: str) -> None:
    with pytest.raises(UnusableUrl, match=r"\(foo\); leave it out"):
        Loader(f"{redis_url}?foo=bar")


def test_the_primary_that_a_sentinel_names_is_loaded(tmp_path: Path) -> None:
    with sentinel(tmp_path, "shop") as (url, primary), closing(Loader(url)) as loader:
        load(loader)
        assert primary.info("keyspace")["db1"]["keys"] == N


def test_a_cluster_is_loaded_and_looked_at(tmp_path: Path) -> None:
    with cluster(tmp_path / "nodes", primaries=2) as url, closing(Loader(url)) as loader:
        assert loader.count(KEYS, SCHEMA.fingerprint) == 0
        load(loader)
        loader.refuse_foreign(KEYS, OURS)
        assert loader.count(KEYS, SCHEMA.fingerprint) == N
