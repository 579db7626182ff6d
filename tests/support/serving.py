"""A worker that serves a stored model, and its runner where it has one, in the test's own process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from ranker.scoring.registry import find_model, load_model
from ranker.serving.runner import Runner, WaysToScores
from ranker.serving.worker import Worker
from ranker.settings.environment import Settings
from tests.support.sample import eventually


@asynccontextmanager
async def started(worker: Worker) -> AsyncIterator[Worker]:
    """A worker that is ready within the block, and stopped behind it."""
    worker.start()
    try:
        await eventually(lambda: worker.ready, 20)
        yield worker
    finally:
        await worker.stop()


@asynccontextmanager
async def serving(tag: str, shape: str, url: str, path: Path, **given: object) -> AsyncIterator[Worker]:
    """A worker that is ready, and its runner, as the service puts them together."""
    settings = Settings.model_validate({"redis_url": url, "runner": shape, "deadline_ms": 10_000, "model": tag} | given)
    stored, socket = find_model(tag), f"file://{path}/runner.sock"
    runner = Runner({"model": load_model(stored)}, settings) if shape == "service" else None
    if runner is not None:
        await runner.open(socket)
    ways = WaysToScores(settings, socket if runner else None, lambda: None)
    try:
        async with started(Worker(settings, ways.served("model", stored))) as worker:
            yield worker
    finally:
        for channel in ways._channels.values():
            channel.close()
        if runner is not None:
            await runner.close()
