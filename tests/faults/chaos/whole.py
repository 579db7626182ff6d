"""Whether every API worker is as it was before the trouble: asked one by one, and by what it says of itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import aiohttp
import psutil
from prometheus_client.parser import text_string_to_metric_families
from redis.exceptions import RedisError

from tests.faults.chaos.pair import Pair
from tests.faults.chaos.troubles import WORKER, processes

REACH_TRIES = 200
"""Connections that are opened, at most, until each worker has taken one."""
ANSWER_S = 5.0


class Workers:
    """The API workers of a served service.

    Args:
        url: The service's.
        supervisor: The process id of `bentoml serve`.
        count: How many there should be.
        pair: What they read and listen to.
    """

    def __init__(self, url: str, supervisor: int, count: int, pair: Pair) -> None:
        self._url = url
        self._supervisor = supervisor
        self._count = count
        self._pair = pair

    def living(self) -> list[psutil.Process]:
        return [process for name, process in processes(self._supervisor) if name == WORKER]

    async def whole(self, patience_s: float) -> list[str]:
        """Wait until nothing is missing; return what still is when patience ends."""
        return await _within(patience_s, self._complaints)

    async def replaced(self, patience_s: float) -> AsyncIterator[float]:
        """Kill the workers, and yield when; each has a successor before the next one dies.

        Raises:
            TimeoutError: Those that came are not whole.
        """
        for worker in self.living():
            worker.kill()
            yield time.monotonic()
            await asyncio.to_thread(worker.wait, ANSWER_S)
            await _within(patience_s, self._unready)
        if complaints := await self.whole(patience_s):
            raise TimeoutError(f"workers that were replaced are not whole: {complaints}")

    async def _complaints(self) -> list[str]:
        said = await self._metrics()
        serving, spare = await asyncio.to_thread(self._pair.tracking)
        return await self._unready() + _different(
            {
                "ranker_cache_keeping": (said.get("ranker_cache_keeping"), self._count),
                "ranker_redis_breaker_open": (said.get("ranker_redis_breaker_open"), 0),
                "listeners to the server that serves": (serving, self._count),
                "listeners to the other server": (spare, 0),
            }
        )

    async def _unready(self) -> list[str]:
        ready = await self._ready()
        return _different(
            {
                "workers": (len(ready), self._count),
                "workers that are ready": (list(ready.values()).count(200), self._count),
            }
        )

    async def _metrics(self) -> dict[str, float]:
        """Return what all workers say together; their gauges are sums over those that live."""
        timeout = aiohttp.ClientTimeout(total=ANSWER_S)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(f"{self._url}/metrics") as response:
            return samples(await response.text())

    async def _ready(self) -> dict[int, int]:
        """Return what each worker, by process id, answers to /readyz; 0 for one that takes no connection."""
        workers = self.living()
        answers = {worker.pid: 0 for worker in workers}
        port = int(self._url.rsplit(":", 1)[1])
        async with AsyncExitStack() as stack:
            for _ in range(REACH_TRIES):
                waiting = [worker for worker in workers if not answers[worker.pid]]
                if not waiting:
                    break
                # Kept until the end, so that who has taken one is not the only one to be idle.
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                stack.callback(writer.close)
                own = writer.get_extra_info("sockname")[1]
                await asyncio.sleep(0.005)
                for worker in waiting:
                    if any(each.raddr and each.raddr.port == own for each in worker.net_connections("tcp")):
                        answers[worker.pid] = await asyncio.wait_for(_status(reader, writer), ANSWER_S)
        return answers


async def _within(patience_s: float, ask: Callable[[], Awaitable[list[str]]]) -> list[str]:
    """Ask until there are no complaints; return those that are left when patience ends."""
    end = time.monotonic() + patience_s
    while True:
        try:
            complaints = await ask()
        except (aiohttp.ClientError, TimeoutError, OSError, RedisError, psutil.Error) as err:
            complaints = [f"{type(err).__name__}: {err}"]
        if not complaints or time.monotonic() > end:
            return complaints
        await asyncio.sleep(0.2)


def _different(found: dict[str, tuple[object, object]]) -> list[str]:
    return [f"{what}: {is_now}, not {should}" for what, (is_now, should) in found.items() if is_now != should]


async def _status(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
    writer.write(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
    return int((await reader.readline()).split()[1])


def samples(exposition: str) -> dict[str, float]:
    """Return the values of metrics without labels, by name."""
    families = text_string_to_metric_families(exposition)
    return {sample.name: sample.value for family in families for sample in family.samples if not sample.labels}
