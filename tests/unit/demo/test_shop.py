from __future__ import annotations

import csv
from dataclasses import fields, replace

import numpy as np
import pytest

from ranker.demo import training
from ranker.demo.features import PRIOR_CLICKS, build_vectors, popularity
from ranker.demo.shop import BLOCKS, Impressions, Shop, read_shop
from tests.support.open_bandit import dataset_folder, read_dataset


@pytest.fixture(scope="module")
def shop() -> Shop:
    return read_shop()


def impressions(products: list[int], clicks: list[int], positions: list[int] | None = None) -> Impressions:
    n = len(products)
    zeros = np.zeros(n, dtype=np.int64)
    times = np.arange(n).astype("datetime64[us]")
    return Impressions(times, zeros, np.array(products), np.array(positions or zeros), zeros, np.array(clicks))


def test_whole_dataset_is_read(shop: Shop) -> None:
    assert len(shop.impressions) == 60_000
    assert shop.impressions.clicks.sum() == 287
    assert shop.product_ids == [str(i) for i in range(80)]
    assert len(shop.user_ids) == len(shop.users) == 337
    assert shop.user_ids[:2] == ["u001", "u002"]
    assert set(np.unique(shop.impressions.positions)) == {0, 1, 2}
    assert np.bincount(shop.impressions.campaigns).tolist() == [20_000] * 3


def test_users_are_distinct_and_the_first_is_seen_most(shop: Shop) -> None:
    seen = np.bincount(shop.impressions.users, minlength=337)
    assert (np.diff(seen) <= 0).all()
    assert len({tuple(user) for user in shop.users}) == 337


def test_impressions_are_in_order_of_time(shop: Shop) -> None:
    assert (shop.impressions.times[:-1] <= shop.impressions.times[1:]).all()


def fits(campaign: str, policy: str, blocks: tuple[tuple[int, int], ...]) -> bool:
    """Whether a campaign's products, matched by the blocks, are those of `all` but for scale, origin and salt."""
    folder = dataset_folder() / policy

    def read(name: str) -> list[dict[str, str]]:
        with (folder / name / "item_context.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    own, everything = read(campaign), read("all")
    matched = [everything[i] for start, stop in blocks for i in range(start, stop)]
    x, y = (np.array([float(item["item_feature_0"]) for item in items]) for items in (own, matched))
    residual = y - np.polyval(np.polyfit(x, y, 1), x)
    groups = True
    for k in (1, 2, 3):
        pairs = {(a[f"item_feature_{k}"], b[f"item_feature_{k}"]) for a, b in zip(own, matched, strict=True)}
        groups &= len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
    return bool(np.abs(residual).max() < 1e-9) and groups


@pytest.mark.parametrize("policy", ["bts", "random"])
@pytest.mark.parametrize("campaign", ["men", "women"])
def test_products_of_the_other_campaigns_are_matched_rightly(campaign: str, policy: str) -> None:
    assert fits(campaign, policy, BLOCKS[campaign])


def test_another_matching_does_not_fit() -> None:
    assert not fits("men", "bts", ((0, 5), (11, 31), (67, 76)))


def test_men_and_women_together_are_all() -> None:
    ranges = [i for campaign in ("men", "women") for start, stop in BLOCKS[campaign] for i in range(start, stop)]
    assert sorted(ranges) == list(range(80))


def test_packaged_data_are_those_of_the_dataset(shop: Shop) -> None:
    dataset = read_dataset(dataset_folder())
    assert (shop.user_ids, shop.product_ids) == (dataset.user_ids, dataset.product_ids)
    for name in ("users", "products", "product_values"):
        assert np.array_equal(getattr(shop, name), getattr(dataset, name)), name
    for field in fields(Impressions):
        assert np.array_equal(getattr(shop.impressions, field.name), getattr(dataset.impressions, field.name)), field


# --- features ----------------------------------------------------------------------------------------------------


def test_vectors_have_the_schemas_shape_and_are_finite(shop: Shop) -> None:
    vectors = build_vectors(shop, training.split(shop)[0])
    assert vectors.users.shape == (337, vectors.schema.user.width)
    assert vectors.products.shape == (80, vectors.schema.product.width)
    assert vectors.users.dtype == vectors.products.dtype == np.float32
    assert np.isfinite(vectors.users).all()
    assert np.isfinite(vectors.products).all()


def test_vectors_know_nothing_of_the_hold_out(shop: Shop) -> None:
    window, _ = training.split(shop)
    rng = np.random.default_rng(1)
    later = np.arange(len(window), 60_000)
    seen = shop.impressions
    users, products, clicks = seen.users.copy(), seen.products.copy(), seen.clicks.copy()
    users[later], products[later] = rng.integers(0, 337, len(later)), rng.integers(0, 80, len(later))
    clicks[later] = 1
    other = replace(shop, impressions=replace(seen, users=users, products=products, clicks=clicks))
    before, after = build_vectors(shop, window), build_vectors(other, training.split(other)[0])
    assert before.schema == after.schema
    assert (before.users == after.users).all()
    assert (before.products == after.products).all()


def test_every_product_belongs_to_one_category_of_each_kind(shop: Shop) -> None:
    vectors = build_vectors(shop, training.split(shop)[0])
    for k in (1, 2, 3):
        columns = [i for i, n in enumerate(vectors.schema.product.names) if n.startswith(f"item_feature_{k}=")]
        assert (vectors.products[:, columns].sum(axis=1) == 1).all()


def test_popularity_is_smoothed_clicks_over_expected_clicks() -> None:
    seen = impressions([0, 0, 1, 1], [1, 0, 0, 0])
    # The rate is a quarter, so two impressions are expected to bring half a click.
    expected = [(1 + PRIOR_CLICKS) / (0.5 + PRIOR_CLICKS), PRIOR_CLICKS / (0.5 + PRIOR_CLICKS), 1.0]
    assert popularity(seen, 3) == pytest.approx(expected)


def test_popularity_does_not_reward_a_better_place() -> None:
    # Each product gets what its place gets: every click at position 0, none at position 1.
    seen = impressions([0, 0, 1, 1], [1, 1, 0, 0], positions=[0, 0, 1, 1])
    assert popularity(seen, 2) == pytest.approx([1.0, 1.0])
