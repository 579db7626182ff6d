"""Any bytes under a feature's key: a row status, never an exception, never a neighbour's loss.

`FUZZ_EXAMPLES` sets how many examples are tried; `make chaos` tries many.
"""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis import Redis

from ranker.features.store import RedisStore
from ranker.features.uncached import UncachedStore
from ranker.redis.connection import RedisConnections
from ranker.vectors.feature.draws import draw
from ranker.vectors.rows import ProductId, RowStatus, UserId
from ranker.vectors.stored.decoding import RowDecoder
from ranker.vectors.stored.encoding import Encoder, encode, make_header, make_record_header
from ranker.vectors.stored.formats import decoder_for
from tests.support.sample import SCHEMA, product_vector, run, user_vector
from tests.support.typed import ROWS, columns
from tests.support.typed import SCHEMA as TYPED_SCHEMA

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "200"))
pytestmark = pytest.mark.timeout(120 + EXAMPLES // 20)
WIDTH = SCHEMA.product.width
GOOD = product_vector(5)

TYPED = Encoder(TYPED_SCHEMA.user, TYPED_SCHEMA.fingerprint)
TYPED_GOOD = TYPED.encode(columns(TYPED_SCHEMA.user, ROWS[0]))[0]
TYPED_BYTES = len(TYPED_GOOD)

numbers = st.integers() | st.floats() | st.booleans() | st.none() | st.text(max_size=5)
json_values = st.recursive(
    numbers, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner), max_leaves=10
)
json_texts = json_values.map(json.dumps)
vectors = st.lists(st.floats(width=32), min_size=WIDTH, max_size=WIDTH).map(
    lambda values: encode(np.array([values]), SCHEMA.fingerprint)[0]
)
stored = st.one_of(
    st.binary(max_size=100),
    st.binary(max_size=40).map(lambda body: make_header(SCHEMA.fingerprint) + body),
    st.binary(max_size=40).map(lambda body: make_header(SCHEMA.fingerprint, "float16") + body),
    st.builds(lambda f, body: make_header(f) + body, st.integers(0, 2**32 - 1), st.binary(max_size=40)),
    vectors,
    st.builds(lambda v, i, b: v[:i] + b + v[i + 1 :], vectors, st.integers(0, 30), st.binary(max_size=2)),
    json_texts.map(str.encode),
    json_texts.map(lambda text: json.dumps(text).encode()),
    st.integers(1, 3000).map(lambda depth: b"[" * depth),
    st.binary(max_size=30).map(lambda body: b"[" + body + b"]"),
    st.binary(max_size=30).map(lambda body: b'"[' + body + b']"'),
)


def check(values: list[bytes | None], statuses: np.ndarray, rows: np.ndarray) -> None:
    assert rows.shape == (len(values), WIDTH)
    assert rows.dtype == np.float32
    for value, status, row in zip(values, statuses.tolist(), rows, strict=True):
        assert status in tuple(RowStatus)
        assert (status == RowStatus.MISSING) == (value is None)
        assert status != RowStatus.FOUND or not np.isinf(row).any()
        if value == GOOD:
            assert status == RowStatus.FOUND
            assert row.tolist() == [5.0] * WIDTH


@given(st.lists(st.none() | st.just(GOOD) | stored, max_size=8))
@settings(max_examples=EXAMPLES)
def test_any_stored_bytes_decode_to_a_status(values: list[bytes | None]) -> None:
    rows = RowDecoder(WIDTH, SCHEMA.fingerprint).decode(values)
    check(values, rows.statuses, rows.values)
    assert rows.complete == (not rows.statuses.any())


typed_vectors = st.integers(0, 99).map(lambda seed: TYPED.encode(_drawn(seed))[0])
typed_stored = st.one_of(
    stored,
    st.binary(max_size=300).map(lambda body: make_record_header(TYPED_SCHEMA.fingerprint) + body),
    st.binary(min_size=TYPED_BYTES - 8, max_size=TYPED_BYTES - 8).map(
        lambda body: make_record_header(TYPED_SCHEMA.fingerprint) + body
    ),
    typed_vectors,
    st.builds(lambda v, i, b: v[:i] + b + v[i + 1 :], typed_vectors, st.integers(0, 200), st.binary(max_size=2)),
    st.lists(json_values, min_size=14, max_size=14).map(lambda values: json.dumps(values).encode()),
)


def _drawn(seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.hstack([draw(feature, 1, random) for feature in TYPED_SCHEMA.user.features])


@given(st.lists(st.none() | st.just(TYPED_GOOD) | typed_stored, max_size=8))
@settings(max_examples=EXAMPLES)
def test_any_stored_bytes_decode_to_a_status_of_a_typed_row(values: list[bytes | None]) -> None:
    rows = decoder_for(TYPED_SCHEMA.user, TYPED_SCHEMA.fingerprint).decode(values)
    assert (rows.values.shape, rows.values.dtype) == ((len(values), TYPED_SCHEMA.user.width), np.float32)
    for value, status, row in zip(values, rows.statuses.tolist(), rows.values, strict=True):
        assert (status == RowStatus.MISSING) == (value is None)
        assert status != RowStatus.FOUND or not np.isinf(row).any()
        if value == TYPED_GOOD:
            assert status == RowStatus.FOUND
            assert np.array_equal(row, columns(TYPED_SCHEMA.user, ROWS[0])[0])


@given(st.lists(st.none() | st.binary(max_size=60) | json_texts.map(str.encode), min_size=14, max_size=14))
@settings(max_examples=EXAMPLES)
def test_any_fields_of_a_hash_are_a_status_of_a_typed_row(fields: list[bytes | None]) -> None:
    entity = TYPED_SCHEMA.user.model_copy(update={"format": "hash"})
    rows = decoder_for(entity, 0).decode([fields])
    assert rows.complete == (rows.statuses[0] == RowStatus.FOUND)


@given(values=st.lists(st.just(GOOD) | stored, min_size=1, max_size=8), user=stored)
@settings(max_examples=max(20, EXAMPLES // 10))
def test_any_stored_bytes_are_fetched_without_an_error(redis_url: str, values: list[bytes], user: bytes) -> None:
    with Redis.from_url(redis_url) as client:
        client.mset(
            {f"product:{i}": value for i, value in enumerate(values)} | {"user:any": user, "user:u": user_vector(1)}
        )

    async def test() -> None:
        store = UncachedStore(RedisStore(RedisConnections(redis_url, size=2, timeout_s=5.0), SCHEMA), SCHEMA)
        products = [ProductId(str(i)) for i in range(len(values))]
        features = await store.fetch(UserId("any"), products)
        check(list(values), features.products.statuses, features.products.values)
        assert features.user.values.shape == (1, SCHEMA.user.width)
        assert (await store.fetch(UserId("u"), products)).user.complete
        await store.close()

    run(test)
