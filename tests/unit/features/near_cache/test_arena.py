import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ranker.features.near_cache.arena import ENTRY_BYTES, Arena
from ranker.vectors.rows import Rows, RowStatus


def arena(capacity: int) -> Arena:
    made = Arena(2, capacity * (8 + ENTRY_BYTES))
    assert made.capacity == capacity
    return made


def rows(*values: float) -> Rows:
    return Rows(np.array([[v, v] for v in values], np.float32), np.zeros(len(values), np.uint8), complete=True)


def put(to: Arena, ids: str, fresh_until: float = 10.0) -> None:
    to.put(list(ids), rows(*(ord(i) for i in ids)), fresh_until)


def test_rows_come_back_under_their_ids_while_fresh() -> None:
    cache = arena(4)
    put(cache, "abc")
    slots = cache.slots(list("cxa"))
    assert cache.stale(slots, now=5.0).tolist() == [False, True, False]
    assert cache.stale(slots, now=10.0).all()
    found = cache.rows(slots)
    assert found.values[[0, 2], 0].tolist() == [ord("c"), ord("a")]
    assert found.statuses.tolist() == [RowStatus.FOUND, RowStatus.MISSING, RowStatus.FOUND]
    assert not found.complete


def test_expired_row_is_stale_but_keeps_its_values() -> None:
    cache = arena(4)
    put(cache, "ab")
    cache.expire("a")
    cache.expire("unknown")
    slots = cache.slots(["a", "b"])
    assert cache.stale(slots, 0.0).tolist() == [True, False]
    assert cache.rows(slots).values[0, 0] == ord("a")
    cache.expire_all()
    assert cache.stale(slots, 0.0).all()
    put(cache, "a")
    assert cache.stale(cache.slots(["a", "b"]), 0.0).tolist() == [False, True]
    assert len(cache) == 2


def test_scan_does_not_drive_out_what_is_in_use() -> None:
    cache = arena(100)
    hot = [f"hot{i}" for i in range(50)]
    cache.put(hot, rows(*range(50)), 10.0)
    for i in range(1000):
        assert not cache.stale(cache.slots(hot), 0.0).any()
        cache.rows(cache.slots(hot))
        cache.put([f"scan{i}"], rows(i), 10.0)
    assert len(cache) == 100
    assert cache.evictions == 950


some_ids = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=5, unique=True)


@given(st.integers(1, 4), st.lists(st.tuples(some_ids, st.sampled_from(["put", "use", "expire"]))))
@example(1, [(["a"], "put"), (["b", "a"], "put")])
def test_an_id_never_shows_another_ids_row(capacity: int, steps: list[tuple[list[str], str]]) -> None:
    cache = arena(capacity)
    for ids, step in steps:
        if step == "put":
            put(cache, "".join(ids))
        elif step == "expire":
            for i in ids:
                cache.expire(i)
        else:
            cache.rows(cache.slots(ids))
        for i in "abcdefgh":
            slots = cache.slots([i])
            if not cache.stale(slots, 0.0)[0]:
                assert cache._values[slots[0], 0] == ord(i)
    assert len(cache) <= cache.capacity


steps = st.sampled_from(["put", "use", "expire", "expire all", "expire group", "clear"])


@given(st.integers(1, 4), st.lists(st.tuples(some_ids, steps)), st.sampled_from(["slots", "len", "evictions"]))
@example(4, [(["a"], "put"), (["a"], "expire")], "slots")
@example(4, [(["a"], "put"), (["a"], "expire all")], "slots")
@example(4, [(["a"], "put"), (["a"], "expire group")], "slots")
@example(4, [(["a"], "put"), (["a"], "clear")], "slots")
@example(1, [(["a", "b"], "put")], "evictions")
def test_rows_that_are_not_written_yet_are_there_for_whoever_looks(
    capacity: int, steps: list[tuple[list[str], str]], looks: str
) -> None:
    now, later = arena(capacity), arena(capacity)
    groups = np.array([False, True, True])
    for time, (ids, step) in enumerate(steps):
        for cache in now, later:
            if step == "put":
                cache.put(ids, rows(*(time + ord(i) for i in ids)), 10.0, lambda entity_id: ord(entity_id) % 3)
                if cache is now:
                    cache.settle()
            elif step == "use":
                cache.rows(cache.slots(ids))
            elif step == "expire":
                cache.expire(ids[0])
            elif step == "expire all":
                cache.expire_all()
            elif step == "expire group":
                cache.expire_groups(groups)
            else:
                cache.clear()
    if looks == "slots":
        assert later.slots("abcdefgh").tolist() == now.slots("abcdefgh").tolist()
        for array in "_values", "_statuses", "_fresh_until", "_used", "_groups":
            np.testing.assert_array_equal(getattr(later, array), getattr(now, array))
    elif looks == "len":
        assert (len(later), later.bytes_held) == (len(now), now.bytes_held)
    else:
        assert later.evictions == now.evictions


def test_more_rows_than_capacity_in_one_put_keep_the_last() -> None:
    cache = arena(2)
    put(cache, "abcde")
    fresh = [i for i in "abcde" if not cache.stale(cache.slots([i]), 0.0)[0]]
    assert len(fresh) == 2
    for i in fresh:
        assert cache.rows(cache.slots([i])).values[0, 0] == ord(i)


def test_groups_expire_alone_and_whole() -> None:
    cache = arena(8)
    groups = {"a": 3, "b": 5, "c": 3, "d": 7}
    cache.put(list(groups), rows(*map(ord, groups)), 1.0, groups.__getitem__)
    expired = np.zeros(16384, np.bool_)
    expired[[3, 7]] = True
    cache.expire_groups(expired)
    assert [i for i in groups if not cache.stale(cache.slots([i]), 0.0)[0]] == ["b"]


def test_rows_are_float32_and_statuses_bytes() -> None:
    found = arena(4).rows(np.array([0, 4]))
    assert (found.values.dtype, found.statuses.dtype) == (np.float32, np.uint8)


def test_cleared_arena_is_as_a_new_one() -> None:
    cache = arena(3)
    put(cache, "abcd")  # the hand has moved
    cache.clear()
    assert len(cache) == 0
    assert cache.stale(cache.slots(list("abcd")), 0.0).all()
    for ids, kept in ("ef", "ef"), ("g", "efg"), ("h", "fgh"), ("i", "ghi"):  # the oldest gives way
        put(cache, ids)
        stale = cache.stale(cache.slots(list("abcdefghi")), 0.0)
        assert [i for i, gone in zip("abcdefghi", stale, strict=True) if not gone] == list(kept)


def test_each_row_of_a_full_arena_has_its_group() -> None:
    cache = arena(2)
    cache.put(["a", "b"], rows(1, 2), 1.0, {"a": 3, "b": 5}.__getitem__)
    expired = np.zeros(16384, np.bool_)
    expired[5] = True
    cache.expire_groups(expired)
    assert cache.stale(cache.slots(["a", "b"]), 0.0).tolist() == [False, True]


@pytest.mark.skipif(sys.platform != "linux", reason="what memory is made of is read from /proc")
def test_rows_are_written_to_small_pages_for_huge_ones_take_long_to_clear() -> None:
    cache, rows = Arena(1000, 16 << 20), Rows.known(np.ones((2000, 1000), np.float32))
    before = huge_kilobytes()
    cache.put([f"p{i}" for i in range(2000)], rows, 10.0)
    cache.settle()
    assert huge_kilobytes() == before


def huge_kilobytes() -> int:
    """Return how much of this process lies in huge pages."""
    (line,) = (line for line in Path("/proc/self/smaps_rollup").read_text().splitlines() if "AnonHugePages" in line)
    return int(line.split()[1])


def fresh(cache: Arena, ids: str) -> str:
    stale = cache.stale(cache.slots(list(ids)), 0.0).tolist()
    return "".join(i for i, is_stale in zip(ids, stale, strict=True) if not is_stale)


@pytest.mark.parametrize(("used", "kept"), [("", "bcde"), ("a", "acde"), ("ab", "abde"), ("b", "bcde")])
def test_row_that_gives_way_is_the_next_that_was_not_used_again(used: str, kept: str) -> None:
    cache = arena(4)
    put(cache, "abcd")
    if used:
        cache.rows(cache.slots(list(used)))
    put(cache, "e")
    assert fresh(cache, "abcde") == kept


def test_each_row_of_more_than_fit_has_the_group_of_its_id() -> None:
    groups = {"a": 3, "b": 5, "c": 7}
    for gone, left in ((7, 1), (5, 1), (3, 2)):
        cache = arena(2)
        cache.put(list(groups), rows(1, 2, 3), 1.0, groups.__getitem__)
        expired = np.zeros(16384, np.bool_)
        expired[gone] = True
        cache.expire_groups(expired)
        assert len(fresh(cache, "abc")) == left


def test_rows_of_no_columns_are_held_as_any_others() -> None:
    cache = Arena(0, 10 * ENTRY_BYTES)
    cache.put(["a"], Rows.known(np.zeros((1, 0), np.float32)), 10.0)
    found = cache.rows(cache.slots(["a", "b"]))
    assert (found.values.shape, found.statuses.tolist()) == ((2, 0), [RowStatus.FOUND, RowStatus.MISSING])


def test_memory_of_other_systems_holds_the_same_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as other:
        other.setattr(sys, "platform", "darwin")
        cache = arena(4)
    put(cache, "ab")
    found = cache.rows(cache.slots(["b", "a"]))
    assert found.values.tolist() == [[ord("b")] * 2, [ord("a")] * 2]
    assert found.values.dtype == np.float32
