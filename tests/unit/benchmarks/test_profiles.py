"""Profiles: what is stored, what the graphs take of it, and that both are the same in every run."""

from __future__ import annotations

import hashlib
from pathlib import Path

import lightgbm
import numpy as np
import onnx
import onnxruntime as ort
import pytest

from benchmarks.plan import BRIEF, FULL, QUICK
from benchmarks.profiles import forest, networks
from benchmarks.profiles.layout import LAYOUTS, Layout, Stored
from benchmarks.profiles.profile import PROFILES, as_fields
from benchmarks.run import chosen
from ranker.ingest.pending import Pending

LAYOUT = Layout(Stored(2, 1), Stored(1, 1))


def test_profiles_are_those_of_the_contract() -> None:
    assert list(PROFILES) == list(LAYOUTS) == ["light", "trees", "deep", "ids"]
    widths = {name: (layout.user.features, layout.product.features) for name, layout in LAYOUTS.items()}
    assert widths == {"light": (64, 64), "trees": (32, 32), "deep": (512, 64), "ids": (6, 7)}
    assert len(LAYOUTS["ids"].columns("ids")) == 26


def test_inputs_hold_the_user_before_each_product() -> None:
    user, products = np.array([1, 2, 7]), np.array([[3, 8], [4, 9]])
    feeds = LAYOUT.feeds(as_fields(LAYOUT, user, of_users=True), as_fields(LAYOUT, products, of_users=False))
    assert feeds["features"].tolist() == [[1, 2, 3], [1, 2, 4]]
    assert feeds["ids"].tolist() == [[7, 8], [7, 9]]
    assert (feeds["features"].dtype, feeds["ids"].dtype) == (np.float32, np.int64)


def test_columns_of_a_joined_row_are_those_of_the_inputs() -> None:
    joined = np.array([1, 2, 7, 3, 8])
    assert joined[LAYOUT.columns("features")].tolist() == [1, 2, 3]
    assert joined[LAYOUT.columns("ids")].tolist() == [7, 8]


@pytest.mark.parametrize("name", PROFILES)
def test_stored_vectors_are_records_of_the_layout(name: str) -> None:
    profile = PROFILES[name]
    schema, rows, stored = profile.schema(), profile.product_rows(3), profile.layout.product
    (batch,) = Pending(schema, 10).encode(schema.product, list("abc"), profile.frame(rows, of_users=False))
    records = np.frombuffer(b"".join(batch.values()), stored.record)
    for field, columns in as_fields(profile.layout, rows, of_users=False).items():
        if field in (stored.record.names or ()):
            np.testing.assert_array_equal(records[field], columns)


def test_rows_are_the_same_in_every_run_and_differ_between_entities() -> None:
    deep = PROFILES["deep"]
    np.testing.assert_array_equal(deep.user_rows(3), deep.user_rows(3))
    assert not np.array_equal(deep.user_rows(3)[:, :64], deep.product_rows(3))
    ids = PROFILES["ids"].product_rows(1000)[:, 7:]
    assert (ids.min(axis=0) >= 0).all()
    assert (ids.max(axis=0) < networks.table_rows()[-13:]).all()


@pytest.mark.parametrize("name", ["deep", "ids"])
def test_networks_are_the_same_in_every_run_and_tell_products_apart(name: str, tmp_path: Path) -> None:
    profile, digests = PROFILES[name], set()
    for _ in range(2):
        score = profile.build(tmp_path)
        digests.add(hashlib.sha256((tmp_path / "model.onnx").read_bytes()).digest())
    assert len(digests) == 1
    scores = score(profile.user_rows(1)[0], profile.product_rows(100))
    assert len(np.unique(scores)) > 95
    assert 0.02 < scores.std() < 0.4


def test_forest_is_what_was_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forest, "TREES", 20)  # as many as a test has time for
    content = forest.build(tmp_path / "booster.txt")
    assert forest.build(tmp_path / "booster.txt") == content
    booster = lightgbm.Booster(model_file=tmp_path / "booster.txt")
    trees = booster.dump_model()["tree_info"]
    assert [tree["num_leaves"] for tree in trees] == [forest.LEAVES] * 20
    rows = PROFILES["trees"].product_rows(50)
    rows = np.hstack([rows, rows[::-1]])
    (scores,) = ort.InferenceSession(content).run(None, {"features": rows})
    np.testing.assert_allclose(scores[:, 0], booster.predict(rows), rtol=1e-5, atol=1e-6)
    assert onnx.load_model_from_string(content).graph.input[0].name == "features"


def test_each_profile_has_the_contenders_that_it_fits() -> None:
    assert [c.name for c in chosen(None, FULL, "light")][3] == "limit"
    ids = {c.name for c in chosen(None, FULL, "ids")}
    assert not ids & {"limit", "bentoml-default"}
    assert {"usual", "bare-asgi", "ranker-service", "ranker-local"} <= ids
    assert [c.name for c in chosen(["limit", "usual"], FULL, "trees")] == ["usual"]


def test_extents_say_which_profiles_and_how_much() -> None:
    assert QUICK.profiles == ("light",)
    assert FULL.profiles == BRIEF.profiles == tuple(PROFILES)
    assert (BRIEF.plan("light").levels, BRIEF.plan("deep").levels) == ((1, 64, 500), (64,))
    assert BRIEF.plan("deep").lasting(1).open_s == 0
