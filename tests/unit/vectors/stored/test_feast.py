"""Feast's online store, read as a real Feast wrote it: keys, fields, values, changes, and what is no such value."""

from __future__ import annotations

import re
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

from ranker.errors import CorruptVector, ExpiredRow, ForeignFormat, InvalidSchema
from ranker.features.groups.grouped import GroupedRows
from ranker.features.near_cache.cache import CachedStore
from ranker.features.store import RedisStore
from ranker.features.uncached import UncachedStore
from ranker.ingest.writer import FeatureWriter
from ranker.redis.connect import connect
from ranker.upkeep.inspection import inspect
from ranker.upkeep.verify import check_stored
from ranker.vectors.feature.shown import show
from ranker.vectors.keys.feast import murmur3
from ranker.vectors.rows import Ask, Features, ProductId, RowStatus, UserId
from ranker.vectors.schema import FeatureSchema
from ranker.vectors.schema_file import read_schema
from ranker.vectors.stored.encoding import make_keys
from ranker.vectors.stored.feast_expiry import ExpiringDecoder
from ranker.vectors.stored.feast_values import FeastDecoder, read_value
from ranker.vectors.stored.formats import decoder_for
from tests.support.feast_store import DATA, EXPIRED, KEYS, SCHEMA, SEVERAL, fill
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
        ({"feast": {"project": "shop", "view": "v"}}, "product.feast: name either `join_key`, or several"),
        (
            {"feast": {"project": "shop", "view": "v", "join_keys": {"a": "string", "b": "int32"}}},
            "users and products have one `join_key`: a view of several is one of `groups`",
        ),
        (
            {"feast": {"project": "s", "view": "v", "join_keys": {"a": "string", "b": "int32"}, "type": "int32"}},
            "each of `join_keys` has its own type: leave `type` out",
        ),
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


@pytest.mark.parametrize(
    "key",
    [
        "{userId}",
        "user_id={userId}",
        "user_id={userId},seller_id={context.seller}",
        "user_id={userId};category={context.category}",
        "user_id={userId},category={context.category}!",
    ],
)
def test_key_that_does_not_name_each_join_key_is_refused(key: str) -> None:
    group = SEVERAL["groups"]["affinity"] | {"key": key}
    with pytest.raises(InvalidSchema, match=re.escape('such as key: "category={…},user_id={…}"')):
        FeatureSchema.from_mapping(SEVERAL | {"groups": {"affinity": group}})


def test_keys_of_several_join_keys_are_those_of_feast() -> None:
    schema = FeatureSchema.from_mapping(SEVERAL)
    asked = {
        "affinity": ["u,category=shoes", "u,v,category=hats=1"],
        "offers": [f"ü,product_id={1 << 40},seller_id=-7"],
    }
    for name, ids in asked.items():
        keys = make_keys(schema.keyed[name], ids)
        assert {key.hex() for key in keys if isinstance(key, bytes)} <= KEYS.keys()
        assert [schema.keyed[name].id_in(bytes.fromhex(key)) for key in KEYS].count(None) == len(KEYS) - len(ids)
        assert [schema.keyed[name].id_in(key) for key in keys if isinstance(key, bytes)] == ids


TEXT = st.text(max_size=6) | st.sampled_from(["", ",", "=", ",category=", "user_id=", ",category", "category="])


@given(st.tuples(TEXT, TEXT), st.tuples(TEXT, TEXT))
def test_values_of_two_join_keys_never_make_anothers_key(one: tuple[str, str], other: tuple[str, str]) -> None:
    group = FeatureSchema.from_mapping(SEVERAL).keyed["affinity"]
    ids = [f"{user},category={category}" for user, category in (one, other)]
    keys = make_keys(group, ids)
    written = [key for key in keys if key != b"no join keys"]
    assert len(set(written)) == len({pair for pair, key in zip((one, other), keys, strict=True) if key in written})
    for (user, category), key in zip((one, other), keys, strict=True):
        if key in written:
            assert group.join_values(f"{user},category={category}") == (category, user)


@pytest.mark.parametrize("make", [near, uncached])
def test_rows_of_several_join_keys_are_read(make: Callable[..., Store], redis_url: str, redis_client: Redis) -> None:
    fill(redis_client)
    schema = FeatureSchema.from_mapping(SEVERAL)

    async def read(user: str, category: str, seller: str) -> list[list[float]]:
        store = make(redis_url, schema)
        await store.open()
        try:
            rows = GroupedRows(schema, store)
            ask = Ask(UserId(user), PRODUCTS[2:3], {"category": category, "seller": seller})
            found = (await rows.fetch(ask, lambda: store.fetch(ask.user_id, ask.product_ids))).groups or {}
        finally:
            await store.close()
        return [one.values[one.statuses == RowStatus.FOUND][:, 0].tolist() for one in found.values()]

    assert run(lambda: read("u", "shoes", "-7")) == [[0.25], []]
    assert run(lambda: read("u,v", "hats=1", "-7")) == [[0.5], []]
    assert run(lambda: read("ü", "shoes", "-7")) == [[], [2.5]]
    assert run(lambda: read("ü", "shoes", "7")) == [[], []]


EVENT = 1767323045
"""When what `write_feast.py` wrote had happened, in seconds since 1970."""


def of_sellers(ttl_s: float | None) -> FeatureSchema:
    group = DATA["groups"]["seller"]
    feast = group["feast"] | ({} if ttl_s is None else {"ttl_s": ttl_s})
    return FeatureSchema.from_mapping(DATA | {"groups": {"seller": group | {"feast": feast}}})


def hash_of_seller(schema: FeatureSchema) -> list[bytes | None]:
    (key,) = make_keys(schema.keyed["seller"], ["7"])
    fields = [field.hex() for field in schema.keyed["seller"].fields if isinstance(field, bytes)]
    return [bytes.fromhex(KEYS[key.hex()][field]) for field in fields]  # type: ignore[union-attr]  # bytes


def test_row_older_than_the_ttl_counts_as_missing() -> None:
    schema = of_sellers(86400)
    held = hash_of_seller(schema)
    at = EVENT + 86400.0
    for now, status in ((EVENT, 0), (at, 0), (at + 1, RowStatus.MISSING)):
        decoder = ExpiringDecoder(FeastDecoder(schema.keyed["seller"]), 86400, lambda now=now: now)  # type: ignore[misc]
        rows = decoder.decode([held, None, held])  # type: ignore[list-item]  # None stands for no such key
        assert rows.statuses.tolist() == [status, RowStatus.MISSING, status]
        if status:
            with pytest.raises(ExpiredRow, match=r"Its event is 1 day, 0:00:01 ago and the view's ttl_s 86400"):
                decoder.decode_one(held)
        else:
            assert decoder.decode_one(held).tolist() == [4.5]


def test_row_without_a_timestamp_never_expires_and_one_with_another_message_is_corrupt() -> None:
    schema = of_sellers(1)
    decoder = decoder_for(schema.keyed["seller"], 0)
    (value, _) = hash_of_seller(schema)
    stamps = [None, b"", b"\x08\x00", b"\x08", b"\x12\x01a", b"\x18\x01"]
    statuses = decoder.decode([[value, stamp] for stamp in stamps]).statuses.tolist()
    assert statuses == [0, 0, RowStatus.MISSING, *[RowStatus.CORRUPT] * 3]


def test_without_a_ttl_expired_rows_are_used_as_feast_itself_gives_them(redis_url: str, redis_client: Redis) -> None:
    assert EXPIRED == {"status": "PRESENT", "value": 9.5}
    fill(redis_client)

    async def read(schema: FeatureSchema) -> list[int]:
        store = uncached(redis_url, schema)
        await store.open()
        try:
            rows = GroupedRows(schema, store)
            ask = Ask(UserId("u"), PRODUCTS, {"seller": "7"})
            features = await rows.fetch(ask, lambda: store.fetch(UserId("u"), PRODUCTS))
        finally:
            await store.close()
        return [] if features.groups is None else features.groups["seller"].statuses.tolist()

    assert run(lambda: read(of_sellers(None))) == [RowStatus.FOUND]
    assert run(lambda: read(of_sellers(3600))) == [RowStatus.MISSING]
    assert run(lambda: read(of_sellers(1e10))) == [RowStatus.FOUND]


def test_tools_say_that_a_row_is_expired(redis_client: Redis) -> None:
    fill(redis_client)
    schema = of_sellers(3600)
    looked = inspect(redis_client, schema, "seller", "7")
    assert looked.problem is not None
    assert "the view's ttl_s 3600, so it counts as missing" in looked.problem
    findings = [*check_stored(redis_client, schema, "seller", None, None)]
    assert any("1 expired" in finding.seen for finding in findings)
    assert [*check_stored(redis_client, of_sellers(None), "seller", None, None)][1].status == "ok"


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
