"""The troubles: each strikes when its block is entered and is over when it is left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from random import Random

import psutil
from redis.exceptions import RedisError

from tests.faults.proxy import HEALTHY, Fault, FaultProxy
from tests.faults.server import Server

USER, PASSWORD = "ranker", "PASSWORD"
RULES = ("on", f">{PASSWORD}", "~user:*", "~product:*", "+mget", "+ping", "+hello", "+client|tracking")
ENDLESS = "while true do end"


@dataclass
class Scene:
    """What can be hurt.

    Attributes:
        service: The process id of `bentoml serve`.
    """

    server: Server
    proxy: FaultProxy
    service: int
    random: Random


Trouble = Callable[[Scene], AbstractAsyncContextManager[None]]


def allow_user(server: Server) -> None:
    """Let the service's user read, and nothing else."""
    with server.client() as admin:
        admin.execute_command("ACL", "SETUSER", USER, "reset", *RULES)


@asynccontextmanager
async def redis_killed(scene: Scene) -> AsyncIterator[None]:
    scene.server.kill()
    yield
    await asyncio.to_thread(scene.server.start)
    allow_user(scene.server)


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
        allow_user(scene.server)


@asynccontextmanager
async def wire(scene: Scene, fault: Fault, *, cut: bool = False) -> AsyncIterator[None]:
    scene.proxy.fault = fault
    if cut:
        scene.proxy.cut()
    yield
    scene.proxy.fault = HEALTHY


@asynccontextmanager
async def connections_cut(scene: Scene) -> AsyncIterator[None]:
    scene.proxy.cut()
    yield


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
    scene.random.choice([process for name, process in processes(scene.service) if name == service_name]).kill()
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
}
ON_PROCESSES: dict[str, Trouble] = {
    "runner killed": partial(killed, service_name="ranker_runner"),
    "API worker killed": partial(killed, service_name="ranker"),
}
