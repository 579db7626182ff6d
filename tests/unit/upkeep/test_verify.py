"""`ranker features inspect` and `verify`: what is stored, shown and checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import yaml
from click.testing import CliRunner, Result
from redis import Redis

from ranker.cli.features.group import features
from ranker.demo.ports import free_port
from ranker.errors import ServiceUnreachable
from ranker.features.store import RedisStore
from ranker.features.uncached import UncachedStore
from ranker.ingest.files.duplicates import Duplicates
from ranker.ingest.files.statistics import Statistics
from ranker.redis.connection import RedisConnections
from ranker.upkeep import parity
from ranker.upkeep.parity import compare_scores
from ranker.vectors.rows import ProductId, RowStatus, UserId
from ranker.vectors.stored.encoding import encode
from tests.support.sample import SCHEMA, enter, run

N = 400
ROWS = np.random.default_rng(8).normal(size=(N, 3)).astype(np.float32)
IDS = [f"p{i}" for i in range(N)]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, redis_url: str, redis_client: Redis, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with schema.yaml and products.csv, and an empty Redis."""
    enter(tmp_path, redis_url, monkeypatch)
    lines = [f"{i},{a!r},{b!r},{c!r}" for i, (a, b, c) in zip(IDS, ROWS.tolist(), strict=True)]
    (tmp_path / "products.csv").write_text("\n".join(["id,price,stock,age", *lines]) + "\n")
    return tmp_path


def cli(*arguments: str) -> Result:
    return CliRunner().invoke(features, [*arguments, "--model", "schema.yaml"])


def load() -> None:
    result = cli("load", "products.csv", "--entity", "product")
    assert result.exit_code == 0, result.output


def verify(*arguments: str, entity: str = "product") -> dict[str, dict[str, Any]]:
    """The findings by check; the exit code must agree with them."""
    result = cli("verify", "--entity", entity, "--json", *arguments)
    report = json.loads(result.stdout)
    assert report["ok"] == all(finding["status"] != "fail" for finding in report["findings"])
    assert result.exit_code == int(not report["ok"])
    return {finding["check"]: finding for finding in report["findings"]}


def statuses(findings: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {check: finding["status"] for check, finding in findings.items()}


def write(client: Redis, rows: np.ndarray) -> None:
    vectors = encode(rows, SCHEMA.fingerprint)
    client.mset({f"product:{i}": vector for i, vector in zip(IDS, vectors, strict=False)})


def test_inspect_shows_each_feature_by_name(redis_client: Redis) -> None:
    redis_client.set("product:a", encode([[1.5, 2, -3]], SCHEMA.fingerprint)[0], px=50_000)
    (shown,) = json.loads(cli("inspect", "a", "--json").stdout)
    assert shown["features"] == {"price": 1.5, "stock": 2.0, "age": -3.0}
    assert (shown["entity"], shown["key"], shown["form"], shown["bytes"]) == ("product", "product:a", "binary", 20)
    assert 0 < shown["ttl_s"] <= 50
    assert shown["memory_bytes"] >= 20
    assert shown["idle_s"] >= 0
    result = cli("inspect", "a")
    assert result.exit_code == 0
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["price", "1.5"] in lines
    assert ["age", "-3"] in lines
    assert ["Form", "binary"] in lines


@pytest.mark.parametrize(
    ("value", "form"), [(b"[1, 2, 3]", "json"), (b'"[1, 2, 3]"', "json-in-json"), (None, "float16")]
)
def test_inspect_reads_every_form(redis_client: Redis, value: bytes | None, form: str) -> None:
    redis_client.set("product:a", value or encode([[1, 2, 3]], SCHEMA.fingerprint, "float16")[0])
    result = cli("inspect", "a", "--json", "--entity", "product")
    (shown,) = json.loads(result.stdout)
    assert (result.exit_code, shown["form"], list(shown["features"].values())) == (0, form, [1, 2, 3])
    assert shown["ttl_s"] is None


def test_inspect_shows_nan_as_null(redis_client: Redis) -> None:
    redis_client.set("product:a", encode([[1, np.nan, 3]], SCHEMA.fingerprint)[0])
    result = cli("inspect", "a", "--json", "--entity", "product")
    (shown,) = orjson.loads(result.stdout)
    assert (result.exit_code, shown["features"]) == (0, {"price": 1, "stock": None, "age": 3})


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (encode([[1, 2, 3]], SCHEMA.fingerprint ^ 1)[0], "was written for schema"),
        (b"[1, 2]", "has 2 values"),
        (encode([[1, 2, 3]], SCHEMA.fingerprint)[0] + b"\0", "13 bytes after the header are no whole number of 4-byte"),
        (b"[1, Infinity, 3]", "a value is infinite, or beyond float32"),
        (b"hello", "no feature vector"),
        (None, "There is no such key."),
    ],
)
def test_inspect_says_why_the_service_would_not_use_it(redis_client: Redis, value: bytes | None, problem: str) -> None:
    if value is not None:
        redis_client.set("product:a", value)
    result = cli("inspect", "a", "--entity", "product")
    assert result.exit_code == 1
    assert problem in result.stdout


def test_inspect_of_another_type_of_key_says_so(redis_client: Redis) -> None:
    redis_client.hset("product:a", "price", "1")
    result = cli("inspect", "a", "--entity", "product")
    assert (result.exit_code, "holds a hash, not a string" in result.stdout) == (1, True)


def test_inspect_finds_user_and_product_of_one_id(redis_client: Redis) -> None:
    redis_client.set("product:a", b"[1, 2, 3]")
    redis_client.set("user:a", b"[1, 2]")
    assert [one["entity"] for one in json.loads(cli("inspect", "a", "--json").stdout)] == ["user", "product"]


def test_what_others_store_is_shown_and_checked_and_not_written(redis_client: Redis, place: Path) -> None:
    declared = SCHEMA.to_metadata()
    declared["product"] = {"features": ["price", "stock", "age"], "format": "hash"}
    declared["user"]["format"] = "float32"
    (place / "schema.yaml").write_text(yaml.safe_dump(declared))
    for identifier, row in zip(IDS, ROWS.tolist(), strict=True):
        redis_client.hset(f"product:{identifier}", mapping=dict(zip(["price", "stock", "age"], row, strict=True)))
    redis_client.set("user:u", np.array([1, 2], "<f4").tobytes())
    (shown,) = json.loads(cli("inspect", "p3", "--json").stdout)
    assert (shown["form"], list(shown["features"].values())) == ("hash", ROWS[3].tolist())
    (shown,) = json.loads(cli("inspect", "u", "--json").stdout)
    assert (shown["form"], shown["bytes"], list(shown["features"].values())) == ("float32", 8, [1, 2])
    findings = verify("--products", "products.csv")
    assert {check: status for check, status in statuses(findings).items() if check != "product load"} == {
        f"product {what}": "ok" for what in ("form", "vectors", "values", "parity")
    }
    assert findings["product form"]["data"] == {"hash": N}
    redis_client.hdel("product:p3", "stock")
    redis_client.delete("product:p4")
    redis_client.set("product:p4", b"x")
    wrong = {"corrupt": 1, "of another type": 1}
    assert verify()["product vectors"]["data"] == {"vectors": N, "nan": 0, "unexpected_nan": 0, **wrong}
    before = redis_client.hgetall("product:p5")
    for command in (["load", "products.csv"], ["migrate"]):
        result = cli(*command, "--entity", "product")
        assert result.exit_code == 1
        assert "stored as hash, which Ranker reads and does not write" in result.stderr
    assert redis_client.hgetall("product:p5") == before


def test_a_fresh_load_verifies(redis_client: Redis, place: Path) -> None:
    load()
    (place / "ids").write_text("\n".join(IDS) + "\n")
    findings = verify("--products", "products.csv", "--ids", "ids")
    assert statuses(findings) == dict.fromkeys(
        ["product load", "product form", "product vectors", "product values", "product coverage", "product parity"],
        "ok",
    )
    assert findings["product form"]["data"] == {"binary": N}
    assert findings["product coverage"]["data"]["ids"] == N
    assert findings["product parity"]["data"]["rows"] == N
    assert "ok   product load: complete: 400 vectors" in cli("verify", "--entity", "product").stdout


def test_an_empty_store_fails(redis_client: Redis) -> None:
    findings = verify()
    assert statuses(findings) == {"product load": "warn", "product vectors": "fail"}
    assert "there are no keys product:*" in findings["product vectors"]["seen"]


def test_missing_ids_fail_by_name(redis_client: Redis, place: Path) -> None:
    load()
    redis_client.delete("product:p7")
    redis_client.set("product:p8", b"hello")
    (place / "ids").write_text("\n".join([*IDS, "new"]) + "\n")
    coverage = verify("--ids", "ids")["product coverage"]
    assert coverage["status"] == "fail"
    assert (coverage["data"]["ids"], coverage["data"]["missing"]) == (N + 1, 3)
    assert coverage["data"]["examples"] == ["p7", "p8", "new"]


def test_no_ids_to_look_for_fail(redis_client: Redis, place: Path) -> None:
    load()
    (place / "ids").write_text("\n")
    coverage = verify("--ids", "ids")["product coverage"]
    assert (coverage["status"], coverage["seen"]) == ("fail", "no id was given to look for")


def test_forms_and_fingerprints_are_counted(redis_client: Redis) -> None:
    load()
    redis_client.set("product:p1", b"[1, 2, 3]")
    redis_client.set("product:p2", encode([[1, 2, 3]], SCHEMA.fingerprint ^ 1)[0])
    redis_client.delete("product:p3")
    redis_client.hset("product:p3", "price", "1")
    redis_client.set("product:p4", encode([[np.nan, 2, 3]], SCHEMA.fingerprint)[0])
    redis_client.set("product:p5", encode([[np.inf, 2, 3]], SCHEMA.fingerprint)[0])
    findings = verify("--all")
    assert findings["product form"]["status"] == "warn"
    assert findings["product form"]["data"] == {"binary": N - 2, "json": 1}
    assert "migrate" in findings["product form"]["remedy"]
    assert findings["product vectors"]["status"] == "fail"
    counts = {"wrong_schema": 1, "of another type": 1, "corrupt": 1}
    assert findings["product vectors"]["data"] == {"vectors": N, "nan": 1, "unexpected_nan": 1, **counts}


def test_verify_and_the_service_say_the_same_of_nan_and_infinity(redis_client: Redis, redis_url: str) -> None:
    """What verify calls usable is fetched as found, NaN and all; what it says counts as missing is not."""
    load()
    redis_client.set("product:p4", encode([[np.nan, 2, 3]], SCHEMA.fingerprint)[0])
    vectors = verify("--all")["product vectors"]
    assert (vectors["status"], vectors["data"]) == ("warn", {"vectors": N, "nan": 1, "unexpected_nan": 1})
    assert vectors["seen"] == "400 looked at, all usable; 1 with NaN, which the model is given as it is"
    assert "missing" not in vectors["seen"]
    redis_client.set("product:p5", b"[1, Infinity, 3]")
    vectors = verify("--all")["product vectors"]
    assert (vectors["status"], vectors["data"]["nan"], vectors["data"]["corrupt"]) == ("fail", 1, 1)
    assert vectors["seen"].startswith("of 400 looked at: 1 corrupt, such as product:p5; 1 with NaN")
    assert vectors["remedy"].endswith("they count as missing.")

    async def test() -> None:
        store = UncachedStore(RedisStore(RedisConnections(redis_url, size=2, timeout_s=5.0), SCHEMA), SCHEMA)
        products = (await store.fetch(UserId("u"), [ProductId("p4"), ProductId("p5")])).products
        assert products.statuses.tolist() == [RowStatus.FOUND, RowStatus.CORRUPT]
        assert np.array_equal(products.values[0], [np.nan, 2, 3], equal_nan=True)
        await store.close()

    run(test)


def test_sample_bounds_what_is_looked_at(redis_client: Redis) -> None:
    load()
    assert verify("--sample", "50")["product vectors"]["data"]["vectors"] == 50
    assert verify("--all")["product vectors"]["data"]["vectors"] == N


@pytest.mark.parametrize(
    ("change", "word", "status"),
    [
        (lambda rows: np.where(np.arange(3) == 1, 7.0, rows), "constant", "warn"),
        (lambda rows: rows + np.array([0, 4.0, 0]), "moved", "warn"),
        (lambda rows: np.where(np.arange(N * 3).reshape(N, 3) == 4, 1e6, rows), "exploding", "fail"),
        (lambda rows: np.where(np.arange(N * 3).reshape(N, 3) == 4, -1e6, rows), "exploding", "fail"),
    ],
)
def test_values_unlike_those_loaded_are_named(redis_client: Redis, change: Any, word: str, status: str) -> None:
    load()
    write(redis_client, change(ROWS))
    values = verify()["product values"]
    assert values["status"] == status
    assert values["data"] == {word: ["stock"]}
    assert f"{word}: stock" in values["seen"]


def test_without_a_load_on_record_constant_features_are_still_named(redis_client: Redis) -> None:
    write(redis_client, np.where(np.arange(3) == 2, 1.0, ROWS))
    findings = verify()
    assert findings["product load"]["status"] == "warn"
    assert findings["product values"]["data"] == {"constant": ["age"]}


def test_parity_names_the_feature_that_differs_in_one_bit(redis_client: Redis) -> None:
    load()
    changed = ROWS.copy()
    changed[5, 1] = np.nextafter(ROWS[5, 1], np.float32(9))
    write(redis_client, changed)
    redis_client.delete("product:p6")
    parity = verify("--products", "products.csv")["product parity"]
    assert parity["status"] == "fail"
    assert (parity["data"]["missing"], parity["data"]["different"]) == (1, 1)
    assert parity["data"]["examples"][0].startswith("p5 stock ")


def test_parity_is_with_the_file_as_its_options_say_it_is_written(redis_client: Redis, place: Path) -> None:
    (place / "other.csv").write_text("id;price;stock;age\np0;1,5;2;3\n", "utf-16")
    write(redis_client, np.array([[1.5, 2, 3]], np.float32))
    options = ("--delimiter", ";", "--decimal", ",", "--encoding", "utf-16")
    assert verify("--products", "other.csv", *options)["product parity"]["status"] == "ok"


def test_parity_is_with_the_number_in_the_file_and_not_with_its_float32(redis_client: Redis, place: Path) -> None:
    (place / "big.csv").write_text("id,price,stock,age\np0,1,16777217,3\np1,1,2,3\n")
    # As other writers, and earlier versions, do.
    write(redis_client, np.array([[1, 16777216, 3], [1, 2, 3]], np.float32))
    parity = verify("--products", "big.csv")["product parity"]
    assert (parity["status"], parity["data"]["rounded"], parity["data"]["rows"]) == ("fail", 1, 2)
    assert parity["seen"] == "1 whole number(s) of big.csv are not the same in float32: p0 stock 16777217 as 16777216"
    parity = verify("--products", "big.csv", "--allow-rounding")["product parity"]
    assert parity["status"] == "ok"
    assert parity["seen"] == "2 rows stored as in big.csv, rounded to float32, which changed 1 whole number(s)"


def test_parity_says_bit_for_bit_only_where_nothing_was_rounded(redis_client: Redis, place: Path) -> None:
    write(redis_client, np.array([[0.1, 2, 3]], np.float32))
    for price, said in (("0.1", "as in a.csv, rounded to float32"), ("0.10000000149011612", "bit for bit as in a.csv")):
        (place / "a.csv").write_text(f"id,price,stock,age\np0,{price},2,3\n")
        parity = verify("--products", "a.csv")["product parity"]
        assert (parity["status"], parity["seen"]) == ("ok", f"1 rows stored {said}")


def test_a_file_that_gives_nothing_to_compare_fails(redis_client: Redis, place: Path) -> None:
    load()
    (place / "none.csv").write_text("id,price,stock,age\n")
    parity = verify("--products", "none.csv")["product parity"]
    assert (parity["status"], parity["seen"]) == ("fail", "none.csv has no row to compare")
    (place / "bad.csv").write_text("id,price,stock,age\np0,x,2,3\n")
    seen = verify("--products", "bad.csv")["product parity"]["seen"]
    assert seen == "bad.csv has no row to compare (1 rows of the file cannot be loaded)"


def test_a_file_with_an_id_twice_fails_with_a_remedy_that_helps(redis_client: Redis, place: Path) -> None:
    (place / "twice.csv").write_text("id,price,stock,age\np0,1,2,3\np0,4,5,6\n")
    assert cli("load", "twice.csv", "--entity", "product", "--on-error", "skip").exit_code == 0
    parity = verify("--products", "twice.csv")["product parity"]
    assert (parity["status"], parity["data"]["repeated"]) == ("fail", 1)
    assert parity["seen"] == "1 row(s) of twice.csv have the id of an earlier row, which alone is loaded"
    (place / "twice.csv").write_text("id,price,stock,age\np0,1,2,3\n")
    assert verify("--products", "twice.csv")["product parity"]["status"] == "ok"


@pytest.mark.parametrize(("users", "products"), [([], ["p1"]), (["u1"], []), (["u1"], ["p1", "p1"])])
def test_scores_are_not_asked_for_without_users_and_products(users: list[str], products: list[str]) -> None:
    def sample(ids: list[str]) -> parity.Sample:
        return parity.Sample(ids, np.zeros((len(ids), 3), np.float32), np.zeros(len(ids)))

    nothing: Any = None
    service = parity.Service(f"http://127.0.0.1:{free_port()}")
    finding = parity.check_scores(nothing, service, "shop:1", nothing, sample(users), sample(products))
    assert (finding.status, finding.check) == ("fail", "score parity")


@pytest.mark.parametrize(
    ("served", "status"),
    [
        ([0.5, np.nan], "ok"),
        ([np.nextafter(np.float32(0.5), np.float32(1)), np.nan], "warn"),
        ([0.6, np.nan], "fail"),
        ([0.5, 1.0], "fail"),
    ],
)
def test_scores_are_compared_bit_for_bit(served: list[float], status: str) -> None:
    expected = np.array([0.5, np.nan], dtype=np.float32)
    assert compare_scores("scores", np.array(served, dtype=np.float32), expected).status == status


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--ids", "products.csv"], 2, "--ids needs --entity"),
        (["--service", "http://127.0.0.1:1"], 2, "--service needs --users and --products"),
        (["--token-env", "NAME"], 2, "--token-env needs --service"),
        (["--products", "nowhere.csv"], 1, "no such file"),
        (["--ids", "latin1", "--entity", "product"], 1, "latin1 cannot be read: it is no UTF-8"),
    ],
)
def test_what_cannot_be_verified_is_one_clean_message(arguments: list[str], code: int, message: str) -> None:
    Path("latin1").write_bytes("schön\n".encode("latin-1"))
    result = cli("verify", *arguments)
    assert result.exit_code == code
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_service_that_is_not_there_is_an_error_that_says_what_to_do() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(ServiceUnreachable, match=r"Connection refused\. Start it with `ranker serve`"):
        parity.Service(url).rank("u1", ["p1"])


def test_a_file_that_is_not_there_is_told_before_the_first_check() -> None:
    result = cli("verify", "--users", "users.csv", "--products", "nowhere.csv")
    assert (result.exit_code, result.stdout) == (1, "")


def test_duplicates_are_found_among_any_number_of_ids() -> None:
    ids = [f"p{i}" for i in range(100_000)]
    ids[70_000:70_003] = ["p5", "p5", "p99999"]
    with Duplicates() as duplicates:
        for start in range(0, len(ids), 7_000):
            part = ids[start : start + 7_000]
            duplicates.add(part, np.arange(start, start + len(part)))
        assert duplicates.find().tolist() == [70_000, 70_001, 99_999]


def test_statistics_pass_nan_by() -> None:
    rows = ROWS.copy()
    rows[::3, 1] = np.nan
    rows[:, 2] = np.nan
    parts = Statistics(3)
    for start in range(0, N, 7):
        parts.add(rows[start : start + 7])
    there = rows[~np.isnan(rows[:, 1]), 1].astype(np.float64)
    assert parts.count == N
    assert parts.mean == pytest.approx([ROWS[:, 0].mean(dtype=np.float64), there.mean(), 0])
    assert parts.deviation == pytest.approx([ROWS[:, 0].std(dtype=np.float64), there.std(), 0])
    assert (parts.min[1], parts.max[1]) == (there.min(), there.max())
    written = json.loads(json.dumps(parts.to_json(["a", "b", "c"]), allow_nan=False))
    read = Statistics.from_json(written, ["a", "b", "c"])
    assert read is not None
    assert read.deviation[:2] == pytest.approx(parts.deviation[:2])
    assert np.isnan([read.mean[2], read.min[2], read.max[2]]).all()


def with_nan(place: Path) -> None:
    """Have the schema say that stock may be NaN."""
    declared = SCHEMA.to_metadata()
    declared["product"]["features"] = ["price", {"name": "stock", "missing": "nan"}, "age"]
    (place / "schema.yaml").write_text(yaml.safe_dump(declared))


def test_nan_that_the_schema_expects_is_loaded_and_verified(redis_client: Redis, place: Path) -> None:
    with_nan(place)
    lines = [f"{i},{a!r},{b!r},{c!r}" for i, (a, b, c) in zip(IDS, ROWS.tolist(), strict=True)]
    lines[3:6] = ["p3,1,,2", "p4,1,NaN,2", "p5,1,nan,2"]
    (place / "products.csv").write_text("\n".join(["id,price,stock,age", *lines]) + "\n")
    load()
    assert redis_client.get("product:p3") == encode([[1, np.nan, 2]], SCHEMA.fingerprint)[0]
    findings = verify("--products", "products.csv")
    assert set(statuses(findings).values()) == {"ok"}
    assert findings["product vectors"]["data"] == {"vectors": N, "nan": 3, "unexpected_nan": 0}
    assert findings["product parity"]["data"]["different"] == 0
    redis_client.set("product:p7", encode([[np.nan, 2, 3]], SCHEMA.fingerprint)[0])
    vectors = verify("--all")["product vectors"]
    assert (vectors["status"], vectors["data"]) == ("warn", {"vectors": N, "nan": 4, "unexpected_nan": 1})
    assert "`missing: nan`" in vectors["remedy"]
    # Redis has NaN where the file has a number, and the other way round.
    redis_client.set("product:p8", encode([[ROWS[8, 0], np.nan, ROWS[8, 2]]], SCHEMA.fingerprint)[0])
    redis_client.set("product:p3", encode([[1, 5, 2]], SCHEMA.fingerprint)[0])
    assert verify("--products", "products.csv")["product parity"]["data"]["different"] == 3


def test_feature_without_a_single_number_is_compared_with_nothing(redis_client: Redis, place: Path) -> None:
    with_nan(place)
    (place / "products.csv").write_text("id,price,stock,age\n" + "".join(f"{i},{n},,1\n" for n, i in enumerate(IDS)))
    load()
    assert verify()["product values"]["status"] == "ok"


def test_statistics_do_not_depend_on_the_blocks() -> None:
    whole, parts = Statistics(3), Statistics(3)
    whole.add(ROWS)
    for start in range(0, N, 7):
        parts.add(ROWS[start : start + 7])
    assert parts.mean == pytest.approx(ROWS.mean(axis=0, dtype=np.float64))
    assert parts.deviation == pytest.approx(ROWS.std(axis=0, dtype=np.float64))
    assert whole.deviation == pytest.approx(parts.deviation)
    read = Statistics.from_json(whole.to_json(["a", "b", "c"]), ["a", "b", "c"])
    assert read is not None
    assert read.deviation == pytest.approx(whole.deviation)
    assert Statistics.from_json(whole.to_json(["a", "b", "c"]), ["a", "b", "d"]) is None
