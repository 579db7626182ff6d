"""Feast's online store, read as a real Feast wrote it: keys, fields, values, changes, and what is no such value."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from ranker.errors import CorruptVector, ForeignFormat, InvalidSchema
from ranker.features.groups.grouped import GroupedRows
from ranker.features.near_cache.cache import CachedStore
from ranker.features.store import RedisStore
from ranker.features.uncached import UncachedStore
from ranker.ingest.writer import FeatureWriter
from ranker.redis.connect import connect
from ranker.upkeep.inspection import inspect
from ranker.upkeep.verify import check_stored
from ranker.vectors.feast_key import murmur3
from ranker.vectors.feature.shown import show
from ranker.vectors.rows import Ask, Features, ProductId, RowStatus, UserId
from ranker.vectors.schema import FeatureSchema
from ranker.vectors.schema_file import read_schema
from ranker.vectors.stored.encoding import make_keys
from ranker.vectors.stored.feast_values import FeastDecoder, read_value
from tests.support.feast_store import DATA, KEYS, SCHEMA, fill
from tests.support.near_cache import near
from tests.support.sample import eventually, run

PRODUCTS = [ProductId(i) for i in ("1", "-2", str(1 << 40), "3", "01", "x", str(1 << 63))]
SEEN_AT = 1767323045
Store = CachedStore | UncachedStore


def uncached(url: str, schema: FeatureSchema = SCHEMA) -> UncachedStore:
    return UncachedStore(RedisStore(connect(url, size=2, timeout_s=2.0), schema), schema)


def with_store(make: Callable[..., Store], url: str, test: Callable[[Store], Awaitable[None]]) -> None:
    async def body() -> None:
        store = make(url, SCHEMA)
        await store.open()
        try:
            await test(store)
        finally:
            await store.close()

    run(body)


async def fetch(store: Store, user: str = "u", seller: str | None = "7") -> Features:
    rows = GroupedRows(SCHEMA, store)
    return await rows.fetch(
        Ask(UserId(user), PRODUCTS, {"seller": seller}), lambda: store.fetch(UserId(user), PRODUCTS)
    )


def shown(row: np.ndarray) -> dict[str, Any]:
    return {f.name: show(f, row[SCHEMA.user.slices[f.name]]) for f in SCHEMA.user.features}


@pytest.mark.parametrize("make", [near, uncached])
def test_what_feast_wrote_is_read(make: Callable[..., Store], redis_url: str, redis_client: Redis) -> None:
    fill(redis_client)

    async def test(store: Store) -> None:
        features = await fetch(store)
        assert shown(features.user.values[0]) == {
            "age": 30.5,
            "spend": 12.25,
            "clicks": -3,
            "member": True,
            "city": "Köln",
            "taste": [0.5, -1.0],
            "viewed": [1 << 40, -7],
            "seen_at": SEEN_AT,
            "tags": ["a", "b"],
        }
        found = features.products
        assert found.statuses.tolist() == [0, 0, 0, *[RowStatus.MISSING] * 4]
        assert found.values[:3].tolist() == [[9.5, 1.0], [0.0, 2.0], [3.0, 7.0]]
        assert features.groups is not None
        assert features.groups["seller"].values.tolist() == [[4.5]]
        other = shown((await fetch(store, "ü")).user.values[0])
        assert (other["age"], other["city"], other["clicks"], other["member"]) == (None, "", 4, False)
        nobody = await fetch(store, "nobody", None)
        assert nobody.user.statuses.tolist() == [RowStatus.MISSING]
        assert nobody.groups is not None
        assert nobody.groups["seller"].statuses.tolist() == [RowStatus.MISSING]

    with_store(make, redis_url, test)


def test_what_feast_writes_is_seen_at_once(redis_url: str, redis_client: Redis) -> None:
    fill(redis_client)
    (user_key,) = make_keys(SCHEMA.user, ["ü"])
    (product_key,) = make_keys(SCHEMA.product, ["-2"])
    asked = [(UserId("ü"), PRODUCTS)]

    async def test(store: Store) -> None:
        for key, field, value in (
            (user_key, SCHEMA.user.fields[2], b"\x18\x09"),
            (product_key, SCHEMA.product.fields[0], b"\x35" + np.float32(8).tobytes()),
        ):
            await fetch(store, "ü")
            assert store.held(asked) != [None]
            redis_client.hset(key, field, value)  # type: ignore[arg-type]  # bytes are fields, too
            await eventually(lambda: store.held(asked) == [None])
        features = await fetch(store, "ü")
        assert shown(features.user.values[0])["clicks"] == 9
        assert features.products.values[1].tolist() == [8.0, 2.0]

    with_store(near, redis_url, test)


def test_keys_and_ids_are_those_of_feast() -> None:
    for entity, ids in ((SCHEMA.user, ["u", "ü"]), (SCHEMA.product, ["1", "-2", str(1 << 40)])):
        keys = make_keys(entity, ids)
        assert {key.hex() for key in keys if isinstance(key, bytes)} <= KEYS.keys()
        assert [entity.id_in(key) for key in keys if isinstance(key, bytes)] == ids
    assert [SCHEMA.user.id_in(bytes.fromhex(key)) for key in KEYS].count(None) == len(KEYS) - 2


def test_field_names_are_murmurs_of_view_and_feature() -> None:
    assert {field.hex() for field in SCHEMA.user.fields if isinstance(field, bytes)} < set().union(*KEYS.values())
    known = {b"": 0, b"a": 0x3C2569B2, b"hello, world": 0x149BBB7F, b"abcde": 0xE89B9AF6}
    assert {text: murmur3(text) for text in known} == known


WHOLE = b"\x18\x02"


def float_val(value: float) -> bytes:
    return b"\x35" + np.float32(value).tobytes()


def double_val(value: float) -> bytes:
    return b"\x29" + np.float64(value).tobytes()


@pytest.mark.parametrize(
    "hashes",
    [
        [[float_val(i), float_val(-i)] for i in range(3)],
        [[double_val(i), double_val(0.1)] for i in range(3)],
        [[double_val(i), float_val(0.1)] for i in range(3)],
        [[double_val(1), WHOLE], [double_val(2), b"\x38\x01"]],
        [[float_val(1), double_val(2)], [double_val(3), float_val(4)]],
        [
            [float_val(1), float_val(2)],
            [None, None],
            [float_val(3), b""],
            [float_val(4), None],
            [],
            [None, float_val(1)],
            [float_val(7), float_val(8)],
        ],
        [[float_val(1), float_val(2)], [float_val(np.inf), float_val(2)], [float_val(np.nan), float_val(2)]],
        [[double_val(1), double_val(2)], [double_val(1e300), double_val(2)]],
        [[float_val(1), float_val(2)], [b"\x12\x01a", float_val(2)]],
        [[float_val(1), float_val(2)], [b"RV\x01\x01\x00", float_val(2)]],
    ],
)
def test_numbers_of_many_entities_are_decoded_together_as_one_by_one(hashes: list[list[bytes | None]]) -> None:
    decoder = FeastDecoder(SCHEMA.product)
    together = decoder.decode(hashes)
    assert together.complete == (not together.statuses.any())
    for i, one in enumerate(hashes):
        if one and one == [None] * len(one):
            assert together.statuses[i] == RowStatus.MISSING
            continue
        try:
            assert together.values[i].tobytes() == decoder.decode_one(one).tobytes()
            assert together.statuses[i] == RowStatus.FOUND
        except CorruptVector:
            assert together.statuses[i] == RowStatus.CORRUPT


@pytest.mark.parametrize(
    "data",
    [
        b"\x35\x00",
        b"\x29\x00\x00",
        b"\x18",
        b"\x18" + b"\xff" * 10 + b"\x01",
        b"\x12\x05ab",
        b"\x12\x01\xff",
        b"\x82\x01\x03\x0a\x02\x00\x00",
        b"\x35\x00\x00\x00\x00\x18\x01",
        b"\xa2\x01\x00",
        b"\x30\x01",
        b"RV\x01",
    ],
)
def test_bytes_that_are_no_value_of_feasts_are_corrupt(data: bytes) -> None:
    with pytest.raises(CorruptVector):
        read_value(data)


@given(st.binary(max_size=40))
def test_any_bytes_are_a_value_or_corrupt(data: bytes) -> None:
    with suppress(CorruptVector):
        read_value(data)


def test_tools_look_at_feasts_entities_and_write_none(redis_url: str, redis_client: Redis) -> None:
    fill(redis_client)
    looked = inspect(redis_client, SCHEMA, "product", "1")
    assert (looked.features, looked.problem, looked.form) == ({"price": 9.5, "stock": 1.0}, None, "feast")
    findings = [*check_stored(redis_client, SCHEMA, "product", None, None)]
    assert [finding.status for finding in findings] == ["ok"] * 3
    assert "3 looked at, all usable" in findings[1].seen
    with FeatureWriter(redis_url, SCHEMA) as writer, pytest.raises(ForeignFormat):
        writer.write_products(["1"], [[1.0, 2.0]])


@pytest.mark.parametrize(
    ("product", "told"),
    [
        (
            {"feast": None},
            "`format: feast` and `feast: {project: …, view: …, join_key: …, type: string|int32|int64}` go",
        ),
        ({"format": None}, "`format: feast` and `feast: {project: …"),
        ({"key": "p:{id}"}, "with `format: feast` the key is Feast's own: leave `key` out"),
        ({"feast": {"project": "shop", "view": "v"}}, "product.feast.join_key: Field required"),
        ({"feast": {"project": "shop", "view": "v", "join_key": "k", "type": "float"}}, "'string', 'int32' or 'int64'"),
        ({"feast": {"project": "s", "view": "v", "join_key": "ü"}}, "product.feast.join_key"),
    ],
)
def test_each_mistake_is_one_sentence_with_its_remedy(tmp_path: Path, product: dict[str, Any], told: str) -> None:
    said = {name: value for name, value in (DATA["product"] | product).items() if value is not None}
    path = tmp_path / "schema.yaml"
    path.write_text(yaml.safe_dump(DATA | {"product": said}))
    with pytest.raises(InvalidSchema) as caught:
        read_schema(path)
    assert told in str(caught.value)
    assert len(caught.value.problems) == 1


def test_group_of_feasts_has_the_value_alone_as_its_key() -> None:
    group = DATA["groups"]["seller"] | {"key": "seller:{context.seller}"}
    with pytest.raises(InvalidSchema, match="the key is the join key's value alone"):
        FeatureSchema.from_mapping(DATA | {"groups": {"seller": group}})


def test_view_comes_back_from_a_models_metadata() -> None:
    assert FeatureSchema.from_mapping(SCHEMA.to_metadata()) == SCHEMA
    assert SCHEMA.user.key == "shop/user_id={id}"


SOME = st.one_of(
    st.none(),
    st.binary(max_size=12),
    st.floats(width=32).map(lambda x: b"\x35" + np.float32(x).tobytes()),
    st.floats().map(lambda x: b"\x29" + np.float64(x).tobytes()),
    st.binary(max_size=9).map(lambda x: b"\x12" + bytes([len(x)]) + x),
    st.integers(0, 127).map(lambda x: b"\x18" + bytes([x])),
    st.binary(max_size=8).map(lambda x: b"\x82\x01" + bytes([len(x) + 2]) + b"\x0a" + bytes([len(x)]) + x),
)


@given(st.lists(st.lists(SOME, min_size=9, max_size=9), min_size=1, max_size=3))
def test_whatever_a_hash_holds_is_a_row_or_a_status(hashes: list[list[bytes | None]]) -> None:
    rows = FeastDecoder(SCHEMA.user).decode(hashes)
    assert len(rows) == len(hashes)
    assert not np.isinf(rows.values[rows.statuses == RowStatus.FOUND]).any()
