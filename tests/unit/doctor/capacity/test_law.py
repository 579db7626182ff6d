"""The scaling law's arithmetic, exactly."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranker.doctor.capacity.figures import COLD, Costs, Entity, Misses, Shop
from ranker.doctor.capacity.law import not_measured, plan

COSTS = Costs(
    products=100,
    api_us={"all cached": 300, "user read": 400, "all read": 1000},
    runner_us=None,
    redis_key_us=1.0,
)
SHOP = Shop(
    user=Entity(count=50_000, entry_bytes=100, redis_bytes=320, wire_bytes=300, ttl_s=10, cache_share=0.25, per="user"),
    product=Entity(
        count=10_000, entry_bytes=100, redis_bytes=320, wire_bytes=300, ttl_s=300, cache_share=0.75, per="product"
    ),
    http_bytes=4000,
    cache_bytes=64 << 20,
    process_bytes=100 << 20,
    node_bytes=None,
)
CACHED = Misses(0.0, 0.0)


@pytest.mark.parametrize(
    ("misses", "demand_us"),
    [
        (CACHED, 300),
        (Misses(1, 0), 400),
        (COLD, 1000),
        (Misses(0.5, 0), 350),  # every second request reads
        (Misses(0, 0.01), 300 + (1 - 0.99**100) * 100 + 0.01 * 600),  # 63 % read, a key of a hundred each
    ],
)
def test_demand_is_of_requests_that_read_and_of_what_they_read(misses: Misses, demand_us: float) -> None:
    assert COSTS.api_demand_us(misses) == pytest.approx(demand_us)


def test_reading_that_seems_to_save_by_noise_costs_nothing() -> None:
    noisy = replace(COSTS, api_us={"all cached": 300, "user read": 290, "all read": 280})
    assert noisy.api_demand_us(COLD) == 300


def test_cores_are_rate_times_demand_over_utilisation() -> None:
    planned = plan(COSTS, SHOP, 10_000, 0.6, CACHED)
    assert (planned.api_cores, planned.workers, planned.runner_cores) == (pytest.approx(5), 5, None)
    assert plan(COSTS, SHOP, 10_000, 0.5, COLD).api_cores == pytest.approx(20)
    assert plan(COSTS, SHOP, 1, 0.6, CACHED).workers == 1
    assert plan(replace(COSTS, runner_us=60), SHOP, 10_000, 0.6, CACHED).runner_cores == pytest.approx(1)


def test_requests_in_flight_follow_littles_law() -> None:
    assert plan(COSTS, SHOP, 10_000, 0.6, CACHED).in_flight == pytest.approx(10_000 * 300e-6 / 0.4)
    served = plan(replace(COSTS, runner_us=100), SHOP, 10_000, 0.5, CACHED)
    assert served.in_flight == pytest.approx(10_000 * 400e-6 / 0.5)


def test_cold_cache_asks_redis_for_every_key() -> None:
    cold = plan(COSTS, SHOP, 1000, 0.6, COLD)
    assert cold.keys_per_s == 101_000
    assert cold.redis_bytes_per_s == pytest.approx(30.3e6)
    assert cold.http_bytes_per_s == pytest.approx(4e6)
    assert cold.redis_nodes == 1  # 0.168 of a core
    assert plan(COSTS, SHOP, 10_000, 0.6, COLD).redis_nodes == 2  # 1.01 s of CPU a second / 0.6


def test_warm_cache_reads_each_row_again_after_its_time_to_live() -> None:
    few_users = replace(SHOP, user=replace(SHOP.user, count=1000))
    warm = plan(COSTS, few_users, 10_000, 0.6)
    assert warm.misses.user == pytest.approx(warm.workers * 1000 / (10_000 * 10))
    assert warm.misses.product == pytest.approx(warm.workers * 10_000 / (10_000 * 100 * 300))
    assert warm.keys_per_s == pytest.approx(warm.workers * (1000 / 10 + 10_000 / 300))
    # More users than come within their time to live: each is new.
    assert plan(COSTS, SHOP, 10, 0.6).misses.user == 1.0


def test_workers_are_the_fewest_that_carry_what_so_many_workers_read() -> None:
    for rate in (100.0, 1000.0, 10_000.0, 100_000.0):
        planned = plan(COSTS, SHOP, rate, 0.6)
        assert planned.workers == max(1, math.ceil(planned.api_cores))
        one_less = Misses(
            min(1.0, (planned.workers - 1) * 50_000 / (rate * 10)),
            min(1.0, (planned.workers - 1) * 10_000 / (rate * 100 * 300)),
        )
        assert planned.workers == 1 or plan(COSTS, SHOP, rate, 0.6, one_less).api_cores > planned.workers - 1


def test_rows_beyond_the_cache_are_read() -> None:
    # Room for half of the products: 0.75 of the cache is theirs.
    small = replace(SHOP, cache_bytes=int(10_000 * 100 / 2 / 0.75))
    never = replace(small, product=replace(small.product, ttl_s=1e12))
    assert plan(COSTS, never, 1000, 0.6).misses.product == pytest.approx(0.5, rel=1e-4)


GROUPED = replace(
    SHOP,
    groups={
        "live": Entity(
            count=1000, entry_bytes=50, redis_bytes=100, wire_bytes=20, ttl_s=30, cache_share=0.1, per="user"
        ),
        "seller": Entity(
            count=500, entry_bytes=40, redis_bytes=80, wire_bytes=30, ttl_s=300, cache_share=0.3, per="product"
        ),
    },
)


def test_keys_of_groups_are_read_stored_and_held_beside_the_others() -> None:
    cold = plan(COSTS, GROUPED, 1000, 0.6, COLD)
    assert cold.keys_per_s == 1000 * (1 + 100 + 1 + 100)
    assert cold.redis_bytes_per_s == pytest.approx(30.3e6 + 1000 * (20 + 100 * 30))
    assert GROUPED.stored_bytes == 60_000 * 320 + 1000 * 100 + 500 * 80
    assert GROUPED.held_bytes == 60_000 * 100 + 1000 * 50 + 500 * 40
    warm = plan(COSTS, GROUPED, 10_000, 0.6)
    missed = dict(warm.misses.groups)
    assert missed["live"] == ("user", pytest.approx(warm.workers * 1000 / (10_000 * 30)))
    assert missed["seller"] == ("product", pytest.approx(warm.workers * 500 / (10_000 * 100 * 300)))
    stated = plan(COSTS, GROUPED, 1000, 0.6, Misses(0.5, 0.1))
    assert stated.keys_per_s == pytest.approx(1000 * (0.5 + 10 + 0.5 + 10))


def test_products_of_histories_are_read_beside_those_of_the_request() -> None:
    looked_up = replace(COSTS, looked_up=50)
    assert plan(looked_up, GROUPED, 1000, 0.6, COLD).keys_per_s == 1000 * (1 + 150 + 1 + 100)
    warm = plan(looked_up, SHOP, 10_000, 0.6)
    assert warm.misses.product == pytest.approx(warm.workers * 10_000 / (10_000 * 150 * 300))
    assert looked_up.api_demand_us(Misses(0, 0.01)) == pytest.approx(300 + (1 - 0.99**150) * 100 + 0.01 * 600)


def test_requests_that_read_a_group_alone_pay_for_reading() -> None:
    misses = Misses(0, 0, {"live": ("user", 1.0)})
    assert COSTS.api_demand_us(misses) == pytest.approx(400)
    assert COSTS.api_demand_us(Misses(0, 0, {"seller": ("product", 0.01)})) == pytest.approx(
        300 + (1 - 0.99**100) * 100
    )


def test_group_of_which_nothing_is_stored_takes_nothing_and_one_that_is_not_counted_is_named() -> None:
    live = GROUPED.groups["live"]
    empty = replace(GROUPED, groups={"live": replace(live, count=0, redis_bytes=None)})
    assert empty.stored_bytes == SHOP.stored_bytes
    assert not_measured(COSTS, empty) == []
    uncounted = replace(GROUPED, groups={"live": replace(live, count=None)})
    assert (uncounted.stored_bytes, uncounted.held_bytes) == (None, None)
    assert not_measured(COSTS, uncounted) == ["number of live rows", "bytes in Redis"]


@pytest.mark.parametrize("change", [{"count": None}, {"ttl_s": 0.0}])
def test_users_that_are_not_kept_or_not_counted_are_read(change: dict[str, float | None]) -> None:
    shop = replace(SHOP, user=replace(SHOP.user, **change))  # type: ignore[arg-type]  # fields by name, parametrized
    assert plan(COSTS, shop, 1000, 0.6).misses.user == 1.0


def test_redis_nodes_follow_memory_too() -> None:
    stored = 60_000 * 320
    assert SHOP.stored_bytes == stored
    for node_bytes, nodes in ((stored, 1), (stored - 1, 2), (stored // 4, 4)):
        assert plan(COSTS, replace(SHOP, node_bytes=node_bytes), 1, 0.6, CACHED).redis_nodes == nodes


def test_memory_is_of_processes_and_of_their_caches() -> None:
    served = plan(replace(COSTS, runner_us=60), SHOP, 10_000, 0.6, CACHED)  # 5 workers, 1 runner
    assert served.service_bytes == (6 * 100 + 5 * 64) << 20


def test_what_was_not_measured_is_none_and_named() -> None:
    assert not_measured(COSTS, SHOP) == []
    blind = replace(COSTS, redis_key_us=None)
    unknown = replace(SHOP, product=replace(SHOP.product, count=None, redis_bytes=None))
    planned = plan(blind, unknown, 1000, 0.6)
    assert (planned.redis_nodes, planned.redis_bytes) == (None, None)
    assert not_measured(blind, unknown) == ["CPU of Redis", "number of products", "bytes in Redis"]


def test_without_a_cache_there_is_one_demand() -> None:
    plain = replace(COSTS, api_us={"all read": 900})
    assert plain.api_demand_us(COLD) == 900


@given(rate=st.floats(0.1, 1e6), more=st.floats(1, 100), utilisation=st.floats(0.05, 0.95))
def test_needs_never_fall_when_the_rate_grows(rate: float, more: float, utilisation: float) -> None:
    few, many = (plan(COSTS, SHOP, r, utilisation, Misses(0.3, 0.1)) for r in (rate, rate * more))
    assert many.workers >= few.workers
    assert many.keys_per_s >= few.keys_per_s
    assert many.api_cores == pytest.approx(few.api_cores * more)
