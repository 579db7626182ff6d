"""What tests share: a small schema, and how to write its vectors."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import yaml

from ranker.errors import StoreUnavailable
from ranker.ranking.gathering import FeatureStore
from ranker.vectors.schema import FeatureSchema
from ranker.vectors.stored.encoding import encode

T = TypeVar("T")

SCHEMA = FeatureSchema.from_mapping(
    {
        "user": {"features": ["age", {"name": "spend", "default": 1.5}]},
        "product": {"features": ["price", {"name": "stock", "default": 7}, "age"]},
    }
)


def user_vector(value: float) -> bytes:
    return encode(np.full((1, SCHEMA.user.width), value), SCHEMA.fingerprint)[0]


def product_vector(value: float) -> bytes:
    return encode(np.full((1, SCHEMA.product.width), value), SCHEMA.fingerprint)[0]


def enter(folder: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands run in a folder with the schema in schema.yaml, and find a server."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("RANKER_REDIS_URL", redis_url)
    (folder / "schema.yaml").write_text(yaml.safe_dump(SCHEMA.to_metadata()))


GRACE_S = 0.01
"""In which connections that are being hung up, by TLS above all, are gone, so that none is garbage of a later test."""


def run(test: Callable[[], Awaitable[T]], seconds: float = 20.0) -> T:
    """Run an async test within a bound."""

    async def bounded() -> T:
        async with asyncio.timeout(seconds):
            found = await test()
        await asyncio.sleep(GRACE_S)
        return found

    return asyncio.run(bounded())


@contextmanager
def without_collector() -> Iterator[None]:
    """Have no garbage collected: what is gone within the block, nothing refers to any more."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def eventually(holds: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110  # what is waited for sets no event
            await asyncio.sleep(0.005)


async def answering(store: FeatureStore) -> None:
    """Wait until Redis no longer counts as down."""

    def passes() -> bool:
        with suppress(StoreUnavailable):
            store.raise_if_down()
            return True
        return False

    await eventually(passes)
