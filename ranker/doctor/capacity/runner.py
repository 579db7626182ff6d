"""Runner thread: the runner's end of the channel, `ChannelServer` with the model, as the runner service has it."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ranker.scoring.loaded import LoadedModel
from ranker.serving.runner import make_channel_server, make_scorer

START_S = 5.0


@contextmanager
def running(model: LoadedModel, max_rows: int) -> Iterator[Path]:
    """Score within the block for callers of the socket it gets.

    Raises:
        TimeoutError: it did not start.
    """
    with tempfile.TemporaryDirectory(prefix="ranker-") as directory:
        path = Path(directory) / "runner.rows"
        ready, loop = threading.Event(), asyncio.new_event_loop()
        stop = asyncio.Event()

        async def serve() -> None:
            scorer = make_scorer("model", model)
            server = make_channel_server(scorer, model, max_rows)
            await server.open(path)
            ready.set()
            await stop.wait()
            await server.close()
            await asyncio.sleep(0)  # a turn in which the connections end
            scorer.close()

        thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), name="runner", daemon=True)
        thread.start()
        try:
            if not ready.wait(START_S):
                raise TimeoutError("the runner's thread did not start")
            yield path
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join(START_S)
            if not thread.is_alive():
                loop.close()
