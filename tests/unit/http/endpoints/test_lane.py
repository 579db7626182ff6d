"""The lane on real sockets, with a real worker: it answers as the endpoint does, whatever arrives in whatever way."""

from __future__ import annotations

import asyncio
import gc
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from email.utils import formatdate, parsedate_to_datetime
from typing import NamedTuple

import numpy as np
import orjson
import pytest
import uvicorn
from redis import Redis
from starlette.applications import Starlette
from starlette.routing import Route
from uvicorn.server import ServerState

from ranker.api.predict import PredictRequest
from ranker.http import app as http
from ranker.http.connection.protocol import BoundedProtocol
from ranker.http.endpoints import intake
from ranker.http.endpoints.intake import ROUND_BYTES, Intake
from ranker.http.endpoints.predict import Awaited
from ranker.ranking.answer import Answer
from ranker.ranking.job import Job
from ranker.ranking.rounds.later_scores import ScoreMatrix
from ranker.serving.variant import ServedModel
from ranker.serving.worker import Worker
from ranker.settings.environment import Settings
from ranker.vectors.rows import Matrix, Scores
from tests.support.sample import eventually, run, without_collector
from tests.unit.serving.test_shadow import MAIN, PRODUCTS, counted, filled, last_column

__all__ = ["filled"]

TOKEN = "correct-horse-battery"
BEARER = b"Authorization: Bearer " + TOKEN.encode()
LONG = {"userId": "u", "productIds": [f"long-id-of-product-number-{i}" for i in range(900)]}


def ask(body: object, *headers: bytes) -> bytes:
    """Return the bytes of a request to rank."""
    text = body if isinstance(body, bytes) else orjson.dumps(body)
    lines = [b"POST /predict HTTP/1.1", b"Host: x", *headers, b"Content-Length: %d" % len(text)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + text


BODY = {"requestId": "r", "userId": "u", "productIds": PRODUCTS}
WHOLE = ask(BODY)


class Served(NamedTuple):
    """A worker behind a real socket.

    Attributes:
        taken: The bodies that came over the lane.
        protocols: The open connections.
    """

    port: int
    worker: Worker
    taken: list[object]
    protocols: set[BoundedProtocol]

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def answer(self, *parts: bytes) -> bytes:
        """Send parts in packets of their own, on a connection of their own; return what comes back."""
        reader, writer = await self.connect()
        for part in parts:
            writer.write(part)
            await asyncio.sleep(0.03 if len(parts) > 1 else 0)
        answer = await read_answer(reader)
        writer.close()
        return answer


async def read_answer(reader: asyncio.StreamReader) -> bytes:
    head = b"HTTP/1.1 100 "
    while head.startswith(b"HTTP/1.1 100 "):
        head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    assert length
    return head + await reader.readexactly(int(length[1]))


@asynccontextmanager
async def served(url: str, score: ScoreMatrix = last_column, **settings: object) -> AsyncIterator[Served]:
    read = Settings.model_validate({"redis_url": url, "max_connections": 1000} | settings)
    worker = Worker(read, ServedModel("a:1", MAIN, score))
    front = http.Front(read, "a:1")
    app = front.compose(Starlette(routes=[Route("/livez", _alive)]), lambda: worker, MAIN, lambda: ([], []))
    worker.start()
    front.attend(worker)
    config, state = uvicorn.Config(app, log_config=None, server_header=False, date_header=False), ServerState()
    config.load()
    state.default_headers = [(b"date", formatdate(usegmt=True).encode())]  # as uvicorn's server does each second
    taken: list[object] = []
    lane = BoundedProtocol.lane
    assert lane is not None
    take = lane.take

    def noting(connection: BoundedProtocol, head: object, body: bytes) -> object:
        taken.append(body)
        return take(connection, head, body)  # type: ignore[arg-type]

    lane.take = noting  # type: ignore[method-assign]  # to see which way a request went
    server = await asyncio.get_running_loop().create_server(lambda: BoundedProtocol(config, state, {}), "127.0.0.1", 0)
    try:
        await eventually(lambda: worker.ready, 20)
        yield Served(server.sockets[0].getsockname()[1], worker, taken, state.connections)  # type: ignore[arg-type]
    finally:
        server.close()
        await worker.stop()
        BoundedProtocol.lane = None
        for connection in list(state.connections):
            connection.transport.abort()  # type: ignore[union-attr]


async def _alive(request: object) -> None:
    raise NotImplementedError


def told(answer: bytes) -> bytes:
    """Return an answer without its times; it has a date, of now."""
    (date,) = re.findall(rb"\r\ndate: ([^\r]+)\r\n", answer)
    assert abs(parsedate_to_datetime(date.decode()).timestamp() - time.time()) < 60
    return re.sub(rb"dur=[0-9.]+", b"dur=", answer.replace(date, b""))


SAME = {
    "a ranking": (ask(BODY), 200),
    "the best": (ask(BODY | {"topK": 3}), 200),
    "integers": (ask({"requestId": "r", "userId": "u", "productIds": [3, 1, 2]}), 200),
    "no such products": (ask(BODY | {"productIds": ["x", "y"]}), 200),
    "a deadline": (ask(BODY, b"X-Request-Timeout-Ms: 500"), 200),
    "no JSON": (ask(b"{nonsense"), 400),
    "nothing": (ask(b""), 400),
    "twice": (ask(BODY | {"productIds": ["1", "1"]}), 400),
    "too many": (ask(BODY | {"productIds": [str(i) for i in range(1001)]}), 400),
    "no user": (ask({"productIds": ["1"], "requestId": "r"}), 200),
    "context": (ask(BODY | {"context": {"hour": 3}}), 400),
    "misspelt": (ask(BODY | {"topk": 3}), 400),
    "a bad deadline": (ask(BODY, b"X-Request-Timeout-Ms: soon"), 400),
    "a type": (ask(BODY, b"Content-Type: application/xml"), 415),
    "a coding": (ask(BODY, b"Content-Encoding: br"), 415),
    "a large body": (ask(b" " * 3000 + orjson.dumps(BODY)), 413),
    "MessagePack back": (ask(BODY, b"Accept: application/msgpack"), 200),
}


@pytest.mark.parametrize("case", SAME)
def test_lane_and_endpoint_give_the_same_bytes(filled: Redis, redis_url: str, case: str) -> None:
    whole, status = SAME[case]

    async def test() -> None:
        limit = 2048 if case == "a large body" else 1 << 20
        async with served(redis_url, max_body_bytes=limit) as running:
            by_lane, by_endpoint = await running.answer(whole), await running.answer(whole[:30], whole[30:])
            assert told(by_lane) == told(by_endpoint)
            assert by_lane.startswith(b"HTTP/1.1 %d " % status)
            assert len(running.taken) <= 1

    run(test)


def test_what_is_whole_and_plain_takes_the_lane_and_everything_else_does_not(filled: Redis, redis_url: str) -> None:
    plain = [
        WHOLE,
        ask(BODY, b"Content-Type: application/json", b"Accept: */*", b"Connection: keep-alive"),
        ask(BODY, b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ask(BODY, b"Connection: Keep-Alive", b"User-Agent: x"),
    ]
    other = [
        ask(BODY, b"Origin: https://shop.example"),
        ask(BODY, b"Connection: close"),
        ask(BODY, b"Expect: 100-continue"),
        ask(BODY, b"Accept: application/msgpack"),
        ask(BODY, b"Upgrade: h2c", b"Connection: Upgrade, HTTP2-Settings", b"HTTP2-Settings: x"),
        WHOLE.replace(b"HTTP/1.1", b"HTTP/1.0"),
        WHOLE.replace(b"/predict", b"/predict?x=1"),
        b"POST /predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"
        % (len(orjson.dumps(BODY)), orjson.dumps(BODY)),
        ask(LONG),
    ]

    async def test() -> None:
        async with served(redis_url) as running:
            for i, data in enumerate(plain):
                assert (await running.answer(data)).startswith(b"HTTP/1.1 200 "), data
                assert len(running.taken) == i + 1
            for data in other:
                assert b" 200 OK" in await running.answer(data), data
                assert len(running.taken) == len(plain), data

    run(test)


def test_no_head_that_was_seen_lets_another_token_in(filled: Redis, redis_url: str) -> None:
    async def test() -> None:
        async with served(redis_url, api_token=TOKEN) as running:
            for _ in range(2):
                assert (await running.answer(ask(BODY, BEARER))).startswith(b"HTTP/1.1 200 ")
                for wrong in ((), (BEARER + b"x",), (BEARER[:-1],), (b"Authorization: Basic x",)):
                    assert (await running.answer(ask(BODY, *wrong))).startswith(b"HTTP/1.1 401 ")
            assert len(running.taken) == 2

    run(test)


def test_many_callers_get_their_own_rankings(filled: Redis, redis_url: str) -> None:
    async def test() -> None:
        async with served(redis_url) as running:

            async def caller(number: int) -> None:
                reader, writer = await running.connect()
                rng = np.random.default_rng(number)
                for turn in range(20):
                    ids = [str(i) for i in rng.permutation(12)[: 1 + turn % 12]]
                    writer.write(ask({"requestId": f"{number}-{turn}", "userId": "u", "productIds": ids}))
                    answer = orjson.loads((await read_answer(reader)).partition(b"\r\n\r\n")[2])
                    assert answer["requestId"] == f"{number}-{turn}"
                    assert answer["ranking"] == sorted(ids, key=int, reverse=True)
                writer.close()

            await asyncio.gather(*map(caller, range(50)))
            assert len(running.taken) == 1000
            assert running.worker.admission.rows == 0

    run(test)


def test_pipelined_requests_are_answered_in_order(filled: Redis, redis_url: str) -> None:
    async def test() -> None:
        async with served(redis_url) as running:
            reader, writer = await running.connect()
            for together in (True, False):
                for number in range(6):
                    writer.write(ask(BODY | {"requestId": str(number)}))
                    await asyncio.sleep(0 if together else 0.001)
                for number in range(6):
                    assert b'"requestId":"%d"' % number in await read_answer(reader)
            writer.close()

    run(test)


def held_until(going_on: asyncio.Event) -> Callable[[Matrix], Awaitable[Scores]]:
    async def score(matrix: Matrix) -> Scores:
        await going_on.wait()
        return await last_column(matrix)

    return score


def test_work_for_callers_who_hang_up_is_dropped_and_counted(filled: Redis, redis_url: str) -> None:
    async def test() -> None:
        going_on = asyncio.Event()
        going_on.set()
        async with served(redis_url, held_until(going_on), deadline_ms=60_000) as running:
            before = counted(running.worker, "ranker_requests_total", outcome="abandoned")
            going_on.clear()
            callers = [await running.connect() for _ in range(8)]
            for _, writer in callers:
                writer.write(WHOLE)
            await eventually(lambda: len(running.taken) == 8 and running.worker.admission.rows > 0, 5)
            for _, writer in callers:
                writer.transport.abort()
            await eventually(lambda: running.worker.admission.rows == 0, 5)
            assert counted(running.worker, "ranker_requests_total", outcome="abandoned") == before + 8
            going_on.set()
            assert (await running.answer(WHOLE)).startswith(b"HTTP/1.1 200 ")

    run(test)


@pytest.mark.parametrize("end", ["shutdown", "half-close", "draining"])
def test_what_is_asked_before_an_end_is_answered_before_it(filled: Redis, redis_url: str, end: str) -> None:
    async def test() -> None:
        going_on = asyncio.Event()
        going_on.set()
        async with served(redis_url, held_until(going_on)) as running:
            going_on.clear()
            reader, writer = await running.connect()
            writer.write(WHOLE)
            await eventually(lambda: bool(running.taken), 5)
            if end == "shutdown":
                for protocol in list(running.protocols):
                    protocol.shutdown()
            elif end == "half-close":
                writer.write_eof()
            else:
                running.worker.draining = True
            going_on.set()
            answer = await read_answer(reader)
            assert answer.startswith(b"HTTP/1.1 200 ")
            if end == "shutdown":
                assert b"\r\nconnection: close\r\n" in answer
            if end == "draining":
                writer.write(WHOLE)
                assert b"\r\nconnection: close\r\n" in await read_answer(reader)
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()

    run(test)


def test_late_answers_degrade_on_the_lane_too(filled: Redis, redis_url: str) -> None:
    async def test() -> None:
        going_on = asyncio.Event()
        going_on.set()
        async with served(redis_url, held_until(going_on)) as running:
            going_on.clear()
            answer = await running.answer(ask(BODY, b"X-Request-Timeout-Ms: 50"))
            assert orjson.loads(answer.partition(b"\r\n\r\n")[2])["degradedReason"] == "scores_late"
            assert len(running.taken) == 1
            going_on.set()

    run(test)


def test_answered_request_holds_nothing_but_itself(filled: Redis, redis_url: str) -> None:
    async def test() -> None:
        async with served(redis_url) as running:
            reader, writer = await running.connect()
            writer.write(WHOLE)
            await read_answer(reader)
            (protocol,) = running.protocols
            cycle = protocol.cycle
            assert (cycle.connection, cycle.request, cycle.job, cycle.body) == (None, None, None, b"")  # type: ignore[union-attr]
            writer.close()

    run(test)


def test_one_turn_of_the_loop_takes_so_many_bytes_and_the_rest_waits(filled: Redis, redis_url: str) -> None:
    body = orjson.dumps(BODY | {"zipCode": "0" * 60})

    async def test() -> None:
        async with served(redis_url) as running:
            taking = Intake(1000, "a:1")
            count = 4 * ROUND_BYTES // len(body)
            asked = [Awaited(running.worker, {}, body, None) for _ in range(count)]
            left: list[int] = []
            for one in asked:
                taking.take(one)
            while taking.waiting:
                left.append(taking.waiting)
                await asyncio.sleep(0)
            assert left == list(range(count, 0, -(ROUND_BYTES // len(body))))
            assert {(await one.response).status for one in asked} == {200}

    run(test)


LONG_BODY = orjson.dumps({"requestId": "long", "userId": "u", "productIds": [str(i) for i in range(300)]})


def test_long_lists_are_let_in_one_at_a_time_and_short_ones_pass_them(filled: Redis, redis_url: str) -> None:
    async def test() -> None:
        going_on = asyncio.Event()
        going_on.set()
        async with served(redis_url, held_until(going_on), max_in_flight_rows=10_000) as running:
            taking, done = Intake(1000, "a:1"), list[str]()
            going_on.clear()

            def ask_for(name: str, body: bytes) -> Awaited:
                asked = Awaited(running.worker, {}, body, None)
                asked.response.add_done_callback(lambda _: done.append(name))
                taking.take(asked)
                return asked

            longs = [ask_for(f"long {i}", LONG_BODY) for i in range(3)]
            shorts = [ask_for(f"short {i}", orjson.dumps(BODY)) for i in range(3)]
            await eventually(lambda: taking.waiting == 2, 5)
            assert running.worker.admission.rows == 300 + 3 * len(PRODUCTS)
            going_on.set()
            for asked in (*longs, *shorts):
                assert (await asked.response).status == 200
            assert sorted(done[:4]) == ["long 0", "short 0", "short 1", "short 2"]
            assert done[4:] == ["long 1", "long 2"]

    run(test)


@pytest.mark.parametrize("end", ["answered", "dropped", "refused"])
def test_next_long_one_begins_however_the_one_before_it_ended(filled: Redis, redis_url: str, end: str) -> None:
    async def test() -> None:
        async with served(redis_url, max_in_flight_rows=10_000) as running:
            taking = Intake(1000, "a:1")
            first = Awaited(running.worker, {}, LONG_BODY if end != "refused" else b"[" + b"1," * 300, None)
            second = Awaited(running.worker, {}, LONG_BODY, None)
            taking.take(first)
            taking.take(second)
            if end == "dropped":
                taking.drop(first)
            assert (await second.response).status == 200
            assert taking.waiting == 0
            assert running.worker.admission.rows == 0

    run(test)


def test_nothing_is_held_of_what_was_dropped_before_it_began(filled: Redis, redis_url: str) -> None:
    async def test() -> None:
        async with served(redis_url) as running:
            taking = Intake(1000, "a:1")
            asked = [Awaited(running.worker, {}, body, None) for body in (LONG_BODY, LONG_BODY, orjson.dumps(BODY))]
            for one in asked:
                taking.take(one)
                taking.drop(one)
            assert [one.body for one in asked] == [b"", b"", b""]
            assert taking.waiting == 1  # the short one, till its round
            await asyncio.sleep(0.01)
            assert taking.waiting == 0
            kept = Awaited(running.worker, {}, LONG_BODY, None)
            taking.take(kept)
            assert (await kept.response).status == 200
            assert kept.body == b""
            assert not running.worker.admission.crowded

    run(test)


@pytest.mark.parametrize("end", ["answered", "dropped"])
def test_what_is_over_is_gone_without_the_collector(filled: Redis, redis_url: str, end: str) -> None:
    async def test() -> None:
        async with served(redis_url) as running:
            taking = Intake(1000, "a:1")
            for body in (LONG_BODY, orjson.dumps(BODY)):
                asked = Awaited(running.worker, {}, body, None)
                taking.take(asked)
                if end == "answered":
                    assert (await asked.response).status == 200
                else:
                    await eventually(lambda: taking.waiting == 0, 5)
                    taking.drop(asked)
            del asked
            await asyncio.sleep(0.01)
            assert not [one for one in gc.get_objects() if isinstance(one, Awaited | Job)]

    with without_collector():
        run(test)


def test_long_one_whose_turn_does_not_come_in_time_is_told_so(filled: Redis, redis_url: str) -> None:
    async def test() -> None:
        going_on = asyncio.Event()
        going_on.set()
        async with served(redis_url, held_until(going_on), deadline_ms=60_000) as running:
            taking = Intake(1000, "a:1")
            going_on.clear()
            first, second = (Awaited(running.worker, {}, LONG_BODY, wait_s) for wait_s in (None, 0.05))
            taking.take(first)
            taking.take(second)
            late = orjson.loads((await second.response).body)
            assert late["degradedReason"] == "scores_late"
            assert not first.response.done()
            going_on.set()
            assert (await first.response).status == 200

    run(test)


def test_long_body_that_is_late_has_a_round_alone(filled: Redis, redis_url: str) -> None:
    async def test() -> None:
        async with served(redis_url) as running:
            taking = Intake(1000, "a:1")
            padded = b" " * ROUND_BYTES + orjson.dumps(BODY)
            asked = [Awaited(running.worker, {}, padded, 0.001) for _ in range(3)]
            for one in asked:
                taking.take(one)
            assert {(await one.response).status for one in asked} == {200}

    run(test)


def test_response_to_a_task_that_was_just_cancelled_goes_nowhere(
    filled: Redis, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with served(redis_url) as running:
            asked = Awaited(running.worker, {}, orjson.dumps(BODY), None)
            Intake(1000, "a:1").take(asked)
            asked.response.cancel()
            await eventually(lambda: asked.over, 5)
            assert running.worker.admission.rows == 0
            assert not caplog.records

    run(test)


def test_request_that_cannot_be_rendered_fails_alone(
    filled: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    render = intake.render

    def broken(request: PredictRequest, answer: Answer) -> bytes:
        if request.requestId == "1":
            raise ZeroDivisionError
        return render(request, answer)

    monkeypatch.setattr(intake, "render", broken)

    async def test() -> None:
        async with served(redis_url) as running:
            answers = await asyncio.gather(*(running.answer(ask(BODY | {"requestId": str(i)})) for i in range(3)))
            assert [answer.split()[1] for answer in answers] == [b"200", b"500", b"200"]
            assert running.worker.admission.rows == 0

    run(test)


class Caller:
    """A connection that notes its end."""

    ended = ""

    def respond(self, data: bytes) -> None:
        self.ended = "answered"

    def abort(self) -> None:
        self.ended = "hung up on"


def test_who_waits_when_the_worker_stops_is_hung_up_on(filled: Redis, redis_url: str) -> None:
    async def test() -> None:
        going_on = asyncio.Event()
        going_on.set()
        async with served(redis_url, held_until(going_on), deadline_ms=60_000) as running:
            going_on.clear()
            lane, (head, _, body) = BoundedProtocol.lane, WHOLE.partition(b"\r\n\r\n")
            assert lane is not None
            known = lane.heads.find(head + b"\r\n\r\n")
            assert known is not None
            caller, waiting = Caller(), Awaited(running.worker, {}, body, None)
            lane.take(caller, known, body)
            Intake(1000, "a:1").take(waiting)
            await eventually(lambda: running.worker.admission.rows == 2 * len(PRODUCTS), 5)
        assert caller.ended == "hung up on"
        assert waiting.response.cancelled()

    run(test)
