"""Fixtures that every level of tests shares: one real server per session, on a unix socket."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from redis import Redis

from ranker.demo.redis import EmbeddedRedis
from ranker.process import vendor_telemetry
from ranker.process.cores import usable_cores

vendor_telemetry.switch_off()
with warnings.catch_warnings():  # BentoML imports its parts on first use, and they warn
    warnings.simplefilter("ignore")
    import bentoml

    _ = bentoml.SyncHTTPClient, bentoml.AsyncHTTPClient, bentoml.Service, bentoml.models.create

# The machine is shared: how long an example takes says nothing.
hypothesis.settings.register_profile(
    "ranker", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], derandomize=False
)
# A mutant that one run notices and the next does not is no verdict. Which example is the simplest nobody asks.
hypothesis.settings.register_profile(
    "mutants",
    parent=hypothesis.settings.get_profile("ranker"),
    max_examples=40,
    derandomize=True,
    database=None,
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
)
hypothesis.settings.load_profile("ranker")


def pytest_xdist_auto_num_workers() -> int:
    """Two for each core: most tests wait, for servers that start, stop, hang or come back."""
    return 2 * usable_cores()


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
