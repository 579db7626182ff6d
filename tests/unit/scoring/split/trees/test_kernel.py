"""Compiled trees: a memory for each thread, rows in slices, and a call that ends where it would leave the memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest

from ranker.errors import ModelFailed, ModelRejected
from ranker.scoring.split.ensemble import Ensemble
from ranker.scoring.split.parts import Side
from ranker.scoring.split.trees import kernel, webassembly
from ranker.scoring.split.trees.thresholds import LANES
from tests.support.tree_nodes import VALUES, as_first, grow
from tests.unit.scoring.split.test_ensemble import COLUMNS, SIDES, WIDTH, compare, draw_rows, evaluate, some_ensemble


def narrow_ensemble(trees: int) -> Ensemble:
    """Return trees of one word each."""
    rng = np.random.default_rng(6)
    grown = [grow(rng, 60, WIDTH, ("LEQ", "GT"), VALUES, [[0]]) for _ in range(trees)]
    return Ensemble.from_node(as_first(grown, "target") | {"n_targets": 1}, "TreeEnsembleRegressor", COLUMNS)


@pytest.mark.parametrize("make", [some_ensemble, partial(narrow_ensemble, 5)], ids=["wide", "narrow"])
def test_slices_of_rows_give_what_all_together_give(
    make: Callable[[], Ensemble], monkeypatch: pytest.MonkeyPatch
) -> None:
    x = draw_rows(np.random.default_rng(4), VALUES)
    ensemble = make()
    masks = {side: ensemble.masks(side, np.ascontiguousarray(x[:, i::3])) for i, side in enumerate(Side)}
    monkeypatch.setattr(kernel, "SLICE_BYTES", 8 * 8 * ensemble.words)  # 8 rows, of 30
    sliced = make()
    np.testing.assert_array_equal(evaluate(sliced, x), evaluate(ensemble, x))
    for i, side in enumerate(Side):
        np.testing.assert_array_equal(sliced.masks(side, np.ascontiguousarray(x[:, i::3])), masks[side])
    few = np.repeat([0, 1, 2], 10)
    answers = [
        one.evaluate(masks[Side.REQUEST], masks[Side.PRODUCT], few, np.ascontiguousarray(x[:, 2::3]))
        for one in (ensemble, sliced)
    ]
    np.testing.assert_array_equal(*answers)
    alone = [evaluate(ensemble, row[np.newaxis]) for row in x]
    np.testing.assert_array_equal(evaluate(ensemble, x), np.concatenate(alone))


AGGREGATES = ("SUM", "AVERAGE", "MIN", "MAX")


@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize(
    ("sizes", "voters"),
    [([1], [[0]]), ([9, 70, 3], [[0]]), ([9, 70, 3], [[0, 1, 2]]), ([9, 70, 3], [[0], [2], [1, 2]])],
    ids=["a leaf", "a target", "all targets", "some targets"],
)
def test_votes_become_one_as_onnx_runtime_has_it(sizes: list[int], voters: list[list[int]], aggregate: str) -> None:
    rng = np.random.default_rng(3)
    targets = 1 + max(map(max, voters))
    trees = [grow(rng, size, WIDTH, ("LEQ", "GT"), VALUES, voters) for size in sizes]
    each_votes = len(voters) == 1
    attributes = as_first(trees, "target") | {
        "n_targets": targets,
        "aggregate_function": aggregate,
        "base_values": rng.normal(size=targets).astype(np.float32).tolist() if each_votes else [],
    }
    compare(attributes, "TreeEnsembleRegressor", draw_rows(rng, VALUES))


@pytest.mark.parametrize("column", [0, 1])
def test_votes_for_one_class_of_two_become_scores_as_onnx_runtime_has_it(column: int) -> None:
    rng = np.random.default_rng(3)
    trees = [grow(rng, size, WIDTH, ("LEQ", "GT"), VALUES, [[column]]) for size in (9, 70, 3)]
    attributes = as_first(trees, "class") | {"classlabels_int64s": [0, 1]}
    compare(attributes, "TreeEnsembleClassifier", draw_rows(rng, VALUES))


def test_a_second_call_adds_nothing_to_what_the_first_one_gave() -> None:
    rng = np.random.default_rng(3)
    trees = [grow(rng, 9, WIDTH, ("LEQ",), VALUES, [[0, 1]])]
    ensemble = Ensemble.from_node(as_first(trees, "target") | {"n_targets": 2}, "TreeEnsembleRegressor", COLUMNS)
    x = draw_rows(rng, VALUES)
    np.testing.assert_array_equal(evaluate(ensemble, x), evaluate(ensemble, x))


def test_slices_follow_one_another_to_the_last_row() -> None:
    (made,) = some_ensemble()._kernels._idle
    most = made._rows
    ends = [(some.start, some.stop) for some in made._slices(2 * most + 1)]
    assert ends == [(0, most), (most, 2 * most), (2 * most, 2 * most + 1)]


@pytest.mark.parametrize("request_of_row", [-1, 2])
def test_a_row_of_no_request_is_refused(request_of_row: int) -> None:
    ensemble, x = some_ensemble(), draw_rows(np.random.default_rng(4), VALUES)[:2]
    request, product = (ensemble.masks(side, np.ascontiguousarray(x[:, i::3])) for i, side in enumerate(SIDES[:2]))
    with pytest.raises(IndexError, match="of a request that is not there"):
        ensemble.evaluate(request, product, np.array([0, request_of_row]), np.ascontiguousarray(x[:, 2::3]))


def test_zero_of_either_sign_divides_alike(tmp_path: Path) -> None:
    narrow_ensemble(9).save(tmp_path / "trees.npz")
    with np.load(tmp_path / "trees.npz") as archive:
        arrays = dict(archive)
    zeros = 0
    for side in Side:
        threshold = arrays[f"{side}.threshold"]
        zeros += np.count_nonzero(threshold == 0)
        threshold[threshold == 0] *= -1
    assert zeros
    np.savez(tmp_path / "others.npz", **arrays)
    x = np.random.default_rng(1).choice(np.array([0.0, -0.0, 1e-45, -1e-45], np.float32), size=(50, WIDTH))
    one, other = (Ensemble.load(tmp_path / name) for name in ("trees.npz", "others.npz"))
    np.testing.assert_array_equal(evaluate(one, x), evaluate(other, x))


@pytest.mark.parametrize("trees", [1, 5, 60])
def test_a_slice_has_as_many_rows_as_its_bytes_hold_in_whole_lanes(trees: int) -> None:
    ensemble = narrow_ensemble(trees)
    (made,) = ensemble._kernels._idle
    assert made._rows % LANES == 0
    assert made._rows * 8 * ensemble.words <= kernel.SLICE_BYTES < (made._rows + LANES) * 8 * ensemble.words


def test_ensemble_of_one_row_a_slice_has_one_of_all_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "SLICE_BYTES", 1)
    x = draw_rows(np.random.default_rng(4), VALUES)
    sliced = some_ensemble()
    assert sliced._kernels._idle[0]._rows == LANES
    monkeypatch.undo()
    np.testing.assert_array_equal(evaluate(sliced, x), evaluate(some_ensemble(), x))


def test_threads_at_the_same_time_have_a_memory_each() -> None:
    rng = np.random.default_rng(6)
    ensemble = narrow_ensemble(100)
    rows = [np.tile(draw_rows(rng, VALUES), (20, 1)) for _ in range(4)]
    expected = [evaluate(ensemble, some) for some in rows]
    together = Barrier(len(rows))

    def score(i: int) -> bool:
        together.wait(20)
        return all(np.array_equal(evaluate(ensemble, rows[i]), expected[i]) for _ in range(30))

    with ThreadPoolExecutor(len(rows)) as threads:
        assert all(threads.map(score, range(len(rows))))


def test_address_outside_of_the_memory_fails_the_call_alone() -> None:
    ensemble = some_ensemble()
    x = draw_rows(np.random.default_rng(4), VALUES)
    expected = evaluate(ensemble, x)
    (broken,) = ensemble._kernels._idle
    broken._arguments = (broken._arguments[0], 0xFFFFFFF0, *broken._arguments[2:])
    with pytest.raises(ModelFailed, match=r"could not score 30 rows: the compiled trees stopped \(.*out of bounds"):
        evaluate(ensemble, x)
    assert broken not in ensemble._kernels._idle
    np.testing.assert_array_equal(evaluate(ensemble, x), expected)


def test_address_outside_of_the_memory_fails_the_call_for_masks_alone() -> None:
    ensemble = some_ensemble()
    part = np.ascontiguousarray(draw_rows(np.random.default_rng(4), VALUES)[:, ::3])
    expected = ensemble.masks(Side.REQUEST, part)
    (broken,) = ensemble._kernels._idle
    clearing = broken._clearings[Side.REQUEST]
    clearing._of_blocks = (0xFFFFFFF0, *clearing._of_blocks[1:])
    with pytest.raises(ModelFailed, match=r"could not score 30 rows: the compiled trees stopped \(.*out of bounds"):
        ensemble.masks(Side.REQUEST, part)
    np.testing.assert_array_equal(ensemble.masks(Side.REQUEST, part), expected)


def test_trees_larger_than_a_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "SLICE_BYTES", 1 << 33)
    with pytest.raises(ModelRejected, match="cannot be compiled"):
        some_ensemble()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_takes_few_addresses_for_they_may_be_limited() -> None:
    def address_kb() -> int:
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmSize:")[2].split()[0])

    ensembles = [some_ensemble()]
    before = address_kb()
    ensembles.append(some_ensemble())
    assert address_kb() - before < 100_000


def test_trees_are_compiled_once_and_before_they_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    ensemble = some_ensemble()

    def refuse(*arguments: object) -> None:
        raise AssertionError("compiled once more")

    monkeypatch.setattr(webassembly, "Module", refuse)
    evaluate(ensemble, draw_rows(np.random.default_rng(4), VALUES))
    replace(ensemble)


def test_leaves_of_one_vote_each_are_added_without_asking_for_whom() -> None:
    rng = np.random.default_rng(2)
    trees = [grow(rng, 9, WIDTH, ("LEQ",), VALUES, [[0, 1]])]
    several = Ensemble.from_node(as_first(trees, "target") | {"n_targets": 2}, "TreeEnsembleRegressor", COLUMNS)
    made = (narrow_ensemble(3), some_ensemble(), several)
    assert [ensemble._kernels._idle[0]._function for ensemble in made] == ["add_narrow", "add_wide", "add_votes"]


def test_model_without_trees_does_not_import_wasmtime() -> None:
    script = "import sys, ranker.scoring.split.ensemble; sys.exit('wasmtime' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], timeout=60, check=False).returncode == 0
