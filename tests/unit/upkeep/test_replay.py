"""What was logged, ranked again: equal bits, and what is said where they are not."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner, Result
from onnx import TensorProto, helper
from pyarrow import parquet
from redis import Redis

from ranker.cli.log import log
from ranker.errors import ForeignRecord
from ranker.importing.compile import compile_graph
from ranker.ranking.order import MissingProduct, order_with_missing
from ranker.ranking.timings import Timings
from ranker.scoring.loaded import LoadedModel
from ranker.scoring.registry import store_model
from ranker.settings.destination import Stream
from ranker.telemetry.feature_log.parquet import ParquetSink
from ranker.telemetry.feature_log.record import Record, widths_of
from ranker.telemetry.feature_log.stream import StreamSink
from ranker.telemetry.feature_log.unfinished import hide
from ranker.upkeep.replay import NOT_A_NUMBER_ULPS, replay, ulps
from ranker.vectors.schema import FeatureSchema
from tests.support.models import loaded_model, mlp_onnx, onnx_bytes, schema_of_width, temporary_model_store, tensor

SCHEMA = schema_of_width(4, 6)
MODEL = loaded_model(mlp_onnx(10), SCHEMA)
TAG = "shop:1"


def record(
    seed: int = 0,
    n: int = 12,
    model: LoadedModel = MODEL,
    missing: MissingProduct = "default",
    top_k: int | None = None,
) -> Record:
    """A request as `model` would have served it."""
    random = np.random.default_rng(seed)
    matrix = random.normal(size=(n, model.width)).astype(np.float32)
    matrix[:, : model.schema.user.width] = matrix[0, : model.schema.user.width]
    scores, statuses = model.score(matrix), random.integers(0, 2, n).astype(np.uint8)
    products = [f"p{i}" for i in range(n)]
    positions = order_with_missing(scores, statuses != 0, missing, top_k)
    return Record(
        time_s=1.0,
        request_id=f"r{seed}",
        user_id="u",
        model=TAG,
        fingerprint=model.schema.fingerprint,
        product_ids=products,
        top_k=top_k,
        missing_product=missing,
        matrix=matrix,
        widths=widths_of(model.schema),
        user_status=0,
        product_statuses=statuses,
        scores=scores,
        ranking=[products[i] for i in positions],
        degraded_reason=None,
        cache_hits=0,
        batch_requests=1,
        batch_rows=n,
        timings=Timings(*[0.001] * 8),
    )


def moved(scores: np.ndarray, by: int) -> np.ndarray:
    """The float32 numbers so many places away."""
    return (scores.view(np.int32) + by).view(np.float32)


@pytest.mark.parametrize("missing", ["default", "last", "drop"])
@pytest.mark.parametrize("top_k", [None, 3])
def test_what_was_served_replays_bit_for_bit(missing: MissingProduct, top_k: int | None) -> None:
    records = [record(seed, n, missing=missing, top_k=top_k) for seed, n in enumerate((1, 2, 12, 300))]
    found = replay(records, lambda _: MODEL)[TAG]
    assert (found.requests, found.rows, found.equal_rows, found.equal_rankings, found.failed) == (4, 315, 315, 4, 0)
    assert (found.largest_ulps, found.examples) == (0, [])


def test_score_that_differs_by_one_bit_fails_unless_it_is_allowed() -> None:
    one = record()
    one.scores = one.scores.copy()
    one.scores[5] = moved(one.scores[5:6], 1)[0]
    for max_ulps, failed in ((0, 1), (1, 0)):
        found = replay([one], lambda _: MODEL, max_ulps)[TAG]
        assert (found.failed, found.equal_rows, found.largest_ulps) == (failed, 11, 1)
    assert 0 < found.largest_difference < 1e-5


def test_vector_that_differs_fails_and_is_named() -> None:
    one, other = record(0), record(1)
    other.matrix[7, 6] += 0.5
    found = replay([one, other], lambda _: MODEL)[TAG]
    assert (found.requests, found.failed, found.equal_rows) == (2, 1, 23)
    assert "request 'r1' of user 'u': product 'p7' scored" in found.examples[0]


def test_ranking_that_differs_fails_whatever_is_allowed() -> None:
    one = record()
    one.ranking = one.ranking[::-1]
    found = replay([one], lambda _: MODEL, 1 << 40)[TAG]
    assert (found.failed, found.equal_rankings, found.equal_rows) == (1, 0, 12)
    assert found.examples == ["request 'r0' of user 'u': equal scores, another ranking"]


def test_bits_that_a_row_has_only_alone_in_a_call_are_equal() -> None:
    """ONNX Runtime's LinearClassifier takes another way for a single row; there other bits are what was served."""
    weights = np.random.default_rng(2).normal(size=10).tolist()
    node = helper.make_node(
        "LinearClassifier",
        ["features"],
        ["label", "probabilities"],
        domain="ai.onnx.ml",
        coefficients=[-w for w in weights] + weights,
        intercepts=[-0.3, 0.3],
        classlabels_ints=[0, 1],
        post_transform="LOGISTIC",
    )
    outputs = [tensor("label", ["n"], TensorProto.INT64), tensor("probabilities", ["n", 2])]
    model = loaded_model(onnx_bytes([node], [tensor("features", ["n", 10])], outputs), SCHEMA)
    alone = record(0, 1500, model)
    alone.scores = np.concatenate([model.score(row[np.newaxis]) for row in alone.matrix])
    alone.ranking = [alone.product_ids[i] for i in order_with_missing(alone.scores, np.zeros(1500, bool), "default")]
    merged = record(0, 1500, model)
    single = [record(0, 1, model) for _ in range(20)]  # requests of one product, scored with others
    for one, i in zip(single, np.flatnonzero(ulps(alone.scores, merged.scores)), strict=False):
        one.matrix, one.scores = merged.matrix[i : i + 1], merged.scores[i : i + 1]
    found = replay([alone, merged, *single], lambda _: model)[TAG]
    assert (found.failed, found.equal_rows) == (0, 3020)


def test_list_that_was_scored_together_is_scored_so_again() -> None:
    nodes = [
        helper.make_node("ReduceSum", ["features", "axes"], ["sum"], keepdims=1),
        helper.make_node("ReduceMean", ["sum"], ["mean"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["sum", "mean"], ["scores"]),
    ]
    constants = {"axes": np.array([1])}
    graph = onnx_bytes(nodes, [tensor("features", ["n", 10])], [tensor("scores", ["n", 1])], constants)
    schema = SCHEMA.model_copy(update={"rows": "together"})
    slate = loaded_model(compile_graph(graph, schema), schema)
    replayed = replay([record(model=slate)], lambda _: slate)[TAG]
    assert (replayed.failed, replayed.equal_rows) == (0, 12)


def test_answer_without_scores_is_only_ranked() -> None:
    one = record()
    one.scores = np.full(12, np.nan, np.float32)
    one.ranking, one.degraded_reason = one.product_ids, "scores_late"
    found = replay([one], lambda _: MODEL)[TAG]
    assert (found.requests, found.unscored, found.rows, found.equal_rankings, found.failed) == (1, 1, 0, 1, 0)


def test_distance_counts_floats_across_zero_and_knows_nan() -> None:
    tiny, nan = np.float32(1e-45), np.float32(np.nan)
    a = np.array([0.0, 0.0, -tiny, 1.0, nan, nan, np.inf], np.float32)
    b = np.array([-0.0, tiny, tiny, np.nextafter(np.float32(1), np.float32(2)), nan, 1.0, np.inf], np.float32)
    assert ulps(a, b).tolist() == [1, 1, 3, 1, 0, NOT_A_NUMBER_ULPS, 0]


def test_model_of_other_columns_is_refused() -> None:
    context = {"context": {"features": ["hour"]}}
    for schema in (schema_of_width(5, 5), FeatureSchema.from_mapping(SCHEMA.to_metadata() | context)):
        other = loaded_model(mlp_onnx(schema.width), schema)
        with pytest.raises(ForeignRecord, match=r"4 \+ 6 \+ 0 \+ 0 columns of schema"):
            replay([record()], lambda _, other=other: other)


# --- the command ----------------------------------------------------------------------------------------------------


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[Path]:
    """A folder for the log; `shop:1` and its neighbours are in the model store."""
    (tmp_path / "store").mkdir()
    with temporary_model_store(tmp_path / "store"):
        store_model(mlp_onnx(10), SCHEMA, "shop", "1")
        store_model(mlp_onnx(10, seed=1), SCHEMA, "other", "1")
        yield tmp_path / "served"


def write(folder: Path, *records: Record) -> None:
    sink = ParquetSink(folder, 1 << 20, 60)
    sink.write(records)
    sink.close()


def run(*arguments: object) -> Result:
    return CliRunner().invoke(log, ["replay", *map(str, arguments)])


def test_replay_prints_what_was_compared(stored: Path) -> None:
    write(stored, record(0), record(1))
    write(stored, record(2))
    result = run(stored)
    assert result.exit_code == 0, result.output
    header, row, verdict = result.stdout.splitlines()
    assert header.split("  ")[0] == "model"
    assert row.split() == [TAG, "whole", "3", "0", "36", "36", "none", "3"]
    assert verdict == "All 3 requests replay bit for bit."
    (found,) = json.loads(run(stored, "--json").stdout).values()
    assert (found["requests"], found["equal_rows"], found["failed"]) == (3, 36, 0)


def test_replay_fails_and_names_what_differs(stored: Path) -> None:
    changed = record(1)
    changed.matrix[3, 9] += 1
    write(stored, record(0), changed)
    result = run(stored)
    assert result.exit_code == 1
    assert "1 of 2 requests do not replay; the first:" in result.stdout
    assert "request 'r1' of user 'u': product 'p3' scored" in result.stdout
    assert run(stored, "--json").exit_code == 1


def test_record_whose_scores_are_null_is_one_clean_message(stored: Path) -> None:
    write(stored, record(0))
    (path,) = stored.iterdir()
    table = parquet.read_table(path)
    at = table.schema.get_field_index("scores")
    parquet.write_table(table.set_column(at, table.schema.field(at), pa.nulls(1, table.schema.field(at).type)), path)
    result = run(stored)
    assert result.exit_code == 1
    assert result.stderr == f"Error: {path} cannot be read: a record has no scores.\n"


def test_replay_with_another_model_compares_with_that(stored: Path) -> None:
    write(stored, record())
    result = run(stored, "--model", "other:1")
    assert result.exit_code == 1
    assert "1 of 1 requests do not replay" in result.stdout


def test_replay_reads_the_stream_that_is_named(
    stored: Path, redis_client: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = StreamSink(Stream(redis_url, "served"), 1000)
    sink.write([record(seed) for seed in range(150)])
    sink.close()
    monkeypatch.setenv("RANKER_REDIS_URL", redis_url)
    for source in ("stream:served", f"{redis_url}?stream=served"):
        result = run(source)
        assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "All 150 requests replay bit for bit.")


@pytest.mark.parametrize(
    ("source", "code", "said"),
    [
        ("absent", 1, "there is no such file or folder"),
        (".", 1, "Nothing to replay"),
        ("stream:", 2, "the stream's key"),
        ("redis://127.0.0.1:1", 2, "name one stream"),
    ],
)
def test_replay_of_nothing_fails(
    stored: Path, monkeypatch: pytest.MonkeyPatch, source: str, code: int, said: str
) -> None:
    stored.mkdir()
    monkeypatch.chdir(stored)
    result = run(source)
    assert result.exit_code == code
    assert said in result.output


def test_replay_says_when_files_that_are_not_finished_will_be(stored: Path) -> None:
    sinks = [ParquetSink(stored, 1 << 20, seconds) for seconds in (600, 300)]
    now = datetime.now()
    sinks[0].write([record(0)])
    result = run(stored)
    found = re.fullmatch(
        "Nothing to replay: no request is logged there.\n1 file is not finished yet. It will be by (.*) "
        r"\(RANKER_FEATURE_LOG_FILE_S\), or when the service stops.\n",
        result.stdout,
    )
    assert result.exit_code == 1
    assert found is not None, result.stdout
    assert timedelta() <= datetime.fromisoformat(found[1]) - now - timedelta(seconds=599) < timedelta(seconds=60)
    sinks[1].write([record(1)])
    assert f"2 files are not finished yet. They will be by {found[1]} " in run(stored).stdout
    sinks[1].close()
    result = run(stored)
    assert result.exit_code == 0
    assert "All 1 requests replay bit for bit.\n1 file is not finished yet." in result.stdout
    result = run(stored, "--json")
    assert json.loads(result.stdout)["shop:1"]["requests"] == 1
    assert result.stderr.startswith("1 file is not finished yet.")
    sinks[0].close()
    assert run(stored).stdout.endswith("All 2 requests replay bit for bit.\n")


def test_replay_says_which_files_will_never_be_finished(stored: Path) -> None:
    stored.mkdir()
    for hours in (1, 2):  # as processes leave them that are killed
        (stored / hide(f"served-{hours}.parquet", datetime.now(UTC) - timedelta(hours=hours))).touch()
    stdout = run(stored).stdout
    assert "2 files are not finished, and late. The last was due at 20" in stdout
    assert "what wrote them was killed" in stdout


def test_model_that_is_gone_is_named(stored: Path) -> None:
    one = record()
    one.model = "gone:1"
    write(stored, one)
    result = run(stored)
    assert result.exit_code == 1
    assert "Model gone:1 is not in the Bento model store" in result.output
