from __future__ import annotations

import asyncio
import socket

from ranker.http.connection.accepting import ACCEPTS_PER_ROUND, Loop


def test_new_connections_are_accepted_a_few_at_a_time_and_all_in_the_end() -> None:
    begun: list[int] = []
    """In which round of the loop each connection began."""
    rounds = 0

    class Protocol(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            begun.append(rounds)
            transport.close()

    async def accept(callers: list[socket.socket]) -> None:
        nonlocal rounds
        server = await asyncio.get_running_loop().create_server(Protocol, "127.0.0.1", 0, backlog=2048)
        for caller in callers:
            caller.connect(server.sockets[0].getsockname())
        async with asyncio.timeout(10):
            while len(begun) < len(callers):
                rounds += 1
                await asyncio.sleep(0)
        server.close()

    callers = [socket.socket() for _ in range(200)]
    try:
        with asyncio.Runner(loop_factory=Loop) as runner:
            runner.run(accept(callers))
    finally:
        for caller in callers:
            caller.close()
    assert max(map(begun.count, begun)) <= ACCEPTS_PER_ROUND
