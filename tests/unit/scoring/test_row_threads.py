import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from onnx import helper

from ranker.errors import ModelFailed
from ranker.process.cores import usable_cores
from ranker.scoring import row_threads
from ranker.scoring.row_threads import LEAST_ROWS, LONGEST_PAUSE, SHARING_S, Gain, RowThreads, measure_gain
from ranker.scoring.session import Session
from ranker.vectors.rows import Matrix, Scores
from tests.support.models import mlp_weights, onnx_bytes, tensor
from tests.support.tree_nodes import as_first, grow, tree_onnx

WIDTH = 37


def rows(n: int) -> Matrix:
    return np.arange(n, dtype=np.float32).reshape(n, 1)


@pytest.mark.parametrize("n", [1, LEAST_ROWS, 2 * LEAST_ROWS - 1, 2 * LEAST_ROWS, 100, 1001])
@pytest.mark.parametrize("threads", [2, 3, 7])
def test_every_row_gets_its_own_score(n: int, threads: int) -> None:
    shared = RowThreads(lambda matrix: matrix[:, 0] * 2, threads)
    assert shared.score(rows(n)).tolist() == (rows(n)[:, 0] * 2).tolist()
    assert shared.calls == (n >= 2 * LEAST_ROWS)
    shared.score(rows(n))
    assert shared.calls == 2 * (n >= 2 * LEAST_ROWS)
    shared.close()


def test_blocks_are_scored_at_the_same_time() -> None:
    both = threading.Barrier(2)

    def score(matrix: Matrix) -> Scores:
        both.wait(10)  # breaks where one block comes after the other
        return matrix[:, 0]

    shared = RowThreads(score, 2)
    assert shared.score(rows(100)).tolist() == list(range(100))
    shared.close()


def list_helpers() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("rows")}


@pytest.mark.parametrize(("callers", "threads", "helpers"), [(1, 7, 1), (3, 2, 1), (3, 3, 2)])
def test_no_more_threads_help_than_there_are_blocks_nor_than_are_allowed(
    callers: int, threads: int, helpers: int
) -> None:
    begun, go_on = threading.Semaphore(0), threading.Event()

    def score(matrix: Matrix) -> Scores:
        begun.release()
        assert go_on.wait(20)
        return matrix[:, 0]

    before = list_helpers()
    shared = RowThreads(score, threads)
    with ThreadPoolExecutor(callers) as pool:
        calls = [pool.submit(shared.score, rows(2 * LEAST_ROWS)) for _ in range(callers)]
        for _ in range(callers + helpers):
            assert begun.acquire(timeout=20)
        assert len(list_helpers() - before) == helpers
        go_on.set()
        assert [call.result().tolist() for call in calls] == [list(range(2 * LEAST_ROWS))] * callers
    shared.close()


def test_threads_are_let_go_without_waiting_for_them() -> None:
    shared, busy = RowThreads(lambda matrix: matrix[:, 0], 2), threading.Event()
    waited = shared._pool.submit(busy.wait, 20)
    shared.close()
    assert not waited.done()
    busy.set()
    assert waited.result()


@pytest.mark.skipif(usable_cores() < 2 or sys.platform != "linux", reason="there is one core to run on")
def test_threads_run_on_other_cores_than_their_caller_wherever_it_is() -> None:
    both, cores, caller = threading.Barrier(2), os.sched_getaffinity(0), threading.get_ident()
    allowed: set[int] = set()

    def score(matrix: Matrix) -> Scores:
        both.wait(10)
        if threading.get_ident() != caller:
            allowed.clear()
            allowed.update(os.sched_getaffinity(0))
        return matrix[:, 0]

    shared = RowThreads(score, 2)
    try:
        shared.score(rows(100))  # the threads begin
        for core in cores:
            os.sched_setaffinity(0, {core})
            shared.score(rows(100))
            assert allowed == cores - {core}
    finally:
        os.sched_setaffinity(0, cores)
    shared.close()


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no affinity of their own")
def test_rows_are_scored_where_no_core_is_free_of_their_caller() -> None:
    cores = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(cores)})
        shared = RowThreads(lambda matrix: matrix[:, 0], 2)
        assert shared.score(rows(100)).tolist() == list(range(100))
    finally:
        os.sched_setaffinity(0, cores)
    shared.close()


def test_a_call_does_not_wait_for_threads_that_get_no_turn() -> None:
    busy, sizes = threading.Event(), []

    def score(matrix: Matrix) -> Scores:
        sizes.append(len(matrix))
        return matrix[:, 0]

    shared = RowThreads(score, 2)
    waited = shared._pool.submit(busy.wait, 60)
    assert shared.score(rows(100)).tolist() == list(range(100))
    assert sizes == [50, 50]
    busy.set()
    assert waited.result()  # nobody waited for it to give up
    shared.close()


@pytest.mark.parametrize("bad", [3, 97])
def test_a_failure_in_any_block_is_that_of_the_whole_and_no_thread_works_on(bad: int) -> None:
    working: set[int] = set()

    def score(matrix: Matrix) -> Scores:
        working.add(threading.get_ident())
        if bad in matrix[:, 0]:
            working.discard(threading.get_ident())
            raise ModelFailed(len(matrix), "an unknown category")
        time.sleep(0.05)
        working.discard(threading.get_ident())
        return matrix[:, 0]

    shared = RowThreads(score, 2)
    with pytest.raises(ModelFailed, match="score 100 rows: an unknown category"):
        shared.score(rows(100))
    assert not working  # the memory of the rows is used again
    shared.close()


def test_calls_that_gain_nothing_are_followed_by_ever_longer_pauses_until_one_gains() -> None:
    shared = RowThreads(lambda matrix: matrix[:, 0], 2)

    def pause(one_s: float) -> int:
        """Share a call, and count those until the next that is to be shared."""
        shared.score_within(rows(100), one_s)
        calls = 0
        while not shared.has_turn():
            calls += 1
        return calls

    nothing, much = 0.0, 60.0
    assert shared.has_turn()
    assert [pause(nothing) for _ in range(8)] == [1, 3, 7, 15, 31, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE]
    assert pause(much) == 0
    assert pause(nothing) == 1
    shared.close()


@pytest.mark.parametrize(
    ("one_s", "block_s", "pays"),
    [(0.010, 0.0087, True), (0.010, 0.0089, False), (2 * SHARING_S, SHARING_S, False), (0.001, 0.0005, True)],
)
def test_several_threads_pay_where_they_are_expected_to_take_a_tenth_less(
    one_s: float, block_s: float, pays: bool
) -> None:
    assert Gain(100, 50, one_s, block_s).pays == pays


@pytest.mark.parametrize(("threads", "block"), [(2, 50), (3, 34), (4, 25)])
def test_whether_threads_pay_is_measured_by_the_work_and_not_by_waiting_for_a_core(threads: int, block: int) -> None:
    def score(matrix: Matrix) -> Scores:
        time.sleep(0.02)  # others have the cores, however few the rows
        end = time.thread_time() + len(matrix) * 2e-5
        while time.thread_time() < end:
            pass
        return matrix[:, 0]

    gain = measure_gain(score, threads, rows(100))
    assert (gain.rows, gain.block_rows, gain.pays) == (100, block, True)
    assert 0.002 <= gain.one_s < 0.01


def test_the_quickest_of_several_trials_counts_and_they_end_with_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def score(matrix: Matrix) -> Scores:
        sizes.append(len(matrix))
        return matrix[:, 0]

    measure_gain(score, 2, rows(100))
    assert sizes == [100, 50] * row_threads.TRIALS
    sizes.clear()
    monkeypatch.setattr(row_threads, "TRIALS_S", 0.0)
    measure_gain(score, 2, rows(100))
    assert sizes == [100, 50]


def trees() -> bytes:
    rng = np.random.default_rng(1)
    thresholds = rng.standard_normal(500)
    forest = [grow(rng, 31, WIDTH, ["LEQ"], thresholds, [[0]]) for _ in range(200)]
    return tree_onnx(as_first(forest, "target") | {"n_targets": 1}, "TreeEnsembleRegressor", WIDTH)


def network(function: str) -> bytes:
    """A layer of odd width, so that a row begins anywhere in a register, and a softmax over its units."""
    nodes = [
        helper.make_node("Gemm", ["features", "w1", "b1"], ["h"]),
        helper.make_node(function, ["h"], ["a"]),
        helper.make_node("Softmax", ["a"], ["p"], axis=1),
        helper.make_node("Gemm", ["p", "w2", "b2"], ["s"]),
        helper.make_node("Sigmoid", ["s"], ["scores"]),
    ]
    ends = [tensor("features", ["n", WIDTH])], [tensor("scores", ["n", 1])]
    return onnx_bytes(nodes, *ends, mlp_weights(WIDTH, 131))


@pytest.mark.parametrize("graph", ["trees", "Tanh", "Sigmoid", "Erf", "Softplus"])
@pytest.mark.parametrize("threads", [2, 3, 4])
def test_scores_have_the_bits_that_one_thread_gives(graph: str, threads: int) -> None:
    session = Session(trees() if graph == "trees" else network(graph))
    inputs, outputs = session.inputs[0].name, [session.outputs[0].name]

    def score(matrix: Matrix) -> Scores:
        (scores,) = session.run(outputs, {inputs: matrix}, len(matrix))
        return np.asarray(scores.reshape(-1))

    shared = RowThreads(score, threads)
    for n in (16, 37, 100, 129, 1001):
        matrix = np.random.default_rng(n).standard_normal((n, WIDTH)).astype(np.float32)
        matrix[-1] = matrix[0]  # the same product twice is a tie, whoever scores it
        scores = shared.score(matrix)
        assert scores.tobytes() == score(matrix).tobytes()
        assert scores[0] == scores[-1]
    shared.close()
