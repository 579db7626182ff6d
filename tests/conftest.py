"""Fixtures that every level of tests shares: one real server per session, on a unix socket."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from ranker.demo.redis import EmbeddedRedis


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory like tmp_path, with a path short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="ranker-", dir="/tmp") as name:
        yield Path(name)


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """The URL of a server that belongs to this session alone."""
    with tempfile.TemporaryDirectory(prefix="ranker-", dir="/tmp") as name:
        server = EmbeddedRedis(Path(name))
        server.start()
        yield server.url
        server.stop()


@pytest.fixture
def redis_client(redis_url: str) -> Iterator[Redis]:
    """A client of the session's server, emptied before the test."""
    with Redis.from_url(redis_url) as client:
        client.flushall()
        yield client
