"""`ranker features load`: all or what is good, resumable, and never half a load that looks whole."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pytest
import yaml
from click.testing import CliRunner, Result
from pyarrow import parquet
from redis import Redis

from ranker import FeatureWriter
from ranker.cli.features.group import features
from ranker.demo.servers import cluster, wait_for
from ranker.ingest.files.statistics import Statistics
from ranker.ingest.load import LoadOptions
from ranker.ingest.load import load as load_files
from ranker.ingest.record import LoadRecord, Target
from ranker.redis.clients import connect
from ranker.vectors.stored.decoding import RowDecoder
from ranker.vectors.stored.encoding import encode
from tests.support.sample import SCHEMA, enter

N = 3000
PRICES = np.random.default_rng(2).normal(size=(N, 3)).astype(np.float32)
IDS = [f"p{i}" for i in range(N)]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, redis_url: str, redis_client: Redis, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with schema.yaml, and an empty Redis."""
    enter(tmp_path, redis_url, monkeypatch)
    return tmp_path


def load(*arguments: str) -> Result:
    return CliRunner().invoke(features, ["load", *arguments, "--entity", "product", "--model", "schema.yaml"])


def loaded(*arguments: str) -> dict[str, Any]:
    result = load(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def write(name: str, ids: list[str] = IDS, rows: np.ndarray = PRICES) -> None:
    columns = {"stock": rows[:, 1], "id": ids, "age": rows[:, 2], "price": rows[:, 0]}
    parquet.write_table(pa.table(columns), name)


def write_csv(name: str, *rows: str) -> None:
    Path(name).write_text("\n".join(["id,price,stock,age", *rows]) + "\n")


def stored_ids(client: Redis) -> set[bytes]:
    return {key.removeprefix(b"product:") for key in client.keys("product:*")}


def record(client: Redis) -> LoadRecord | None:
    return LoadRecord.read(client, Target.of(SCHEMA, "product"))


def assert_refused(result: Result, *parts: str) -> None:
    assert result.exit_code == 1, result.stdout
    assert "Traceback" not in result.stderr
    assert result.stderr.startswith("Error: ")
    assert [part for part in parts if part not in result.stderr] == [], result.stderr


def test_loaded_vectors_are_those_of_the_file_and_of_the_writer(redis_client: Redis, redis_url: str) -> None:
    write("a.parquet")
    answer = loaded("a.parquet")
    assert (answer["rows"], answer["written"], answer["skipped"], answer["rejected"]) == (N, N, 0, {})
    by_load = redis_client.mget([f"product:{i}" for i in IDS])
    assert (RowDecoder(3, SCHEMA.fingerprint).decode(by_load).values == PRICES).all()
    redis_client.flushall()
    with FeatureWriter(redis_url, SCHEMA) as writer:
        writer.write_products(IDS, PRICES)
    assert redis_client.mget([f"product:{i}" for i in IDS]) == by_load


def test_what_was_done_is_said_for_people_too(redis_client: Redis) -> None:
    write_csv("a.csv", "a,1,2,3", "b,1,2,x")
    Path("b.csv").write_text("sku,price,stock,age,colour\n7,1,2,3,red\n")
    result = load("a.csv", "--on-error", "skip")
    assert "Loaded 1 product vectors in" in result.stdout
    assert "Left out 1 row(s): a value is no number." in result.stdout
    result = load("b.csv", "--id-column", "sku")
    assert "b.csv: ignored colour" in result.stdout
    assert stored_ids(redis_client) == {b"a", b"7"}


def test_a_bad_row_stops_everything_before_anything_is_written(redis_client: Redis) -> None:
    write("good.parquet")
    write_csv("bad.csv", "x,1,2,3", "y,1,2,nan", "z,1,2", ",1,2,3", "x,4,5,6", "p7,1,2,3")
    result = load("good.parquet", "bad.csv", "--rejects", "rejects.jsonl")
    assert_refused(
        result,
        "5 of 3,006 rows cannot be loaded",
        "a value is NaN: 1 row(s)",
        "the row has too few or too many fields: 1 row(s)",
        "the id is empty: 1 row(s)",
        "the id appeared in an earlier row: 2 row(s)",
        "bad.csv row 2, id 'y': a value is NaN (age)",
        "Nothing has been written. --on-error skip loads the others. ",
        " All are listed in rejects.jsonl.",
    )
    assert redis_client.dbsize() == 0
    rejects = [json.loads(line) for line in Path("rejects.jsonl").read_text().splitlines()]
    assert {(r["file"], r["row"], r["id"], r["reason"], r.get("column")) for r in rejects} == {
        ("bad.csv", 2, "y", "a value is NaN", "age"),
        ("bad.csv", 3, "z", "the row has too few or too many fields", None),
        ("bad.csv", 4, "", "the id is empty", None),
        ("bad.csv", 5, "x", "the id appeared in an earlier row", None),
        ("bad.csv", 6, "p7", "the id appeared in an earlier row", None),
    }


def test_skip_loads_the_good_rows_and_the_first_of_equal_ids(redis_client: Redis) -> None:
    write_csv("bad.csv", "w,1,2,nan", "x,1,2,3", "y,1,2,nan", "x,4,5,6", "w,7,8,9", "w,1,1,1")
    answer = loaded("bad.csv", "--on-error", "skip")
    assert answer["written"] == 2
    assert answer["rejected"] == {"a value is NaN": 2, "the id appeared in an earlier row": 2}
    assert stored_ids(redis_client) == {b"w", b"x"}
    assert redis_client.mget("product:x", "product:w") == encode([[1, 2, 3], [7, 8, 9]], SCHEMA.fingerprint)
    left = record(redis_client)
    assert left is not None
    assert (left.state, left.rows, left.rejected) == ("complete", 6, 4)


@pytest.mark.parametrize("absent", ["", "NaN"])
def test_absent_values_are_refused_with_the_schemas_words_that_allow_them(redis_client: Redis, absent: str) -> None:
    write_csv("a.csv", "p1,9.5,1,2", f"p2,{absent},1,2")
    assert_refused(load("a.csv"), "Absent values are loaded", "`missing: default` or `missing: nan`")
    told = yaml.safe_load(Path("schema.yaml").read_text())
    told["product"]["missing"] = "nan"
    told["product"]["features"] = ["price", "stock", "age"]
    Path("schema.yaml").write_text(yaml.safe_dump(told))
    assert loaded("a.csv")["written"] == 2


def test_a_file_with_no_good_row_is_refused_even_then(redis_client: Redis) -> None:
    write_csv("bad.csv", "y,1,2,nan")
    assert_refused(load("bad.csv", "--on-error", "skip"), "1 of 1 rows cannot be loaded", "Nothing has been written.")
    write_csv("empty.csv")
    assert_refused(load("empty.csv"), "it holds no rows")
    assert redis_client.dbsize() == 0


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["nowhere.csv"], ["nowhere.csv cannot be read", "no such file"]),
        (["a.csv", "--rejects", "nowhere/rejects"], ["listed in nowhere/rejects: it cannot be written (No such file"]),
        (["a.csv", "--id-column", "sku"], ["lacks the column(s) sku", "it has id, price, stock, age"]),
    ],
)
def test_what_cannot_work_is_one_clean_message(arguments: list[str], parts: list[str]) -> None:
    write_csv("a.csv", "a,1,2,3")
    assert_refused(load(*arguments), *parts)


@pytest.mark.parametrize("spelling", ["a.csv", "sub/../a.csv", "absolute", "symlink", "hard link", "b.csv"])
def test_rejects_that_name_an_input_are_refused_before_it_is_touched(place: Path, spelling: str) -> None:
    write_csv("b.csv", "b,1,2,3")
    write_csv("a.csv", "a,1,2,3", "b,1,2,x")
    (place / "sub").mkdir()
    (place / "symlink").symlink_to("a.csv")
    (place / "hard link").hardlink_to("a.csv")
    before = Path("a.csv").read_bytes(), Path("b.csv").read_bytes()
    rejects = str(place / "a.csv") if spelling == "absolute" else spelling
    result = load("b.csv", "a.csv", "--on-error", "skip", "--rejects", rejects)
    assert_refused(result, f"cannot be listed in {rejects}: it is one of the files to be loaded. Give --rejects an")
    assert (Path("a.csv").read_bytes(), Path("b.csv").read_bytes()) == before


def test_rejects_may_name_an_older_list(redis_client: Redis) -> None:
    write_csv("a.csv", "a,1,2,3", "b,1,2,x")
    for _ in range(2):
        assert loaded("a.csv", "--on-error", "skip", "--rejects", "rejects")["written"] == 1
        assert len(Path("rejects").read_text().splitlines()) == 1


def test_whole_number_that_float32_changes_stops_the_load_unless_rounding_is_allowed(redis_client: Redis) -> None:
    write_csv("a.csv", "a,1,16777217,3", "b,1,16777216,3", "c,1,1764341743,16777217")
    said = "a whole number is not the same in float32"
    result = load("a.csv")
    assert_refused(result, f"{said}: 2 row(s)", f"a.csv row 1, id 'a': {said} (stock)")
    assert_refused(result, "loads the others. --allow-rounding takes whole numbers as float32 has them.")
    assert redis_client.dbsize() == 0
    answer = loaded("a.csv", "--on-error", "skip")
    assert (answer["written"], answer["rejected"], answer["rounded"]) == (1, {said: 2}, {})
    assert stored_ids(redis_client) == {b"b"}
    assert_refused(load("a.csv", "--resume", "--allow-rounding"), "had other options (rounding False, now True)")
    answer = loaded("a.csv", "--allow-rounding")
    assert (answer["written"], answer["rejected"], answer["rounded"]) == (3, {}, {"stock": 2, "age": 1})
    assert redis_client.get("product:a") == encode([[1, 16777216, 3]], SCHEMA.fingerprint)[0]
    assert "Rounded 2 whole number(s) of stock to float32.\nRounded 1 wh" in load("a.csv", "--allow-rounding").stdout


@pytest.mark.parametrize(("encoding", "named"), [("utf-16", "utf-16"), ("latin-1", "cp1252")])
def test_csv_header_that_is_no_utf8_is_one_clean_message(redis_client: Redis, encoding: str, named: str) -> None:
    Path("a.csv").write_bytes("id,price,stock,age,größe\na,1,2,3,4\n".encode(encoding))
    for options in ([], ["--on-error", "skip"]):
        assert_refused(load("a.csv", *options), "a.csv cannot be read: ", f"--encoding {named} would do")
    assert redis_client.dbsize() == 0
    assert loaded("a.csv", "--encoding", named)["ignored"] == {"a.csv": ["größe"]}


def test_options_say_how_a_csv_file_is_written(redis_client: Redis) -> None:
    Path("a.csv").write_text("id;price;stock;age\nä;1,5;2;3\n", "cp1252")
    loaded("a.csv", "--delimiter", ";", "--decimal", ",", "--encoding", "cp1252")
    assert redis_client.get("product:ä") == encode([[1.5, 2, 3]], SCHEMA.fingerprint)[0]
    Path("a.csv").write_text("id\tprice\tstock\tage\nb\t1\t2\t3\n")
    for tab in ("tab", "\\t", "\t"):
        loaded("a.csv", "--delimiter", tab)
    assert stored_ids(redis_client) == {"ä".encode(), b"b"}


def test_rejected_rows_name_the_option_that_would_do(redis_client: Redis) -> None:
    Path("a.csv").write_text('id,price,stock,age\na,"1,5",2,3\nb,1,2,3\n')
    advice = "Of a.csv, it looks as if --decimal ',' would do."
    assert_refused(load("a.csv"), "a value is no number: 1 row(s)", advice)
    assert_refused(load("a.csv", "--decimal", ".", "--delimiter", ","), advice)
    assert loaded("a.csv", "--decimal", ",")["written"] == 2
    Path("a.csv").write_bytes("id,price,stock,age\nä,1,2,3\n".encode("cp1252"))
    assert_refused(load("a.csv"), "the id is no valid Unicode: 1 row(s)", "as if --encoding cp1252 would do")
    assert loaded("a.csv", "--encoding", "cp1252")["written"] == 1


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--delimiter", ";;", "one ASCII character"),
        ("--delimiter", '"', "neither a quotation mark"),
        ("--delimiter", "§", "one ASCII character"),
        ("--decimal", ";", "is not one of"),
        ("--encoding", "cp9", "knows no encoding of text called cp9"),
        ("--encoding", "base64", "knows no encoding of text called base64"),
    ],
)
def test_options_that_say_nothing_of_how_a_file_is_written_are_refused(option: str, value: str, message: str) -> None:
    write_csv("a.csv", "a,1,2,3")
    result = load("a.csv", option, value)
    assert (result.exit_code, message in result.stderr) == (2, True), result.stderr


BAD_ID = b"b\xff"


def write_bad_id(name: str) -> None:
    """Three rows, of which the second has an id that is no UTF-8."""
    ids = [b"a", BAD_ID, b"c"]
    if name.endswith("csv"):
        rows = [b"id,price,stock,age", *(i + b",1,2,3" for i in ids)]
        Path(name).write_bytes(b"\n".join(rows) + b"\n")
    elif name.endswith("jsonl"):
        Path(name).write_bytes(b"".join(b'{"id": "%s", "price": 1, "stock": 2, "age": 3}\n' % i for i in ids))
    else:
        array = pa.array(ids).view(pa.string())  # as some writers leave it
        table = pa.table({"id": array, "price": [1.0] * 3, "stock": [2.0] * 3, "age": [3.0] * 3})
        if name.endswith("parquet"):
            parquet.write_table(table, name)
        else:
            with pa.ipc.new_file(name, table.schema) as writer:
                writer.write_table(table)


@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.arrow", "a.jsonl"])
def test_id_that_is_no_utf8_is_a_rejected_row(redis_client: Redis, name: str) -> None:
    write_bad_id(name)
    said = "the line is no JSON object" if name == "a.jsonl" else "the id is no valid Unicode"
    assert_refused(load(name, "--rejects", "rejects"), f"{said}: 1 row(s)", f"{name} row 2")
    (line,) = Path("rejects").read_text().splitlines()
    assert (json.loads(line)["row"], json.loads(line)["reason"]) == (2, said)
    assert loaded(name, "--on-error", "skip", "--rejects", "rejects")["rejected"] == {said: 1}
    assert stored_ids(redis_client) == {b"a", b"c"}


def test_number_that_is_no_utf8_is_a_rejected_row(redis_client: Redis) -> None:
    Path("a.csv").write_bytes(b"id,price,stock,age\na,1,2,3\nb,1,\xff,3\nc,\xd9\xa1,2,3\n")
    assert loaded("a.csv", "--on-error", "skip")["rejected"] == {"a value is no number": 2}
    assert stored_ids(redis_client) == {b"a"}


def test_half_of_a_surrogate_pair_is_listed_among_the_rejects() -> None:
    Path("a.jsonl").write_text('{"id": "\\ud800", "price": 1, "stock": 2, "age": 3}\n' * 2)
    assert_refused(load("a.jsonl", "--rejects", "rejects"), "the id is no valid Unicode: 2 row(s)")
    assert json.loads(Path("rejects").read_text().splitlines()[0])["id"] == "\\ud800"


def test_a_server_that_is_not_there_is_one_clean_message(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_csv("a.csv", "a,1,2,3")
    monkeypatch.setenv("RANKER_REDIS_URL", f"unix://{place}/nowhere.sock")
    assert_refused(load("a.csv"), "The feature store did not answer")


def test_redis_without_room_is_one_clean_message_and_leaves_no_whole_load(redis_client: Redis) -> None:
    write("a.parquet")
    used = redis_client.info("memory")["used_memory"]
    redis_client.config_set("maxmemory", used + 150_000)
    try:
        assert_refused(load("a.parquet"), "The feature store did not answer", "maxmemory")
    finally:
        redis_client.config_set("maxmemory", 0)
    left = record(redis_client)
    assert left is None or left.state == "loading"
    assert loaded("a.parquet", "--resume")["rows"] == N


def test_time_to_live_is_set_when_asked_for(redis_client: Redis) -> None:
    write_csv("a.csv", "a,1,2,3")
    loaded("a.csv", "--ttl", "100")
    assert 0 < redis_client.pttl("product:a") <= 100_000


def test_rate_is_held(redis_client: Redis) -> None:
    write("a.parquet", IDS[:300], PRICES[:300])
    began = time.monotonic()
    loaded("a.parquet", "--max-rate", "300")
    assert time.monotonic() - began > 0.85
    assert len(stored_ids(redis_client)) == 300


def test_statistics_of_the_file_are_on_record(redis_client: Redis) -> None:
    write("a.parquet")
    loaded("a.parquet")
    left = record(redis_client)
    assert left is not None
    statistics = Statistics.from_json(left.statistics, SCHEMA.product.names)
    assert statistics is not None
    rows = PRICES.astype(np.float64)
    assert statistics.count == N
    assert statistics.mean == pytest.approx(rows.mean(axis=0))
    assert statistics.deviation == pytest.approx(rows.std(axis=0))
    assert (statistics.min == rows.min(axis=0)).all()
    assert (statistics.max == rows.max(axis=0)).all()


def start(*arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "ranker", "features", "load", *arguments]
    options = ["--entity", "product", "--model", "schema.yaml"]
    project = Path(__file__).parent.parent.parent.parent
    environment = os.environ | {"PYTHONPATH": str(project)}
    return subprocess.Popen([*command, *options], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def test_a_killed_load_is_known_as_incomplete_and_resumes_where_it_was(redis_client: Redis) -> None:
    write("a.parquet")
    write_csv("b.csv", "last,1,2,3", "p0,9,9,9")
    process = start("a.parquet", "b.csv", "--on-error", "skip", "--max-rate", "500")
    try:
        wait_for(lambda: (left := record(redis_client)) is not None and left.rows_done > 0)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    interrupted = record(redis_client)
    assert interrupted is not None
    assert interrupted.state == "loading"
    assert 0 < interrupted.rows_done < N
    before = stored_ids(redis_client)
    assert set(IDS[: interrupted.rows_done]) <= {i.decode() for i in before}
    result = CliRunner().invoke(features, ["verify", "--model", "schema.yaml", "--entity", "product"])
    assert result.exit_code == 1
    assert "fail product load" in result.stdout
    assert "--resume" in result.stdout

    # What was written is not written again: a mark on it stays.
    mark = encode([[7, 7, 7]], SCHEMA.fingerprint)[0]
    redis_client.set("product:p0", mark)
    write("other.parquet", IDS[:10], PRICES[:10])
    assert_refused(load("other.parquet", "--resume"), "cannot be resumed", "other files")
    answer = loaded("a.parquet", "b.csv", "--on-error", "skip", "--resume")
    assert answer["skipped"] == interrupted.rows_done
    assert answer["written"] == N + 1 - interrupted.rows_done
    assert redis_client.get("product:p0") == mark
    values = redis_client.mget([f"product:{i}" for i in IDS[1:]])
    assert (RowDecoder(3, SCHEMA.fingerprint).decode(values).values == PRICES[1:]).all()
    assert redis_client.get("product:last") == encode([[1, 2, 3]], SCHEMA.fingerprint)[0]
    finished = record(redis_client)
    assert finished is not None
    assert finished.state == "complete"

    assert len(finished.ids) >= 100
    again = loaded("a.parquet", "b.csv", "--on-error", "skip", "--resume")
    assert (again["written"], again["skipped"], again["note"]) == (0, N + 2, "")
    assert redis_client.get("product:p0") == mark


def under(key: str, **entity: Any) -> None:
    """Have schema.yaml keep products under another key template."""
    declared = SCHEMA.to_metadata()
    declared["product"] |= {"key": key, **entity}
    Path("schema.yaml").write_text(yaml.safe_dump(declared))


def test_resume_under_other_keys_loads_everything_there(redis_client: Redis) -> None:
    write("a.parquet")
    loaded("a.parquet")
    under("v2:product:{id}")
    answer = loaded("a.parquet", "--resume")
    assert (answer["written"], answer["skipped"]) == (N, 0)
    assert answer["note"] == "No load of v2:product:{id} is on record for this schema, so all rows are loaded."
    assert redis_client.mget([f"v2:product:{i}" for i in IDS]) == redis_client.mget([f"product:{i}" for i in IDS])
    # Each has a record of its own, and knows that it is whole.
    for key in ("product:{id}", "v2:product:{id}"):
        under(key)
        assert (loaded("a.parquet", "--resume")["written"], len(redis_client.keys("ranker:load:*"))) == (0, 2)
    under("v3:product:{id}")
    shown = load("a.parquet", "--resume").stdout
    assert "No load of v3:product:{id} is on record for this schema, so all rows are loaded.\nLoaded 3,000" in shown


def test_resume_under_other_keys_does_not_go_on_where_an_interrupted_load_of_these_stopped(redis_client: Redis) -> None:
    write("a.parquet")
    process = start("a.parquet", "--max-rate", "1000")
    wait_for(lambda: (left := record(redis_client)) is not None and left.rows_done > 0)
    process.kill()
    process.wait()
    under("v2:product:{id}")
    assert loaded("a.parquet", "--resume")["written"] == N
    assert len(redis_client.keys("v2:product:*")) == N


def test_verify_compares_with_the_load_of_its_own_keys_alone(redis_client: Redis) -> None:
    write("a.parquet")
    loaded("a.parquet")
    under("v2:product:{id}")
    write("other.parquet", IDS, PRICES * 1000)
    for identifier, vector in zip(IDS, encode(PRICES * 1000, SCHEMA.fingerprint), strict=True):
        redis_client.set(f"v2:product:{identifier}", vector)

    def findings() -> dict[str, Any]:
        command = ["verify", "--model", "schema.yaml", "--entity", "product", "--json"]
        report = json.loads(CliRunner().invoke(features, command).stdout)
        return {finding["check"]: finding for finding in report["findings"]}

    found = findings()
    assert found["product load"]["status"] == "warn"
    assert "none of v2:product:{id} is on record" in found["product load"]["seen"]
    assert found["product values"]["status"] == "ok"
    loaded("other.parquet")
    assert {finding["status"] for finding in findings().values()} == {"ok"}


@pytest.mark.parametrize("lost", ["all", "a few", "replaced"])
def test_resume_does_not_believe_a_record_whose_vectors_are_gone(redis_client: Redis, lost: str) -> None:
    write("a.parquet")
    loaded("a.parquet")
    some = IDS[:60]  # two stretches of the hundred that are looked at
    if lost == "replaced":  # by vectors that the model cannot read
        redis_client.mset({f"product:{i}": encode([[1, 2, 3]], 1)[0] for i in some})
    else:
        redis_client.delete(*(f"product:{i}" for i in (some if lost == "a few" else IDS)))
    answer = loaded("a.parquet", "--resume")
    assert (answer["written"], answer["skipped"]) == (N, 0)
    count = 100 if lost == "all" else 2
    such = "such as p0, p30, p60" if lost == "all" else "such as p0, p30)"
    assert f"(of 100 ids looked at, {count} have no usable vector any more, {such}" in answer["note"]
    assert (RowDecoder(3, SCHEMA.fingerprint).decode(redis_client.mget([f"product:{i}" for i in IDS]))).complete
    assert loaded("a.parquet", "--resume")["note"] == ""


def test_ids_are_on_record_wherever_rows_are_left_out(redis_client: Redis) -> None:
    """Every row that would be looked at is at fault, and still there is something to look at."""
    write_csv("a.csv", *(f"p{i},1,2,{'x' if i % 10 == 0 else i}" for i in range(1000)))
    loaded("a.csv", "--on-error", "skip")
    left = record(redis_client)
    assert left is not None
    assert left.ids == tuple(f"p{i}" for i in range(1000) if i % 10 == 1)


@pytest.mark.parametrize(
    "options", [["--id-column", "stock"], ["--ttl", "100"], ["--decimal", ","], ["--encoding", "cp1252"]]
)
def test_resume_with_options_that_make_other_vectors_is_refused(redis_client: Redis, options: list[str]) -> None:
    write_csv("a.csv", "a,1,2,3")
    loaded("a.csv")
    assert_refused(load("a.csv", "--resume", *options), "cannot be resumed", "of product:{id} had other options")
    assert stored_ids(redis_client) == {b"a"}


def test_record_that_does_not_say_under_which_keys_is_not_believed(redis_client: Redis) -> None:
    """As earlier versions kept it: by fingerprint and entity alone."""
    write_csv("a.csv", "a,1,2,3")
    loaded("a.csv")
    (key,) = redis_client.keys("ranker:load:*")
    old = json.loads(redis_client.get(key))
    del old["target"], old["ids"], old["options"]
    redis_client.flushall()
    for name in (key, f"ranker:load:{SCHEMA.fingerprint:08x}:product"):
        redis_client.set(name, json.dumps(old | {"ttl_s": None}))
    answer = loaded("a.csv", "--resume")
    assert (answer["written"], answer["note"][:30]) == (1, "No load of product:{id} is on ")


def test_record_of_another_target_is_not_believed(redis_client: Redis) -> None:
    write_csv("a.csv", "a,1,2,3")
    loaded("a.csv")
    (key,) = redis_client.keys("ranker:load:*")
    stored = json.loads(redis_client.get(key))
    redis_client.set(key, json.dumps(stored | {"target": stored["target"] | {"key": "other:{id}"}}))
    assert record(redis_client) is None


def test_a_file_that_changes_while_it_is_loaded_is_not_called_whole(redis_client: Redis) -> None:
    rows = [f"a{i},1,2,3" for i in range(4000)]
    write_csv("a.csv", *rows)
    process = start("a.csv", "--max-rate", "1000")
    wait_for(lambda: len(stored_ids(redis_client)) > 0)
    process.send_signal(signal.SIGSTOP)  # it has four seconds to go, and waits for us
    write_csv("a.csv", *rows, "b,1,2,3")
    process.send_signal(signal.SIGCONT)
    assert process.wait(60) == 1
    left = record(redis_client)
    assert left is not None
    assert left.state == "loading"


def test_a_cluster_is_loaded_migrated_and_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write("a.parquet")
    (tmp_path / "cluster").mkdir()
    with cluster(tmp_path / "cluster") as url:
        monkeypatch.setenv("RANKER_REDIS_URL", url)
        assert loaded("a.parquet")["written"] == N
        assert loaded("a.parquet", "--resume")["written"] == 0
        client = connect(url)

        def cli(*arguments: str) -> Any:
            command = [*arguments, "--entity", "product", "--model", "schema.yaml", "--json"]
            result = CliRunner().invoke(features, command)
            assert result.exit_code == 0, result.output
            return json.loads(result.stdout)

        assert cli("migrate", "--to", "json")["done"] == N
        assert client.get("product:p0").startswith(b"[")
        assert cli("migrate", "--dry-run")["to_rewrite"] == 1000
        assert cli("migrate")["done"] == N
        assert cli("inspect", "p5")[0]["features"]["price"] == PRICES[5, 0]
        findings = {f["check"]: f for f in cli("verify", "--products", "a.parquet", "--all")["findings"]}
        assert {f["status"] for f in findings.values()} == {"ok"}
        assert findings["product parity"]["data"]["rows"] == N
        assert findings["product form"]["data"] == {"binary": N}
        client.close()


class Quiet:
    """A watcher that watches nothing."""

    def began(self, stage: Literal["Checking", "Writing"], rows: int | None, done: int) -> Callable[[int], None]:
        return lambda _: None


class SecondLoad:
    """A watcher that loads another file once, while the first is written."""

    def __init__(self, redis_url: str, name: str) -> None:
        self._url, self._name, self._is_done = redis_url, name, False

    def began(self, stage: Literal["Checking", "Writing"], rows: int | None, done: int) -> Callable[[int], None]:
        return self._load if stage == "Writing" else lambda _: None

    def _load(self, _: int) -> None:
        if not self._is_done:
            load_files([Path(self._name)], self._url, LoadOptions("product", SCHEMA), Quiet())
        self._is_done = True


def test_loads_at_the_same_time_are_told_and_verified_with_a_warning(redis_client: Redis, redis_url: str) -> None:
    write("a.parquet")
    write("b.parquet", IDS, PRICES[::-1])
    during = SecondLoad(redis_url, "b.parquet")
    first = load_files([Path("a.parquet")], redis_url, LoadOptions("product", SCHEMA), during)
    (note,) = first.notes
    assert note.startswith("product:{id}: another load ran at the same time; of an id that both have, either one's")
    said = CliRunner().invoke(features, ["verify", "--entity", "product", "--model", "schema.yaml"]).stdout
    assert "while another load wrote the same keys" in said
    again = loaded("a.parquet", "--resume")
    assert (again["written"], again["notes"]) == (N, [])
    assert "another load wrote the same keys at the same time, so all rows are loaded" in again["note"]
    said = CliRunner().invoke(features, ["verify", "--entity", "product", "--model", "schema.yaml"]).stdout
    assert "another load" not in said


CATEGORIES = """
user: {features: [age]}
product:
  features:
    - {name: colour, type: category, vocabulary: [red, blue], unknown: 0}
    - {name: tags, type: category, vocabulary: ["7", b], unknown: 1, length: 2}
    - {name: price, missing: default}
    - {name: taste, shape: [2], missing: nan}
"""


def write_categories(*rows: dict[str, Any]) -> None:
    Path("schema.yaml").write_text(CATEGORIES)
    usual = {"colour": "red", "tags": ["b"], "price": 1.5, "taste": [1, 2]}
    Path("a.jsonl").write_text("".join(json.dumps({"id": f"p{i}"} | usual | row) + "\n" for i, row in enumerate(rows)))


def test_texts_that_count_as_unknown_are_told() -> None:
    write_categories({"colour": "RED"}, {"colour": " blue", "tags": ["b", 8]}, {"tags": [7, "c"]}, {"colour": "RED"})
    told = [
        "3 value(s) of colour are not in its vocabulary, and count as unknown, such as 'RED', ' blue'.",
        "2 value(s) of tags are not in its vocabulary, and count as unknown, such as '8', 'c'.",
    ]
    assert loaded("a.jsonl")["notes"] == told
    result = load("a.jsonl")
    assert [note for note in told if f"Note: {note}" not in result.stdout + result.stderr] == []


def test_codes_in_the_place_of_texts_are_refused() -> None:
    write_categories({"colour": 1}, {"tags": [7]})
    assert_refused(load("a.jsonl"), "row 1, id 'p0'", "the vocabulary has none: give the text, not its code")


def test_csv_texts_that_count_as_unknown_are_told() -> None:
    Path("schema.yaml").write_text(CATEGORIES)
    Path("a.csv").write_text('id,colour,tags,price,taste\na,1,"[""c"",""b""]",1,"[1,2]"\nb,red ,,,\n')
    Path("schema.yaml").write_text(CATEGORIES.replace("length: 2", "length: 2, missing: default"))
    assert loaded("a.csv")["notes"] == [
        "2 value(s) of colour are not in its vocabulary, and count as unknown, such as '1', 'red '.",
        "1 value(s) of tags are not in its vocabulary, and count as unknown, such as 'c'.",
    ]


@pytest.mark.parametrize("of", ["jsonl", "parquet"])
def test_features_that_no_row_has_are_told(of: str) -> None:
    write_categories({"price": None, "taste": None}, {"price": None, "taste": None})
    if of == "parquet":
        parquet.write_table(
            pa.Table.from_pylist([json.loads(line) for line in Path("a.jsonl").read_text().splitlines()]), "a.parquet"
        )
    told = "No row has a value of price, taste: what the schema says of absent values stands in."
    assert loaded(f"a.{of}")["notes"] == [told]
    write_categories({"price": None, "taste": [1, 2]}, {"price": 1, "taste": None})
    assert loaded("a.jsonl")["notes"] == []


@pytest.mark.parametrize(
    ("identifier", "told"),
    [
        (" a", "begin or end with white space"),
        ("a\u00a0", "begin or end with white space"),
        ("7.0", "are whole numbers with a fraction"),
        ("'a'", "are in quotation marks"),
        ("\u200ba", "hold control characters, or such as are not seen"),
        ("e\u0301", "are in no normal form of Unicode"),
    ],
)
def test_ids_that_requests_will_hardly_name_are_told(identifier: str, told: str) -> None:
    write_csv("a.csv", f"{identifier},1,2,3", "usual-1,1,2,3", "schön,1,2,3", "a b,1,2,3", "7.5,1,2,3")
    (note,) = loaded("a.csv")["notes"]
    assert note.startswith(f"1 id(s) {told}")
    assert ascii(identifier) in note


def test_utf_8_that_is_read_in_another_encoding_is_told() -> None:
    write_csv("a.csv", "schön,1,2,3")
    assert loaded("a.csv", "--encoding", "latin-1")["notes"] == ["Of a.csv, it looks as if --encoding utf-8 would do."]
    Path("a.csv").write_bytes(Path("a.csv").read_text().encode("latin-1"))
    assert loaded("a.csv", "--encoding", "latin-1")["notes"] == []
