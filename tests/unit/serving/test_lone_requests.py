"""A worker whose model stays whole: threads share the rows of a request that is alone, and of no other."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from ranker.api.predict import PredictRequest
from ranker.errors import ModelFailed
from ranker.scoring.loaded import LoadedModel
from ranker.scoring.registry import find_model, load_model, store_model
from ranker.scoring.row_threads import RowThreads
from ranker.scoring.split.files import SplitChoice
from ranker.scoring.split.note import Note
from ranker.serving.lone_requests import make_row_threads
from ranker.settings.environment import Settings
from ranker.vectors.rows import Matrix, Scores
from tests.support.models import loaded_model, mlp_onnx, schema_of_width, temporary_model_store
from tests.support.sample import run
from tests.support.serving import serving
from tests.support.splits import cut_mlp

WIDTH, HIDDEN = 200, 2000
SCHEMA = schema_of_width(WIDTH // 2, WIDTH // 2)
TWO = Settings(score_threads=2)


@pytest.fixture
def tag(tmp_path: Path) -> Iterator[str]:
    with temporary_model_store(tmp_path):
        yield store_model(mlp_onnx(WIDTH, HIDDEN), SCHEMA, "shop", "1")[0]


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows of the calls that threads share."""
    rows: list[int] = []
    score = RowThreads.score

    def noted(self: RowThreads, matrix: Matrix) -> Scores:
        before = self.calls
        scores = score(self, matrix)
        rows.extend([len(matrix)] * (self.calls - before))
        return scores

    monkeypatch.setattr(RowThreads, "score", noted)
    monkeypatch.setattr(RowThreads, "has_turn", lambda _: True)  # however busy the machine is that tests
    return rows


def request(user: str, products: int) -> PredictRequest:
    return PredictRequest(userId=user, productIds=[f"{user}-{i}" for i in range(products)])


@pytest.mark.parametrize("shape", ["local", "service"])
def test_a_lone_request_is_shared_and_requests_that_wait_together_are_not(
    tag: str, shape: str, shared: list[int], redis_url: str, short_path: Path
) -> None:
    async def test() -> None:
        async with serving(tag, shape, redis_url, short_path, score_threads=2) as worker:
            shared.clear()  # of the warm-up
            alone = await worker.rank(request("u", 300))
            assert shared == [300]
            expected = load_model(find_model(tag)).score(np.tile(SCHEMA.defaults, (300, 1)))
            assert alone.row_scores.tobytes() == expected.tobytes()
            shared.clear()
            await asyncio.gather(*(worker.rank(request(f"u{i}", 300)) for i in range(64)))
            assert len(shared) <= 1  # whoever was left at the end

    run(test)


@pytest.mark.parametrize("shape", ["local", "service"])
def test_one_thread_is_all_where_the_setting_says_so(
    tag: str, shape: str, shared: list[int], redis_url: str, short_path: Path
) -> None:
    async def test() -> None:
        async with serving(tag, shape, redis_url, short_path, score_threads=1) as worker:
            await worker.rank(request("u", 300))
            assert shared == []

    run(test)


def test_a_split_model_and_one_whose_rows_go_together_have_one_thread(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    schema = schema_of_width(2, 3)
    with temporary_model_store(tmp_path):
        cut = cut_mlp(schema)
        tag = store_model(cut.whole, schema, "shop", "1", split=SplitChoice(Note(rows=1), cut.parts))[0]
        assert make_row_threads("model", load_model(find_model(tag)), TWO) is None
    lists = loaded_model(mlp_onnx(WIDTH), SCHEMA)
    lists.schema = SCHEMA.model_copy(update={"rows": "together"})
    assert make_row_threads("canary", lists, TWO) is None
    assert caplog.messages == [
        "A lone request of the model is scored by 1 thread: it is served in parts",
        "A lone request of the canary is scored by 1 thread: its rows are scored together",
    ]


def test_a_shadow_has_one_thread() -> None:
    assert make_row_threads("shadow", loaded_model(mlp_onnx(WIDTH), SCHEMA), TWO) is None


def timed_with(model: LoadedModel, score: Callable[[Matrix], Scores], monkeypatch: pytest.MonkeyPatch) -> LoadedModel:
    """A model on two cores, that scores like this."""
    monkeypatch.setattr("ranker.settings.environment.usable_cores", lambda: 2)
    monkeypatch.setattr(model, "score", score)
    return model


@pytest.mark.parametrize("pays", [True, False])
def test_threads_are_taken_by_themselves_where_timing_shows_that_they_pay(
    pays: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    def score(matrix: Matrix) -> Scores:
        end = time.thread_time() + (len(matrix) / 20_000 if pays else 0.005)  # by the row, or in any case
        while time.thread_time() < end:
            pass
        return matrix[:, 0]

    model = timed_with(loaded_model(mlp_onnx(WIDTH), SCHEMA), score, monkeypatch)
    shared = make_row_threads("model", model, Settings())
    assert (shared is not None) is pays
    block = r"2\.\d\d" if pays else r"5\.\d\d"
    assert re.fullmatch(
        f"A lone request of the model is scored by {'up to 2 threads' if pays else '1 thread'}: "
        rf"100 rows take 5\.\d\d ms of CPU, 50 rows take {block} ms of CPU, and sharing them 0\.2 ms",
        caplog.messages[0],
    )
    if shared is not None:
        shared.close()


def test_what_is_timed_is_a_request_with_a_hundred_different_products(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Matrix] = []

    def score(matrix: Matrix) -> Scores:
        seen.append(matrix)
        return matrix[:, 0]

    make_row_threads("model", timed_with(loaded_model(mlp_onnx(WIDTH), SCHEMA), score, monkeypatch), Settings())
    users, products = np.hsplit(max(seen, key=len), 2)
    assert len(np.unique(products, axis=0)) == len(products) == 100
    assert products.std(axis=0).min() > 0.5  # near the defaults alone, trees would take a fraction of the time
    assert len(np.unique(users, axis=0)) == 1


def test_a_model_that_cannot_be_timed_has_one_thread(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    def score(matrix: Matrix) -> Scores:
        raise ModelFailed(len(matrix), "no such id")

    model = timed_with(loaded_model(mlp_onnx(WIDTH), SCHEMA), score, monkeypatch)
    assert make_row_threads("model", model, Settings()) is None
    assert caplog.messages[0].startswith("A lone request of the model is scored by 1 thread: timing it failed: ")


@pytest.mark.parametrize(
    ("cores", "settings", "said"),
    [
        (2, TWO, "up to 2 threads: RANKER_SCORE_THREADS=2"),
        (2, Settings(score_threads=1), "1 thread: RANKER_SCORE_THREADS=1"),
        (1, Settings(), "1 thread: a process that scores has one core here"),
        (2, Settings(runner="local"), "1 thread: a process that scores has one core here"),
    ],
)
def test_the_log_says_what_was_not_measured_too(
    cores: int,
    settings: Settings,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("ranker.settings.environment.usable_cores", lambda: cores)
    shared = make_row_threads("canary", loaded_model(mlp_onnx(WIDTH), SCHEMA), settings)
    assert caplog.messages == [f"A lone request of the canary is scored by {said}"]
    assert (shared is None) == said.startswith("1 ")
    if shared is not None:
        shared.close()
