"""The troubles: each strikes when its block is entered and is over when it is left."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random

import psutil
from redis.exceptions import RedisError

from tests.faults.chaos.pair import USER, Pair
from tests.support.proxy import HEALTHY, Fault, FaultProxy, Side
from tests.support.redis_process import Server
from tests.support.tls import Authority

WORKER, RUNNER = "ranker", "ranker_runner"
ENDLESS = "while true do end"
LONG_S = 4.0
"""What lags is twice as late as promised only after a while."""
LAGGING_BYTES_PER_S = 500.0
"""A quarter of what `run.WRITES_PER_S` has a server announce."""
ODD: dict[Side, tuple[bytes, ...]] = {
    "reading": (b"-MOVED\r\n", b"-ASK\r\n", b">0\r\n", b"-\r\n", b"%1\r\n*0\r\n+x\r\n", b"~1\r\n*0\r\n", b"(x\r\n"),
    "listening": (
        b">0\r\n",
        b">1\r\n$10\r\ninvalidate\r\n",
        b">2\r\n$10\r\ninvalidate\r\n:7\r\n",
        b"-MOVED\r\n",
        b"%1\r\n*0\r\n+x\r\n",
        b"\xff\xff\xff",
    ),
}
"""What no server says, and what redis-py raises ValueError, IndexError or TypeError at."""
EVERY_S = 0.2
"""Odd words are said this often."""


@dataclass
class Scene:
    """What can be hurt.

    Attributes:
        authority: Whom the service trusts, where it speaks TLS.
        service: The process id of `bentoml serve`.
        kills: When API workers were killed, by `time.monotonic()`: their callers lose answers.
    """

    pair: Pair
    proxy: FaultProxy
    service: int
    random: Random
    authority: Authority | None = None
    kills: list[float] = field(default_factory=list)

    @property
    def server(self) -> Server:
        return self.pair.serving


Trouble = Callable[[Scene], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def redis_killed(scene: Scene) -> AsyncIterator[None]:
    scene.server.kill()
    yield
    await asyncio.to_thread(scene.server.start)
    scene.pair.allow_user(scene.server)


@asynccontextmanager
async def redis_suspended(scene: Scene) -> AsyncIterator[None]:
    scene.server.suspend()
    yield
    scene.server.resume()


@asynccontextmanager
async def busy_script(scene: Scene) -> AsyncIterator[None]:
    with scene.server.client(timeout_s=60) as victim, scene.server.client() as admin:
        await asyncio.to_thread(admin.config_set, "busy-reply-threshold", 10)
        script = asyncio.create_task(asyncio.to_thread(victim.eval, ENDLESS, 0))
        yield
        await asyncio.to_thread(admin.script_kill)
        with suppress(RedisError):  # what a killed script gets
            await script


@asynccontextmanager
async def rights_revoked(scene: Scene) -> AsyncIterator[None]:
    with scene.server.client() as admin:
        admin.execute_command("ACL", "SETUSER", USER, "-mget", "-client|tracking", "off")
        for client in admin.client_list():
            if client["user"] == USER:
                admin.client_kill_filter(_id=client["id"])
        yield
        scene.pair.allow_user(scene.server)


@asynccontextmanager
async def wire(scene: Scene, fault: Fault, *, cut: bool = False, least_s: float = 0.0) -> AsyncIterator[None]:
    scene.proxy.fault = fault
    if cut:
        scene.proxy.cut(fault.on)
    await asyncio.sleep(least_s)
    yield
    scene.proxy.fault = HEALTHY


@asynccontextmanager
async def connections_cut(scene: Scene, on: Side = "all") -> AsyncIterator[None]:
    scene.proxy.cut(on)
    yield


@asynccontextmanager
async def odd_replies(scene: Scene, on: Side, *, refused_s: float | None = None) -> AsyncIterator[None]:
    """Have another odd reply to whatever is asked, each for a moment; where told, cut and refuse connections first."""
    if refused_s is not None:
        scene.proxy.fault = Fault(refuse=True)
        scene.proxy.cut(on)
        await asyncio.sleep(refused_s)

    def change(reply: bytes) -> None:
        scene.proxy.fault = Fault(on=on, answer=reply)

    async with _again_and_again(scene, on, change):
        yield
    scene.proxy.fault = HEALTHY


@asynccontextmanager
async def odd_pushes(scene: Scene) -> AsyncIterator[None]:
    async with _again_and_again(scene, "listening", lambda push: scene.proxy.inject(push, "listening")):
        yield


@asynccontextmanager
async def _again_and_again(scene: Scene, on: Side, say: Callable[[bytes], None]) -> AsyncIterator[None]:
    async def keep_saying() -> None:
        while True:
            for words in scene.random.sample(ODD[on], len(ODD[on])):
                say(words)
                await asyncio.sleep(EVERY_S)

    saying = asyncio.create_task(keep_saying())
    yield
    saying.cancel()


@asynccontextmanager
async def address_split(scene: Scene) -> AsyncIterator[None]:
    """Have the address lead to another server; connections that read are cut, the one that listens is not."""
    await asyncio.to_thread(scene.pair.hand_over)
    scene.proxy.target = scene.server.socket
    scene.proxy.cut("reading")
    await asyncio.sleep(LONG_S)
    yield


@asynccontextmanager
async def certificates_missing(scene: Scene) -> AsyncIterator[None]:
    """Have the file be away for a while, as one that is renewed in place, and connections be needed meanwhile."""
    assert scene.authority is not None
    file = Path(scene.authority.ca)
    away = await asyncio.to_thread(file.rename, file.with_suffix(".away"))
    scene.proxy.cut()
    yield
    await asyncio.to_thread(away.rename, file)


def processes(supervisor: int) -> list[tuple[str, psutil.Process]]:
    """Return the processes below `bentoml serve`, each with the name of the service that it serves."""
    found = []
    for process in psutil.Process(supervisor).children(recursive=True):
        with suppress(psutil.Error):  # it may have ended
            words = process.cmdline()
            if "--service-name" in words:
                found.append((words[words.index("--service-name") + 1], process))
    return found


@asynccontextmanager
async def killed(scene: Scene, service_name: str) -> AsyncIterator[None]:
    victim = scene.random.choice([process for name, process in processes(scene.service) if name == service_name])
    if service_name == WORKER:
        scene.kills.append(time.monotonic())
    victim.kill()
    yield


ON_REDIS: dict[str, Trouble] = {
    "Redis killed": redis_killed,
    "Redis suspended": redis_suspended,
    "Redis busy with a script": busy_script,
    "rights revoked": rights_revoked,
}
ON_THE_WIRE: dict[str, Trouble] = {
    "connections cut": connections_cut,
    "replies cut in the middle": partial(wire, fault=Fault(cut_after=300)),
    "connections refused": partial(wire, fault=Fault(refuse=True), cut=True),
    "requests held": partial(wire, fault=Fault(hang=True)),
    "replies 50 ms late": partial(wire, fault=Fault(delay_s=0.05)),
    "replies 1 s late": partial(wire, fault=Fault(delay_s=1.0)),
    "replies dripping": partial(wire, fault=Fault(bytes_per_s=1000)),
    "garbage": partial(wire, fault=Fault(garbage=True)),
    "-LOADING": partial(wire, fault=Fault(answer=b"-LOADING Redis is loading the dataset in memory\r\n")),
    "-MOVED": partial(wire, fault=Fault(answer=b"-MOVED 3999 127.0.0.1:6381\r\n")),
    "odd replies to readers": partial(odd_replies, on="reading"),
    "refused, then odd replies": partial(odd_replies, on="reading", refused_s=1.0),
}
ON_TRACKING: dict[str, Trouble] = {
    "listener cut": partial(connections_cut, on="listening"),
    "listener held": partial(wire, fault=Fault(on="listening", hang=True), least_s=LONG_S),
    "listener lagging": partial(wire, fault=Fault(on="listening", bytes_per_s=LAGGING_BYTES_PER_S), least_s=LONG_S),
    "odd pushes to the listener": odd_pushes,
    "odd replies to the listener": partial(odd_replies, on="listening", refused_s=0.0),
    "listener and readers split": address_split,
}
ON_PROCESSES: dict[str, Trouble] = {
    "runner killed": partial(killed, service_name=RUNNER),
    "API worker killed": partial(killed, service_name=WORKER),
}
ALL: dict[str, Trouble] = {**ON_REDIS, **ON_THE_WIRE, **ON_TRACKING, **ON_PROCESSES}
ON_TLS: dict[str, Trouble] = {"certificates missing": certificates_missing}
"""For a service that speaks TLS."""
