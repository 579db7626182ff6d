"""What makes connections, and what that must not cost."""

from __future__ import annotations

from importlib import metadata

import pytest

from ranker.redis.pools import make_pool


@pytest.mark.parametrize(
    "url", ["redis://h", "rediss://h", "unix:///s", "redis+cluster://h", "redis+sentinel://h/shop"]
)
def test_connection_is_made_without_parsing_redis_pys_metadata(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = make_pool(url, protocol=2)

    def version(name: str) -> str:
        raise AssertionError(f"the metadata of {name} was parsed")

    monkeypatch.setattr(metadata, "version", version)
    pool.make_connection()
