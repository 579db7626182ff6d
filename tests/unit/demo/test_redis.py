from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from ranker.demo import redis as demo_redis
from ranker.demo.redis import EmbeddedRedis
from ranker.demo.socket_path import MAX_SOCKET_PATH_BYTES
from ranker.errors import EmbeddedRedisFailed

START = """
import sys, time
from pathlib import Path
from ranker.demo.redis import EmbeddedRedis
print(EmbeddedRedis(Path(sys.argv[1])).start(), flush=True)
if "stay" in sys.argv:
    time.sleep(60)
"""


@pytest.fixture
def server(short_path: Path) -> Iterator[EmbeddedRedis]:
    server = EmbeddedRedis(short_path)
    yield server
    server.stop()


def starter(directory: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", START, str(directory), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def process_id(server: EmbeddedRedis) -> int:
    with Redis.from_url(server.url) as client:
        return int(client.info("server")["process_id"])


def test_data_outlives_a_restart(server: EmbeddedRedis) -> None:
    assert server.start()
    with Redis.from_url(server.url) as client:
        client.set("product:1", b"vector")
    assert server.stop()
    assert not server.is_running()
    assert server.start()
    with Redis.from_url(server.url) as client:
        assert client.get("product:1") == b"vector"


def test_sigterm_saves(server: EmbeddedRedis) -> None:
    server.start()
    with Redis.from_url(server.url) as client:
        client.set("product:1", b"vector")
    os.kill(process_id(server), signal.SIGTERM)
    while server.is_running():
        pass
    server.start()
    with Redis.from_url(server.url) as client:
        assert client.get("product:1") == b"vector"


def test_sigterm_ends_a_server_that_cannot_save(server: EmbeddedRedis) -> None:
    server.start()
    with Redis.from_url(server.url) as client:
        client.set("product:1", b"vector")
    (server.directory / "features.rdb").mkdir()
    os.kill(process_id(server), signal.SIGTERM)
    deadline = time.monotonic() + 10
    while server.is_running():
        assert time.monotonic() < deadline


def test_second_start_uses_the_first_ones_server(server: EmbeddedRedis) -> None:
    assert server.start()
    first = process_id(server)
    assert not EmbeddedRedis(server.directory).start()
    assert process_id(server) == first


def test_orphan_of_a_killed_starter_is_used_and_can_be_stopped(server: EmbeddedRedis) -> None:
    with starter(server.directory, "stay") as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "True\n"
        owner.kill()
    orphan = process_id(server)
    assert not server.start()
    assert process_id(server) == orphan
    assert server.stop()
    assert not server.is_running()


def test_simultaneous_starts_give_one_server(server: EmbeddedRedis) -> None:
    starters = [starter(server.directory) for _ in range(4)]
    answers = [process.communicate(timeout=30)[0] for process in starters]
    assert sorted(answers) == ["False\n"] * 3 + ["True\n"]


def test_what_a_killed_server_left_behind_is_no_hindrance(server: EmbeddedRedis) -> None:
    server.start()
    os.kill(process_id(server), signal.SIGKILL)
    while server.is_running():
        pass
    assert server.socket.exists()
    assert (server.directory / "redis.pid").exists()
    assert server.start()
    assert process_id(server) > 0


def test_stopping_where_nothing_runs_is_no_error(short_path: Path) -> None:
    assert not EmbeddedRedis(short_path).stop()
    assert not EmbeddedRedis(short_path / "absent").stop()
    assert not (short_path / "absent").exists()


def test_directory_too_long_for_a_socket_has_it_elsewhere(short_path: Path) -> None:
    server = EmbeddedRedis(short_path / ("x" * MAX_SOCKET_PATH_BYTES) / "with space % and ?")
    try:
        assert server.start()
        assert len(os.fsencode(server.socket)) <= MAX_SOCKET_PATH_BYTES
        assert (server.directory / "redis.sock").resolve() == server.socket
        assert process_id(server) > 0
    finally:
        server.stop()
        server.socket.parent.rmdir()
    assert not (server.directory / "redis.sock").is_symlink()


def test_short_socket_directory_of_somebody_else_is_refused(short_path: Path) -> None:
    server = EmbeddedRedis(short_path / ("y" * MAX_SOCKET_PATH_BYTES))
    server.socket.parent.mkdir(mode=0o755)
    try:
        with pytest.raises(EmbeddedRedisFailed, match="belongs to somebody else"):
            server.start()
    finally:
        server.stop()
        server.socket.parent.rmdir()


def test_path_with_url_characters_is_reached_by_its_url(short_path: Path) -> None:
    server = EmbeddedRedis(short_path / "a b%41?c#d")
    try:
        server.start()
        assert process_id(server) > 0
    finally:
        server.stop()


def test_server_that_cannot_start_says_why(server: EmbeddedRedis) -> None:
    (server.directory / "features.rdb").write_bytes(b"no saved data at all")
    with pytest.raises(EmbeddedRedisFailed, match="Wrong signature"):
        server.start()


def test_server_that_hangs_is_killed(server: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    server.start()
    hung = process_id(server)
    os.kill(hung, signal.SIGSTOP)
    monkeypatch.setattr(demo_redis, "ANSWER_TIMEOUT_S", 0.1)
    monkeypatch.setattr(demo_redis, "STOP_TIMEOUT_S", 0.3)
    try:
        assert server.stop()
    except BaseException:
        os.kill(hung, signal.SIGCONT)
        raise
    assert not server.is_running()


def test_process_that_only_has_the_number_is_never_killed(
    server: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.start()
    hung = process_id(server)
    with subprocess.Popen(["sleep", "60"], cwd="/") as bystander:
        (server.directory / "redis.pid").write_text(str(bystander.pid))
        os.kill(hung, signal.SIGSTOP)
        monkeypatch.setattr(demo_redis, "ANSWER_TIMEOUT_S", 0.1)
        monkeypatch.setattr(demo_redis, "STOP_TIMEOUT_S", 0.3)
        try:
            with pytest.raises(EmbeddedRedisFailed, match="neither answers nor ends"):
                server.stop()
            assert bystander.poll() is None
        finally:
            os.kill(hung, signal.SIGCONT)
            bystander.kill()
    monkeypatch.undo()


def test_server_runs_within_the_block_and_not_after(server: EmbeddedRedis) -> None:
    with server.running() as started:
        assert started
        assert server.is_running()
    assert not server.is_running()


def test_server_is_not_stopped_under_another_user(server: EmbeddedRedis) -> None:
    with EmbeddedRedis(server.directory).running():
        with EmbeddedRedis(server.directory).running() as started:
            assert not started
        assert server.is_running()
    assert not server.is_running()


def test_kept_server_outlives_its_block(server: EmbeddedRedis) -> None:
    with server.running(keep=True):
        pass
    assert server.is_running()


def test_server_is_stopped_when_the_block_fails(server: EmbeddedRedis) -> None:
    with pytest.raises(KeyError), server.running():
        raise KeyError
    assert not server.is_running()
