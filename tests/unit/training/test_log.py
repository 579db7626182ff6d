"""The feature log as a flat frame, and as a file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from click.testing import CliRunner, Result
from redis import Redis

from ranker import Model, import_model, metrics, read_feature_log
from ranker.cli.log import log
from ranker.errors import ForeignRecord, ModelNotFound, NameTaken, SeveralModels
from ranker.ranking.order import order
from ranker.ranking.timings import Timings
from ranker.settings.destination import Stream
from ranker.telemetry.feature_log.parquet import ParquetSink
from ranker.telemetry.feature_log.record import Record, widths_of
from ranker.telemetry.feature_log.stream import StreamSink
from ranker.vectors.schema import FeatureSchema
from tests.support.models import mlp_onnx, temporary_model_store
from tests.support.sample import SCHEMA

# An import that compares nothing says so.
pytestmark = pytest.mark.filterwarnings("ignore:Nothing was compared")

NAMES = ["user.age", "spend", "price", "stock", "product.age"]
N = 5


@pytest.fixture
def model(tmp_path: Path) -> Iterator[Model]:
    with temporary_model_store(tmp_path / "store"):
        yield import_model(mlp_onnx(SCHEMA.width), SCHEMA, name="shop", version="1")


@pytest.fixture(autouse=True)
def folders(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()


def record(model: Model, seed: int = 0, *, top_k: int | None = None, tag: str = "shop:1") -> Record:
    """A request as the model would have served it; the first product was not found."""
    matrix = np.random.default_rng(seed).normal(size=(N, model.schema.width)).astype(np.float32)
    matrix[:, : model.schema.user.width] = matrix[0, : model.schema.user.width]
    scores, products = model.score(matrix), [f"p{i}" for i in range(N)]
    return Record(
        time_s=1_764_000_000.25 + seed,
        request_id=f"r{seed}",
        user_id="u",
        model=tag,
        fingerprint=model.schema.fingerprint,
        product_ids=products,
        top_k=top_k,
        missing_product="default",
        matrix=matrix,
        widths=widths_of(model.schema),
        user_status=0,
        product_statuses=np.array([1] + [0] * (N - 1), np.uint8),
        scores=scores,
        ranking=[products[i] for i in order(scores, top_k)],
        degraded_reason="features_late" if seed else None,
        cache_hits=0,
        batch_requests=1,
        batch_rows=N,
        timings=Timings(*[0.001] * 8),
    )


def write(folder: Path, *records: Record) -> None:
    sink = ParquetSink(folder, 1 << 20, 60)
    for each in records:
        sink.write([each])
    sink.close()


def export(*arguments: object) -> Result:
    return CliRunner().invoke(log, ["export", *map(str, arguments)])


def test_frame_has_a_row_per_product_and_a_column_per_feature(model: Model, tmp_path: Path) -> None:
    records = [record(model, 0), record(model, 1, top_k=2)]
    write(tmp_path / "log", *records)
    frame = read_feature_log(tmp_path / "log")
    assert frame.shape == (2 * N, 11 + SCHEMA.width)
    np.testing.assert_array_equal(frame[NAMES].to_numpy(np.float32), np.vstack([each.matrix for each in records]))
    assert frame.product_status.tolist() == (["missing"] + ["found"] * (N - 1)) * 2
    assert frame.degraded_reason.isna().sum() == N
    assert frame.time.iloc[0] == pd.Timestamp("2025-11-24T16:00:00.25")
    shown = frame[frame["rank"] > 0].sort_values(["request_id", "rank"])
    assert shown.groupby("request_id").product_id.apply(list).tolist() == [each.ranking for each in records]
    assert frame.position.tolist() == [*range(1, N + 1)] * 2


def test_frame_goes_to_the_model_and_the_metrics_as_it_is(model: Model, tmp_path: Path) -> None:
    write(tmp_path / "log", record(model, 0), record(model, 1))
    frame = read_feature_log(tmp_path / "log").assign(label=lambda f: f["rank"] == 1)
    np.testing.assert_array_equal(model.score(frame), frame.score)
    assert metrics.mrr(frame) == metrics.ndcg(frame) == 1


def test_log_in_a_stream_is_the_same_frame(model: Model, tmp_path: Path, redis_client: Redis, redis_url: str) -> None:
    sink = StreamSink(Stream(redis_url, "log"), 1000)
    sink.write([record(model, 0)])
    sink.close()
    write(tmp_path / "log", record(model, 0))
    pd.testing.assert_frame_equal(
        read_feature_log("stream:log", redis_url=redis_url), read_feature_log(tmp_path / "log"), check_exact=True
    )


def test_models_of_other_columns_are_never_mixed(model: Model, tmp_path: Path) -> None:
    other = import_model(
        mlp_onnx(2), {"user": {"features": ["a"]}, "product": {"features": ["b"]}}, name="other", version="1"
    )
    write(tmp_path / "log", record(model, 0), record(other, 1, tag="other:1"))
    with pytest.raises(SeveralModels, match="other:1, shop:1"):
        read_feature_log(tmp_path / "log")
    assert len(read_feature_log(tmp_path / "log", model="other:1")) == N
    with pytest.raises(ForeignRecord):
        read_feature_log(tmp_path / "log", model="shop:1", schema=other.schema)


def test_schema_names_the_features_of_a_model_that_is_gone(model: Model, tmp_path: Path) -> None:
    write(tmp_path / "log", record(model, 0, tag="shop:gone"))
    with pytest.raises(ModelNotFound):
        read_feature_log(tmp_path / "log")
    assert set(NAMES) < set(read_feature_log(tmp_path / "log", schema=SCHEMA, library="polars").columns)


def test_feature_may_not_be_called_as_another_column(model: Model, tmp_path: Path) -> None:
    schema = FeatureSchema.from_mapping({"user": {"features": ["score"]}, "product": {"features": ["b"]}})
    other = import_model(mlp_onnx(2), schema, name="other", version="1")
    write(tmp_path / "log", record(other, tag="other:1"))
    with pytest.raises(NameTaken, match="score"):
        read_feature_log(tmp_path / "log")


def test_empty_log_is_an_empty_frame(model: Model, tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    assert len(read_feature_log(tmp_path / "log")) == 0


@pytest.mark.parametrize("name", ["table.parquet", "table.csv"])
def test_export_writes_the_same_table(model: Model, tmp_path: Path, name: str) -> None:
    write(tmp_path / "log", record(model, 0), record(model, 1))
    done = export(tmp_path / "log", "--out", tmp_path / name)
    assert done.exit_code == 0, done.output
    assert "10 rows" in done.output
    read = (pd.read_parquet if name.endswith("parquet") else pd.read_csv)(tmp_path / name)
    frame = read_feature_log(tmp_path / "log")
    assert list(read.columns) == list(frame.columns)
    np.testing.assert_allclose(read[NAMES], frame[NAMES])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["log", "store", name])
    counted = export(tmp_path / "log", "--out", tmp_path / name, "--json")
    assert json.loads(counted.stdout)["rows"] == 2 * N


def test_export_writes_over_no_log(model: Model, tmp_path: Path) -> None:
    write(tmp_path / "log", record(model, 0))
    (file,) = (tmp_path / "log").rglob("*.parquet")
    before = file.read_bytes()
    done = export(file, "--out", file)
    assert (done.exit_code, file.read_bytes()) == (2, before)
    assert "is one of the files to be read" in done.output
    for name, reason in (
        ("t.txt", "t.txt cannot be written: its name ends neither in .parquet nor in .csv. Choose such a name."),
        ("none/t.csv", "none/t.csv cannot be written: "),
    ):
        assert reason in export(file, "--out", tmp_path / name).stderr


def test_export_that_fails_leaves_nothing(model: Model, tmp_path: Path) -> None:
    write(tmp_path / "log", record(model, 0), replace(record(model, 1), model="gone:1"))
    assert export(tmp_path / "log", "--out", tmp_path / "t.parquet").exit_code == 1
    write(tmp_path / "empty")
    (tmp_path / "empty").mkdir(exist_ok=True)
    assert "Nothing to export" in export(tmp_path / "empty", "--out", tmp_path / "t.parquet").output
    assert export("", "--out", tmp_path / "t.csv").exit_code == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "log", "store"]


def test_table_in_a_file_has_utc_times(model: Model, tmp_path: Path) -> None:
    write(tmp_path / "log", record(model, 0))
    export(tmp_path / "log", "--out", tmp_path / "t.parquet")
    assert pa.parquet.read_schema(tmp_path / "t.parquet").field("time").type == pa.timestamp("us", tz="UTC")
