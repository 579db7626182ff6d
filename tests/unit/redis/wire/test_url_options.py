"""A Redis URL that cannot be used is told at the start, by option and file, without its password."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic

import pytest
import trustme
from redis import Redis

from ranker.doctor.examination import Examination
from ranker.errors import InvalidSettings, StoreUnavailable, UnusableUrl
from ranker.redis.clients import close_async, connect, connect_async
from ranker.redis.connection import RedisConnections
from ranker.redis.wire.url_options import find_problem
from ranker.serving.preflight import check_redis
from ranker.settings.environment import Settings
from tests.support.sample import run

SECRET = "hunter2"
KINDS = ["rediss://:hunter2@127.0.0.1:1/0", "rediss+cluster://:hunter2@127.0.0.1:1", "rediss+sentinel://:hunter2@h:1/s"]


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    file = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(file))
    return file


@pytest.mark.parametrize("url", KINDS)
@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("foo=1", "does not take (foo)"),
        *(
            (f"{name}=x", f"does not take ({name})")
            for name in ("parser_class", "redis_connect_func", "credential_provider")
        ),
        ("retry_on_error=x", "does not take (retry_on_error)"),
        ("socket_timeout=soon", "does not take, or a value of one"),
        ("ssl_cert_reqs=perhaps", "does not take, or a value of one"),
        ("ssl_ca_certs=/nonexist", "cannot be read: ssl_ca_certs=/nonexist (No such file or directory)"),
        ("ssl_certfile=/nonexist&ssl_keyfile=/nonexist", "cannot be read: ssl_certfile=/nonexist"),
        ("ssl_ca_certs={garbage}", "has TLS options or files that cannot be used"),
        ("ssl_certfile={ca}&ssl_keyfile={ca}", "has TLS options or files that cannot be used"),
    ],
)
def test_option_or_file_is_named_with_a_remedy_and_without_the_password(
    authority: Path, tmp_path: Path, url: str, query: str, said: str
) -> None:
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("no certificate")
    asked = f"{url}?{query.format(ca=authority, garbage=garbage)}"
    told = find_problem(asked) or ""
    assert said in told
    assert SECRET not in told
    assert "; " in told  # what to do
    with pytest.raises(InvalidSettings, match=r"RANKER_REDIS_URL (has|names)"):
        check_redis(Settings(redis_url=asked))
    with pytest.raises(UnusableUrl):
        connect(asked)


@pytest.mark.parametrize("url", KINDS)
def test_usable_url_has_no_problem(authority: Path, url: str) -> None:
    assert find_problem(f"{url}?ssl_ca_certs={authority}&socket_timeout=1") is None


@pytest.mark.parametrize("query", ["ter2@h/0", "ter2=x@h/0", "ssl_ca_certs=ter2@h/0"])
def test_password_with_a_question_mark_in_it_is_not_quoted(query: str) -> None:
    told = find_problem(f"redis://:hun?{query}") or ""
    assert told
    assert "ter2" not in told


@asynccontextmanager
async def silent() -> AsyncIterator[int]:
    """A server that says nothing, as a Redis without TLS to a handshake; yield its port."""

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1 << 16):
            pass
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.mark.parametrize("scheme", ["rediss", "rediss+cluster"])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_server_without_tls_is_told_within_seconds(
    monkeypatch: pytest.MonkeyPatch, scheme: str, asynchronous: bool
) -> None:
    async def test() -> None:
        async with silent() as port:
            url = f"{scheme}://127.0.0.1:{port}"
            began = monotonic()
            connecting = connect_async(url) if asynchronous else asyncio.to_thread(connect, url)
            with pytest.raises(StoreUnavailable, match="does not speak TLS waits like this: use redis://"):
                await connecting
            assert monotonic() - began < 10

    run(test, 40)


def test_doctor_names_the_option() -> None:
    findings = list(
        Examination({"RANKER_REDIS_URL": "redis://:hunter2@127.0.0.1:1/0?foo=1"}, Path("/nowhere")).findings()
    )
    (found,) = [finding for finding in findings if finding.check == "redis"]
    assert "does not take (foo)" in found.seen
    assert SECRET not in found.seen + found.remedy


@pytest.mark.parametrize("option", ["decode_responses=yes", "encoding=utf-16", "protocol=3", "legacy_responses=no"])
def test_replies_are_the_same_whatever_the_url_says(redis_url: str, redis_client: Redis, option: str) -> None:
    url = f"{redis_url}?{option}"
    value = bytes(range(256))
    redis_client.set("product:\u00e4", value)

    async def served() -> list[bytes | None]:
        connections = RedisConnections(url, size=1, timeout_s=5.0)
        try:
            return await connections.mget(["product:\u00e4"])
        finally:
            await connections.close()

    async def asked() -> object:
        client = await connect_async(url)
        try:
            return await client.get("product:\u00e4")
        finally:
            await close_async(client)

    assert run(served) == [value]
    assert run(asked) == value
    with connect(url) as client:
        assert client.get("product:\u00e4") == value
    checks = {found.check: found for found in Examination({"RANKER_REDIS_URL": url}, Path("/nowhere")).findings()}
    assert {check: checks[check].status for check in ("redis", "server", "eviction")} == dict.fromkeys(
        ("redis", "server", "eviction"), "ok"
    )
