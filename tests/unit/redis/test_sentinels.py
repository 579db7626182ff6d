"""Who the primary is, as Sentinels say it at different times."""

from __future__ import annotations

import asyncio

from ranker.redis.sentinels import Primary
from ranker.redis.url import parse
from tests.support.sample import eventually, run


def test_answer_that_comes_late_does_not_undo_a_failover_that_was_told_meanwhile() -> None:
    async def test() -> None:
        asked: list[int] = []
        late = asyncio.Event()

        async def sentinel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            """Name port 7001 to the first who asks, late, and 7002 to all others."""
            number = len(asked)
            asked.append(number)
            await reader.readuntil(b"shop\r\n")
            if not number:
                await late.wait()
            facts = {"ip": "127.0.0.1", "port": str(7001 + min(number, 1)), "config-epoch": str(number)}
            words = [word for pair in facts.items() for word in pair]
            writer.write(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(w), w.encode()) for w in words))
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(sentinel, "127.0.0.1")
        port = server.sockets[0].getsockname()[1]
        primary = Primary(parse(f"redis+sentinel://127.0.0.1:{port}/shop"))
        first = asyncio.create_task(primary.discover_master("shop"))
        await eventually(lambda: len(asked) == 1)
        assert await primary.discover_master("shop") == ("127.0.0.1", 7002)
        late.set()
        assert await first == ("127.0.0.1", 7002)
        assert await primary.discover_master("shop") == ("127.0.0.1", 7002)
        await primary.close()
        server.close()

    run(test)
