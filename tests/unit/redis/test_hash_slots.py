"""Hash slots, against the specification's examples and redis-py's own hash."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot as redis_pys

from ranker.redis.hash_slots import key_slot, key_slots


@pytest.mark.parametrize(
    ("key", "alike"),
    [("{user1000}.following", "user1000"), ("foo{{bar}}zap", "{bar"), ("foo{bar}{zap}", "bar")],
)
def test_hash_tag_decides_where_there_is_one(key: str, alike: str) -> None:
    assert key_slot(key) == redis_pys(alike.encode())


def test_slot_is_the_specifications() -> None:
    assert key_slot("123456789") == 0x31C3 % 16384
    assert key_slot("foo{}{bar}") == redis_pys(b"foo{}{bar}")


@given(st.lists(st.text("ab{}é") | st.binary() | st.text()))
def test_slots_of_many_keys_are_those_of_each(keys: list[str | bytes]) -> None:
    assert key_slots(keys) == [redis_pys(key.encode() if isinstance(key, str) else key) for key in keys]
    assert key_slots(keys) == list(map(key_slot, keys))
