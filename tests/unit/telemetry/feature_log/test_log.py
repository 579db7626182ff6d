"""The feature log: what it takes, what it drops, what it writes, and that nobody who is served notices."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from redis import Redis

from ranker.api.predict import PredictRequest
from ranker.demo.servers import wait_for
from ranker.errors import StoreUnavailable, UnreadableFile
from ranker.ranking.answer import Answer
from ranker.ranking.timings import Moments, Timings
from ranker.scheduling.batching import Call
from ranker.settings.destination import Stream
from ranker.telemetry.feature_log import log as feature_log
from ranker.telemetry.feature_log.log import FeatureLog
from ranker.telemetry.feature_log.parquet import ROW_GROUP_BYTES, ParquetSink, read_files
from ranker.telemetry.feature_log.parquet import SCHEMA as LOG_SCHEMA
from ranker.telemetry.feature_log.record import Record, widths_of
from ranker.telemetry.feature_log.stream import StreamSink, pack, read_stream, unpack
from ranker.telemetry.feature_log.unfinished import find_unfinished
from ranker.vectors.rows import Features, ProductId, Rows, RowStatus
from ranker.vectors.schema import FeatureSchema
from tests.support.redis_process import Server
from tests.support.sample import eventually, run

NARROW = FeatureSchema.from_mapping({"user": {"features": ["age"]}, "product": {"features": ["price", "stock"]}})
WIDE = FeatureSchema.from_mapping(
    {
        "user": {"features": ["age"]},
        "product": {"features": ["price"]},
        "context": {"features": ["hour", "day"]},
        "productContext": {"features": ["live"]},
    }
)
MAY_BE_NULL = ["user_id", "top_k", "degraded_reason", "batch_requests", "batch_rows"]
AWKWARD = np.array([-0.0, np.nan, 0.0, np.nan, np.inf, 1e-45], np.float32)
AWKWARD.view(np.uint32)[1] = 0xFFC12345  # another NaN
TIMINGS = Timings(*(0.25 * i for i in range(8)))


def record(schema: FeatureSchema = NARROW, n: int = 4, seed: int = 0, name: str = "r") -> Record:
    random = np.random.default_rng(seed)
    matrix = random.normal(size=(n, schema.width)).astype(np.float32)
    once = schema.user.width, schema.stored_width
    matrix[:, : once[0]] = matrix[0, : once[0]]
    if schema.context is not None:
        matrix[:, once[1] : once[1] + schema.context.width] = 3
    scores = random.normal(size=n).astype(np.float32)
    scores[: len(AWKWARD)] = AWKWARD[:n]
    matrix[:, once[0]] = np.resize(AWKWARD, n)
    return Record(
        time_s=1_800_000_000.125,
        request_id=name,
        user_id="Jürgen 🛒",
        model="shop:1",
        fingerprint=schema.fingerprint,
        product_ids=[f"p{i}" for i in range(n)],
        top_k=None,
        missing_product="last",
        matrix=matrix,
        widths=widths_of(schema),
        user_status=RowStatus.MISSING,
        product_statuses=np.resize(np.array(RowStatus, np.uint8), n),
        scores=scores,
        ranking=["p1", "p0"],
        degraded_reason="features_late",
        cache_hits=2,
        batch_requests=None,
        batch_rows=7,
        timings=TIMINGS,
    )


def same(a: Record, b: Record) -> bool:
    """Every field alike, floats bit for bit."""

    def plain(one: Record) -> list[object]:
        values = [getattr(one, name) for name in Record.__slots__]
        return [(v.dtype, v.shape, v.tobytes()) if isinstance(v, np.ndarray) else v for v in values]

    return plain(a) == plain(b)


def answered(n: int = 3) -> Answer:
    made = record(n=n)
    user = Rows(np.zeros((1, 1), np.float32), np.array([RowStatus.MISSING], np.uint8), False)
    features = Features(user, Rows(np.zeros((n, 2), np.float32), made.product_statuses, False), 2)
    moments = Moments(0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
    best: list[ProductId] = [ProductId("p1")]
    return Answer(best, made.scores[1:2], [], None, features, made.scores, moments, made.matrix, Call(2, 9))


def request(i: int = 0, n: int = 3) -> PredictRequest:
    return PredictRequest(requestId=f"r{i}", userId="u", productIds=[f"p{i}" for i in range(n)], topK=2)


class Held:
    """A sink that does as the test says."""

    def __init__(self) -> None:
        self.written = 0
        self.taken: list[Record] = []
        self.gate = threading.Event()
        self.error: Exception | None = None

    def write(self, records: Sequence[Record]) -> None:
        self.taken += records
        self.gate.wait(20)
        if self.error is not None:
            raise self.error
        self.written = len(self.taken)

    def abandon(self) -> int:
        lost = len(self.taken) - self.written
        del self.taken[self.written :]
        return lost

    def close(self) -> None:
        pass


def open_log(sink: feature_log.Sink, percent: float = 100, queue_bytes: int = 1 << 20) -> FeatureLog:
    return FeatureLog(sink, "the test", percent, {"shop:1": NARROW}, "default", queue_bytes)


@contextmanager
def writing(sink: feature_log.Sink, percent: float = 100, queue_bytes: int = 1 << 20) -> Iterator[FeatureLog]:
    log = open_log(sink, percent, queue_bytes)
    log.start()
    try:
        yield log
    finally:
        asyncio.run(log.close())


# --- records --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schema", [NARROW, WIDE])
@pytest.mark.parametrize("n", [1, 4, 7])
def test_record_comes_back_from_a_file_and_a_stream_bit_for_bit(tmp_path: Path, schema: FeatureSchema, n: int) -> None:
    records = [record(schema, n, seed, f"r{seed}") for seed in range(3)] + [record(NARROW, 2)]
    sink = ParquetSink(tmp_path, 1 << 20, 60)
    sink.write(records)
    sink.close()
    assert all(same(a, b) for a, b in zip(read_files(tmp_path), records, strict=True))
    assert all(same(unpack(pack(each)), each) for each in records)


def test_record_of_nobody_comes_back_from_a_file_and_a_stream(tmp_path: Path) -> None:
    made = replace(record(), user_id=None)
    assert same(unpack(pack(made)), made)
    sink = ParquetSink(tmp_path, 1 << 20, 60)
    sink.write([made])
    sink.close()
    assert [one.user_id for one in read_files(tmp_path)] == [None]


def test_columns_are_what_a_training_job_reads(tmp_path: Path) -> None:
    made = record(WIDE)
    sink = ParquetSink(tmp_path, 1 << 20, 60)
    sink.write([made])
    sink.close()
    (row,) = parquet.read_table(tmp_path).to_pylist()  # the folder as a data set
    n = len(row["product_ids"])
    parts = ("user_features", "product_features", "context_features", "product_context_features")
    user, products, context, each = (np.array(row[name], np.float32) for name in parts)
    matrix = np.hstack([np.tile(user, (n, 1)), products.reshape(n, -1), np.tile(context, (n, 1)), each.reshape(n, -1)])
    assert matrix.tobytes() == made.matrix.tobytes()
    assert row["product_statuses"] == ["found", "missing", "wrong_schema", "corrupt"]
    assert (row["user_status"], row["fingerprint"]) == ("missing", f"{WIDE.fingerprint:08x}")
    assert row["time"].timestamp() == made.time_s
    assert row["score_ms"] == TIMINGS.score * 1e3


def test_log_keeps_no_rows_of_the_requests_that_were_ranked_together_with_its_own() -> None:
    sink, answer = Held(), answered()
    sink.gate.set()
    block = np.repeat(answer.matrix, 10, axis=0)
    rows = block[: len(answer.matrix)]
    with writing(sink) as log:
        log.offer(request(), "shop:1", answer._replace(rows=rows), TIMINGS)
    (kept,) = sink.taken
    assert np.array_equal(kept.matrix, rows, equal_nan=True)
    assert not np.shares_memory(kept.matrix, block)


def test_log_keeps_what_was_answered() -> None:
    sink, answer = Held(), answered()
    sink.gate.set()
    with writing(sink) as log:
        log.offer(request(), "shop:1", answer, TIMINGS)
    (kept,) = sink.taken
    assert (kept.request_id, kept.user_id, kept.model, kept.top_k) == ("r0", "u", "shop:1", 2)
    assert (kept.scores is answer.row_scores, kept.ranking) == (True, ["p1"])
    assert kept.matrix is answer.matrix  # nothing is copied while a caller waits
    assert (kept.fingerprint, kept.widths) == (NARROW.fingerprint, (1, 2, 0, 0))
    assert (kept.batch_requests, kept.batch_rows, kept.cache_hits, kept.user_status) == (2, 9, 2, RowStatus.MISSING)
    assert log.written == 1


@pytest.mark.parametrize("asked", [1 << 31, 1 << 64, pytest.param(10**400, id="400 digits")])
def test_request_for_more_than_any_integer_holds_costs_no_record(tmp_path: Path, asked: int) -> None:
    with writing(ParquetSink(tmp_path, 1 << 20, 60)) as log:
        for top_k in (2, asked):
            log.offer(request().model_copy(update={"topK": top_k}), "shop:1", answered(), TIMINGS)
    assert (log.written, log.dropped) == (2, 0)
    kept = list(read_files(tmp_path))
    assert [one.top_k for one in kept] == [2, 3]
    assert [unpack(pack(one)).top_k for one in kept] == [2, 3]


# --- what is taken, and what is dropped -----------------------------------------------------------------------------


def test_sample_is_the_same_for_ever_and_grows_with_its_share() -> None:
    def taken(percent: float, user: str = "u") -> set[int]:
        log = open_log(Held(), percent)
        asked = (PredictRequest(requestId=f"r{i}", userId=user, productIds=["p"]) for i in range(4000))
        return {i for i, each in enumerate(asked) if log.takes(each)}

    assert taken(0) == set()
    assert taken(100) == set(range(4000))
    assert taken(1) < taken(10)
    assert len(taken(10)) == pytest.approx(400, rel=0.2)
    assert sorted(taken(1))[:5] == [120, 121, 327, 468, 574]
    assert taken(10) != taken(10, "another")  # callers that send one requestId for all are sampled, too


def test_full_queue_drops_and_counts_and_holds_nobody_up(caplog: pytest.LogCaptureFixture) -> None:
    sink, each = Held(), record(n=3).size_bytes
    with writing(sink, queue_bytes=10 * each) as log:
        for i in range(25):
            log.offer(request(i), "shop:1", answered(), TIMINGS)  # returns, though the sink hangs
        assert (log.dropped, log.written) == (15, 0)
        log.report()
        log.report()
        assert caplog.messages == [
            "The feature log dropped 15 record(s): more than 0 MiB waited. More in the next 60 s are only counted."
        ]
        sink.gate.set()
        wait_for(lambda: log.written == 10)
        wait_for(lambda: not log.waiting_bytes)
        log.offer(request(99), "shop:1", answered(), TIMINGS)  # there is room again
    assert (log.dropped, log.written) == (15, 11)
    assert [kept.request_id for kept in sink.taken] == [*(f"r{i}" for i in range(10)), "r99"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), StoreUnavailable("gone"), KeyError("bug")])
def test_failing_sink_is_counted_said_once_and_tried_again(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    sink = Held()
    sink.gate.set()
    sink.error = error
    with writing(sink) as log:
        for i in range(3):
            log.offer(request(i), "shop:1", answered(), TIMINGS)
            wait_for(lambda i=i: log.dropped == i + 1)
            log.report()
        sink.error = None
        log.offer(request(3), "shop:1", answered(), TIMINGS)
        wait_for(lambda: log.written == 1)
    reason = error.reason if isinstance(error, StoreUnavailable) else error
    said = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert len(said) == 1
    assert f"dropped 1 record(s): the test: {reason}." in said[0].getMessage()
    assert any(each.exc_info for each in caplog.records) == isinstance(error, KeyError)


def test_stop_does_not_wait_for_a_sink_that_hangs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(feature_log, "CLOSE_S", 0.2)
    sink = Held()
    with writing(sink) as log:
        log.offer(request(), "shop:1", answered(), TIMINGS)
        wait_for(lambda: sink.taken)
    assert "last records are lost" in caplog.text
    sink.gate.set()
    log._thread.join(20)


# --- files ----------------------------------------------------------------------------------------------------------


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_file_is_seen_once_it_is_finished_and_finished_when_it_is_large(tmp_path: Path) -> None:
    sink = ParquetSink(tmp_path / "made", 1 << 20, 3600)
    large = record(n=1000)
    rows = ROW_GROUP_BYTES // large.size_bytes + 1
    written = 0
    for i in range(100):
        sink.write([record(n=1000, seed=rows * i + j) for j in range(rows)])
        written += rows
        if sink.written:
            break
        assert visible(tmp_path / "made") == []
    assert sink.written == written
    (name,) = visible(tmp_path / "made")
    assert (tmp_path / "made" / name).stat().st_size >= 1 << 20
    sink.write([large])
    sink.close()
    assert len(visible(tmp_path / "made")) == 2
    assert [path for path in (tmp_path / "made").iterdir() if path.name.startswith(".")] == []
    assert sum(1 for _ in read_files(tmp_path / "made")) == sink.written == written + 1


def test_file_is_finished_when_its_first_record_is_old(tmp_path: Path) -> None:
    sink = ParquetSink(tmp_path, 1 << 30, 0.2)
    sink.write([record()])
    assert (sink.written, visible(tmp_path)) == (0, [])
    (due,) = find_unfinished(tmp_path)  # from the first record on
    assert abs((due - datetime.now(UTC)).total_seconds()) < 60
    wait_for(lambda: sink.write([]) or sink.written)  # type: ignore[func-returns-value]  # None, then what was written
    assert (sink.written, len(visible(tmp_path))) == (1, 1)
    assert find_unfinished(tmp_path) == []


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Have every write beyond so many bytes of a file fail."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_file_that_cannot_be_written_is_given_up_and_the_next_one_begun(tmp_path: Path) -> None:
    sink = ParquetSink(tmp_path, 1 << 30, 3600)
    sink.write([record(n=1000)])
    with pytest.raises(OSError, match="large"), largest_file(2048):
        sink.close()
    assert sink.abandon() == 1
    assert list(tmp_path.iterdir()) == []
    sink.write([record(name="next")])
    sink.close()
    assert [kept.request_id for kept in read_files(tmp_path)] == ["next"]
    assert sink.written == 1


@pytest.mark.parametrize("umask", [0o022, 0o000])
def test_files_are_their_users_alone(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        sink = ParquetSink(tmp_path / "made" / "here", 1 << 20, 3600)
        sink.write([record(n=1000)] * (ROW_GROUP_BYTES // record(n=1000).size_bytes + 1))
        (unfinished,) = (tmp_path / "made" / "here").iterdir()
        assert unfinished.stat().st_mode & 0o777 == 0o600
        sink.close()
    finally:
        os.umask(before)
    (finished,) = (tmp_path / "made" / "here").iterdir()
    assert finished.stat().st_mode & 0o777 == 0o600
    assert finished.parent.stat().st_mode & 0o777 == 0o700


def rewritten(path: Path, name: str, values: pa.Array) -> None:
    """Give the records of a file other values in one column."""
    table = parquet.read_table(path)
    column = table.schema.get_field_index(name)
    parquet.write_table(table.set_column(column, table.schema.field(column), values), path)


@pytest.mark.parametrize("name", [name for name in LOG_SCHEMA.names if name not in MAY_BE_NULL])
def test_record_without_a_value_that_all_have_is_refused_by_its_name(tmp_path: Path, name: str) -> None:
    sink = ParquetSink(tmp_path, 1 << 20, 60)
    sink.write([record(), record()])
    sink.close()
    (path,) = tmp_path.iterdir()
    whole = parquet.read_table(path)[name].to_pylist()
    rewritten(path, name, pa.array([whole[0], None], LOG_SCHEMA.field(name).type))
    with pytest.raises(UnreadableFile, match=f"a record has no {name}"):
        list(read_files(path))


@pytest.mark.parametrize("name", MAY_BE_NULL)
def test_record_without_a_value_that_may_be_absent_is_read(tmp_path: Path, name: str) -> None:
    sink = ParquetSink(tmp_path, 1 << 20, 60)
    sink.write([record()])
    sink.close()
    (path,) = tmp_path.iterdir()
    rewritten(path, name, pa.array([None], LOG_SCHEMA.field(name).type))
    (read,) = read_files(path)
    assert getattr(read, name) is None


@pytest.mark.parametrize("name", ["scores", "product_statuses"])
def test_record_with_too_few_values_is_refused(tmp_path: Path, name: str) -> None:
    sink = ParquetSink(tmp_path, 1 << 20, 60)
    short = record()
    setattr(short, name, getattr(short, name)[:-1])
    sink.write([short])
    sink.close()
    with pytest.raises(UnreadableFile, match=f"a record of 4 products has 3 {name}"):
        list(read_files(tmp_path))
    with pytest.raises(ValueError, match=name):
        unpack(pack(short))


def test_what_is_no_feature_log_is_refused(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"time": [1]}), tmp_path / "other.parquet")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and no more")
    for name, said in (("other", "no feature log of format 1"), ("broken", "cannot be read"), ("absent", "no such")):
        with pytest.raises(UnreadableFile, match=said):
            list(read_files(tmp_path / f"{name}.parquet"))


# --- streams --------------------------------------------------------------------------------------------------------


def test_stream_keeps_about_so_many_records(redis_client: Redis, redis_url: str) -> None:
    stream = Stream(redis_url, "served")
    sink = StreamSink(stream, 100)
    sink.write([record(n=100, name=f"r{i}") for i in range(400)])
    sink.close()
    assert sink.written == 400
    assert 100 <= redis_client.xlen("served") <= 200
    assert [kept.request_id for kept in read_stream(stream)][-1] == "r399"
    redis_client.xadd("served", {"record": b"\x93\x01\x02\x03"})
    with pytest.raises(UnreadableFile, match="no record of format 1"):
        list(read_stream(stream))


def test_stream_that_redis_refuses_loses_records_and_no_more(redis_client: Redis, redis_url: str) -> None:
    redis_client.set("served", "no stream")
    sink = StreamSink(Stream(redis_url, "served"), 100)
    with pytest.raises(StoreUnavailable, match="WRONGTYPE"):
        sink.write([record(), record()])
    assert (sink.abandon(), sink.written) == (2, 0)
    redis_client.delete("served")
    sink.write([record()])
    sink.close()
    assert (sink.written, redis_client.xlen("served")) == (1, 1)


def test_redis_that_dies_costs_records_until_it_is_back(short_path: Path) -> None:
    server = Server(short_path)
    server.start()

    async def test() -> None:
        log = open_log(StreamSink(Stream(server.url, "served"), 100))
        log.start()
        log.offer(request(0), "shop:1", answered(), TIMINGS)
        await eventually(lambda: log.written == 1, 20)
        server.kill()
        began = monotonic()
        for i in range(1, 4):
            log.offer(request(i), "shop:1", answered(), TIMINGS)
        assert monotonic() - began < 1  # whoever is served does not wait
        await eventually(lambda: log.dropped == 3, 40)
        server.start()
        log.offer(request(4), "shop:1", answered(), TIMINGS)
        await eventually(lambda: log.written == 2, 40)
        await log.close()

    try:
        run(test, seconds=110)
        kept = [each.request_id for each in read_stream(Stream(server.url, "served"))]
        assert kept == ["r0", "r4"]
    finally:
        server.kill()
