"""`ranker features migrate`: in place, under load and concurrent writes, back and forth, never over something newer."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from redis import Redis
from redis import asyncio as redis_asyncio

from ranker.cli.features.group import features
from ranker.errors import CorruptVector
from ranker.features.near_cache.cache import CachedStore
from ranker.features.store import RedisStore
from ranker.features.uncached import UncachedStore
from ranker.ranking.gathering import FeatureStore
from ranker.redis.clients import connect
from ranker.redis.connection import RedisConnections
from ranker.redis.invalidation import Tracking
from ranker.upkeep.forms import Converter, form_of
from ranker.upkeep.migrate import Migrated, migrate
from ranker.vectors.rows import ProductId, UserId
from ranker.vectors.stored.decoding import RowDecoder
from ranker.vectors.stored.encoding import encode
from tests.support.sample import SCHEMA, enter, run

KEYS = int(os.environ.get("MIGRATION_TEST_KEYS", "5000"))
"""100,000 is the size that is claimed; it takes half a minute."""
DECODER = RowDecoder(SCHEMA.product.width, SCHEMA.fingerprint)


class Shop:
    """Products whose vectors tell their id and their version, and writers that still write JSON."""

    def __init__(self, n: int) -> None:
        self.written = [0] * n
        """The version of each that Redis has acknowledged."""
        self.begun = [0] * n
        """The version of each that is on its way, or written."""

    @staticmethod
    def value(i: int, version: int) -> bytes:
        row = [float(i), float(version), i + version / 3]
        forms = (json.dumps(row), json.dumps(json.dumps(row)), encode([row], SCHEMA.fingerprint)[0])
        form = forms[(i + version) % 3]
        return form.encode() if isinstance(form, str) else form

    def fill(self, client: Redis) -> None:
        pipeline = client.pipeline(transaction=False)
        for i in range(len(self.written)):
            pipeline.set(f"product:{i}", self.value(i, 0), px=3_600_000 if i % 10 == 0 else None)
        pipeline.execute()

    async def write(self, client: redis_asyncio.Redis, stop: asyncio.Event, part: int) -> None:
        """Write new versions of every second product, one after the other."""
        mine = range(part, len(self.written), 2)
        while not stop.is_set():
            i = random.choice(mine)
            self.begun[i] += 1
            await client.set(f"product:{i}", self.value(i, self.begun[i]), keepttl=True)
            self.written[i] = self.begun[i]

    async def read(self, store: FeatureStore, stop: asyncio.Event, *, fresh: bool) -> int:
        """Read random products, and check each answer; return how many rows were read."""
        n = 0
        while not stop.is_set():
            chosen = random.sample(range(len(self.written)), 100)
            before = [self.written[i] for i in chosen]
            got = await store.fetch(UserId("u"), [ProductId(str(i)) for i in chosen])
            after = [self.begun[i] for i in chosen]
            assert got.products.complete
            for i, low, high, row in zip(chosen, before, after, got.products.values, strict=True):
                assert row[0] == i
                assert (low if fresh else 0) <= row[1] <= high
                assert row[2] == np.float32(i + int(row[1]) / 3)
            n += len(chosen)
        return n

    def check(self, client: Redis) -> None:
        """Check that Redis holds the last version of each, and that times to live are what they were."""
        names = [f"product:{i}" for i in range(len(self.written))]
        rows = DECODER.decode(client.mget(names))
        assert rows.complete
        assert rows.values[:, 1].tolist() == self.written
        pipeline = client.pipeline(transaction=False)
        for name in names:
            pipeline.pttl(name)
        assert [ttl > 0 for ttl in pipeline.execute()] == [i % 10 == 0 for i in range(len(names))]


def plain(url: str) -> FeatureStore:
    return UncachedStore(RedisStore(RedisConnections(url, size=2, timeout_s=20.0), SCHEMA), SCHEMA)


def cached(url: str) -> FeatureStore:
    return CachedStore(
        RedisStore(RedisConnections(url, size=2, timeout_s=20.0), SCHEMA),
        SCHEMA,
        size_bytes=4 << 20,
        ttl_s=300.0,
        user_ttl_s=10.0,
        tracking="on",
        make_tracking=lambda prefixes, cache, refused: Tracking(url, prefixes, cache, refused, timeout_s=20.0),
    )


def migrated(url: str, to: Any = "binary", pattern: str = "product:*", rate: float | None = None) -> Migrated:
    client = connect(url)
    try:
        return migrate(client, pattern, Converter(SCHEMA, SCHEMA.product, to), rate, lambda _: lambda _: None)
    finally:
        client.close()


@pytest.mark.timeout(600)
@pytest.mark.slow
def test_migration_under_load_and_concurrent_writes_keeps_every_answer_right(
    redis_client: Redis, redis_url: str
) -> None:
    shop = Shop(KEYS)
    shop.fill(redis_client)
    redis_client.set("user:u", encode([[1, 2]], SCHEMA.fingerprint)[0])

    async def test() -> tuple[Migrated, int]:
        stop = asyncio.Event()
        stores = [plain(redis_url), cached(redis_url)]
        async with redis_asyncio.Redis.from_url(redis_url) as client:
            for store in stores:
                await store.open()
            writers = [asyncio.create_task(shop.write(client, stop, part)) for part in range(2)]
            readers = [
                asyncio.create_task(shop.read(store, stop, fresh=fresh))
                for store, fresh in zip(stores, (True, False), strict=True)
            ]
            # Held back a little, for all of them share one interpreter.
            result = await asyncio.to_thread(migrated, redis_url, rate=4000)
            stop.set()
            await asyncio.gather(*writers)
            rows = await asyncio.gather(*readers)
            for store in stores:
                await store.close()
        return result, sum(rows)

    result, rows_read = run(test, seconds=580)
    assert rows_read > 0
    assert sum(shop.written) > 0
    # A key that SCAN gives twice is counted twice.
    assert result.seen >= KEYS
    assert result.done > KEYS / 2
    assert result.refused == {}
    shop.check(redis_client)
    again = migrated(redis_url)
    assert again.changed == 0
    shop.check(redis_client)
    assert {form_of(v) for v in redis_client.mget([f"product:{i}" for i in range(KEYS)]) if v} == {"binary"}
    print(f"\n{KEYS:,} keys: {result}\n{rows_read:,} rows read, {sum(shop.written):,} writes")


class Meddler(Converter):
    """Lets somebody else write each key between reading and replacing it."""

    def __init__(self, client: Redis, newer: bytes) -> None:
        super().__init__(SCHEMA, SCHEMA.product, "binary")
        self._client, self._newer = client, newer

    def convert(self, value: bytes) -> bytes:
        converted = super().convert(value)
        self._client.set("product:a", self._newer)
        return converted


@contextmanager
def user(client: Redis, url: str, *rules: str) -> Iterator[str]:
    """A user with fewer rights; yields the URL for it."""
    client.execute_command("ACL", "SETUSER", "few", "on", ">secret", "~*", "&*", "+@all", *rules)
    yield f"{url}?username=few&password=secret"
    client.execute_command("ACL", "DELUSER", "few")


@pytest.mark.parametrize("rules", [(), ("-@scripting",)], ids=["script", "watch"])
def test_value_written_in_between_is_never_overwritten(
    redis_client: Redis, redis_url: str, rules: tuple[str, ...]
) -> None:
    newer = b"[7, 8, 9]"
    with user(redis_client, redis_url, *rules) as url:
        redis_client.set("product:a", b"[1, 2, 3]", px=50_000)
        client = connect(url)
        result = migrate(client, "product:*", Meddler(redis_client, newer), None, lambda _: lambda _: None)
        client.close()
        assert (result.done, result.changed) == (0, 1)
        assert redis_client.get("product:a") == newer

        redis_client.set("product:a", b"[1, 2, 3]", px=50_000)
        assert migrated(url).done == 1
        assert redis_client.get("product:a") == encode([[1, 2, 3]], SCHEMA.fingerprint)[0]
        assert 0 < redis_client.pttl("product:a") <= 50_000


def test_migration_goes_back_and_forth_bit_for_bit(redis_client: Redis, redis_url: str) -> None:
    random_bits = np.random.default_rng(4).integers(0, 2**32, size=(2000, 3), dtype=np.uint32).view(np.float32)
    random_bits[~np.isfinite(random_bits)] = 0.1
    special = np.array([[0.0, -0.0, 1e-45], [np.nan, 65504, -65504], [3.4028235e38, 16777217, 1 / 3]], np.float32)
    rows = np.concatenate([special, random_bits])
    vectors = encode(rows, SCHEMA.fingerprint)
    names = [f"product:{i}" for i in range(len(rows))]
    redis_client.mset(dict(zip(names, vectors, strict=True)))
    for to in ("json", "json-in-json", "binary"):
        assert migrated(redis_url, to).done == len(rows)
        values = redis_client.mget(names)
        assert {form_of(value) for value in values if value} == {to}
        assert (DECODER.decode(values).values.view(np.uint32) == rows.view(np.uint32)).all()
        assert migrated(redis_url, to).already == len(rows)
    assert redis_client.mget(names) == vectors


def test_what_is_no_vector_of_this_schema_is_left_alone_and_named(redis_client: Redis, redis_url: str) -> None:
    left = {
        "product:short": b"[1, 2]",
        "product:text": b"hello",
        "product:infinite": b"[1, 2, Infinity]",
        "product:other": encode([[1, 2, 3]], SCHEMA.fingerprint ^ 1)[0],
        "product:half": encode([[1, 2, 3]], SCHEMA.fingerprint, "float16")[0],
    }
    redis_client.mset(left)
    redis_client.hset("product:hash", "price", "1")
    redis_client.set("product:good", b"[1, 2, 3]")
    redis_client.set("elsewhere:json", b"[1, 2, 3]")
    result = migrated(redis_url)
    assert (result.seen, result.done, result.already, result.gone, sum(result.refused.values())) == (7, 1, 2, 1, 3)
    assert {key: redis_client.get(key) for key in left} == left
    assert redis_client.get("elsewhere:json") == b"[1, 2, 3]"
    assert any("product:short" in example for example in result.examples)


def test_rewriting_that_would_change_a_number_is_refused() -> None:
    class Careless(Converter):
        def _text(self, row: np.ndarray) -> bytes:
            return super()._text(row + 1)

    with pytest.raises(CorruptVector, match="not be the same"):
        Careless(SCHEMA, SCHEMA.product, "json").convert(encode([[1, 2, 3]], SCHEMA.fingerprint)[0])


def test_interrupted_migration_goes_on(redis_client: Redis, redis_url: str) -> None:
    shop = Shop(1000)
    shop.fill(redis_client)
    before = sum(
        form_of(value) == "binary" for value in redis_client.mget([f"product:{i}" for i in range(1000)]) if value
    )

    class Interrupted(Converter):
        left = 300

        def convert(self, value: bytes) -> bytes:
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt
            return super().convert(value)

    client = connect(redis_url)
    with pytest.raises(KeyboardInterrupt):
        migrate(client, "product:*", Interrupted(SCHEMA, SCHEMA.product, "binary"), None, lambda _: lambda _: None)
    client.close()
    result = migrated(redis_url)
    assert before < result.already < 1000
    assert result.done + result.already == 1000
    shop.check(redis_client)


@pytest.fixture
def place(tmp_path: Path, redis_client: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    enter(tmp_path, redis_url, monkeypatch)
    return tmp_path


def cli(*arguments: str) -> Result:
    return CliRunner().invoke(features, ["migrate", *arguments, "--model", "schema.yaml"])


def test_keys_of_one_entity_are_never_rewritten_as_anothers(place: Path, redis_client: Redis) -> None:
    redis_client.set("user:u", b"[1, 2, 3]")  # as wide as a product
    done = cli("--from-pattern", "user:*", "--entity", "product")
    assert done.stdout.startswith("0 of 0 keys rewritten"), done.output
    assert redis_client.get("user:u") == b"[1, 2, 3]"
    redis_client.set("elsewhere:p", b"[1, 2, 3]")
    assert cli("--from-pattern", "elsewhere:*", "--entity", "product").stdout.startswith("1 of 1 keys rewritten")


def test_dry_run_writes_nothing_and_tells_what_would_be_saved(place: Path, redis_client: Redis) -> None:
    row = json.dumps([0.123456789012345] * 3)
    redis_client.mset({f"product:{i}": json.dumps(row) for i in range(300)})
    redis_client.set("product:bad", b"[1]")
    before = {key: redis_client.get(key) for key in redis_client.scan_iter()}
    result = cli("--from-pattern", "product:*", "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    savings = json.loads(result.stdout)
    assert (savings["sampled"], savings["to_rewrite"], savings["forms"]) == (301, 300, {"json-in-json": 300, "json": 1})
    assert sum(savings["refused"].values()) == 1
    assert savings["bytes_before"] - savings["bytes_after"] == pytest.approx(len(json.dumps(row)) - 20)
    assert savings["decode_before_us"] > savings["decode_after_us"] > 0
    assert {key: redis_client.get(key) for key in redis_client.scan_iter()} == before
    shown = cli("--entity", "product", "--dry-run", "--sample", "100").stdout
    assert "100 of 100 keys looked at" in shown or "99 of 100 keys looked at" in shown
    assert "% less)" in shown


def test_dry_run_does_without_what_redis_does_not_tell(
    place: Path, redis_url: str, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis_client.set("product:p", "[1, 2, 3]")
    redis_client.acl_setuser("shy", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-memory"])
    monkeypatch.setenv("RANKER_REDIS_URL", redis_url.replace("://", "://shy:any@"))
    try:
        done = cli("--entity", "product", "--dry-run")
        assert (done.exit_code, done.exception) == (0, None)
        assert "Memory of a key  Redis does not tell (MEMORY USAGE)" in done.stdout
        assert json.loads(cli("--entity", "product", "--dry-run", "--json").stdout)["bytes_before"] is None
    finally:
        redis_client.acl_deluser("shy")


def test_dry_run_says_how_much_more_short_texts_take_as_binary(place: Path, redis_client: Redis) -> None:
    redis_client.mset({f"product:{i}": b"[1,2,3]" for i in range(20)})
    shown = cli("--entity", "product", "--dry-run").stdout
    assert re.search(r"Memory of a key +\d+ → \d+ bytes \(\d+ % more\)", shown), shown


def test_migration_from_the_command_line(place: Path, redis_client: Redis) -> None:
    redis_client.mset({"product:a": b"[1, 2, 3]", "product:b": b'"[1, 2, 3]"', "user:u": b"[1, 2]"})
    result = cli("--from-pattern", "product:*")
    assert (result.exit_code, "2 of 2 keys rewritten as binary" in result.stdout) == (0, True), result.output
    assert redis_client.mget("product:a", "product:b") == encode([[1, 2, 3]], SCHEMA.fingerprint) * 2
    assert redis_client.get("user:u") == b"[1, 2]"
    assert json.loads(cli("--entity", "user", "--json").stdout)["done"] == 1
    redis_client.set("product:c", b"[1]")
    result = cli("--from-pattern", "product:*")
    assert result.exit_code == 1
    assert "1 left alone: The vector has 1 values" in result.stdout
    assert "product:c" in result.stdout


@pytest.mark.parametrize("value", [b"[1, 16777217, 3]", b'"[1, 16777217.0, 3]"', b"[1, 9007199254740993, 0.5]"])
def test_json_whose_whole_number_would_be_gone_is_left_alone_unless_that_is_allowed(
    place: Path, redis_client: Redis, value: bytes
) -> None:
    same = [b"[1, 16777218, 0.1]", b"[1, 1e20, 0.1]", b"[1, -16777216, 0.1]", b"[NaN, 2, 3]"]
    keys = {f"product:{i}": text for i, text in enumerate(same)}
    redis_client.mset(keys | {"product:rounded": value})
    command = ["--entity", "product", "--json"]
    result = cli(*command)
    assert (result.exit_code, json.loads(result.stdout)["done"]) == (1, len(same))
    (reason,) = json.loads(result.stdout)["refused"]
    assert reason.startswith("Its stock is a whole number that is not the same in float32")
    assert redis_client.get("product:rounded") == value
    result = cli(*command, "--allow-rounding")
    assert (result.exit_code, json.loads(result.stdout)["done"]) == (0, 1)


def test_pattern_that_names_nobodys_keys_needs_the_entity(place: Path) -> None:
    result = cli("--from-pattern", "*")
    assert result.exit_code == 1
    assert "--entity" in result.stderr
    assert cli().exit_code == 2


def test_load_records_are_not_taken_for_vectors(place: Path, redis_client: Redis, redis_url: str) -> None:
    redis_client.set("ranker:load:00000000:product", b"{}")
    redis_client.set("product:a", b"[1, 2, 3]")
    assert migrated(redis_url, pattern="*").seen == 1
