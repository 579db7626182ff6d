"""Send a served process fuzzed bodies: whatever the bytes, the answer is a ranking or one clear error.

    python -m tests.hostile.fuzz [--bodies 100000] [--seed 0]

Bodies are random bytes, random JSON, and valid requests with ids, fields or bytes changed. Prints one line of JSON, and
ends with an error if any answer was no clean one, any worker died, or the log has a traceback.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil

from ranker.demo.redis import EmbeddedRedis
from tests.service.conftest import PRODUCTS, USERS, serve, set_up_shop, stock

CALLERS = 4
CLEAN = {200, 400, 413, 415}
TEXTS = (
    "",
    "0",
    "7",
    "u",
    "\0",
    "\n",
    "🛒",
    "é",
    "{id}",
    "user:7",
    "*1\r\n$4\r\nPING\r\n",
    "../../etc",
    "a" * 257,
    "é" * 256,
)
NUMBERS = (0, -1, 1, 3, 2**31, 2**63, 2**64, 10**400, 0.5, 1e308, -0.0)
CONTENT_TYPES = (
    "application/json",
    "application/vnd.bentoml+pickle",
    "text/plain",
    "multipart/form-data; boundary=x",
    "",
)


def valid(chance: random.Random) -> dict[str, object]:
    """Return a request that is answered with a ranking."""
    ids = [str(i) for i in chance.sample(range(PRODUCTS), chance.randint(1, 12))]
    return {"requestId": f"r{chance.random()}", "userId": str(chance.randrange(USERS)), "productIds": ids}


def value(chance: random.Random, depth: int = 0) -> object:
    """Return some JSON value."""
    kinds: list[Callable[[], object]] = [
        lambda: None,
        lambda: chance.random() < 0.5,
        lambda: chance.choice(NUMBERS),
        lambda: chance.choice(TEXTS),
        lambda: "".join(chr(chance.randrange(1, 0xD800)) for _ in range(chance.randrange(20))),
    ]
    if depth < 4:
        kinds += [
            lambda: [value(chance, depth + 1) for _ in range(chance.randrange(5))],
            lambda: {chance.choice(TEXTS): value(chance, depth + 1) for _ in range(chance.randrange(5))},
        ]
    return chance.choice(kinds)()


def body(chance: random.Random) -> bytes:
    """Return one body."""
    request = valid(chance)
    kind = chance.randrange(10)
    if kind == 0:
        return chance.randbytes(chance.randrange(200))
    if kind == 1:
        return json.dumps(value(chance)).encode()
    if kind == 2:
        depth = chance.choice((10, 200, 1000, 100_000))
        return chance.choice((b"[", b'{"a":', b'{"productIds":[')) * depth
    if kind == 3:
        request[chance.choice([*request, "zipCode", "topK", "context", "productContext"])] = value(chance)
    elif kind == 4:
        del request[chance.choice([*request])]
    elif kind >= 7:
        request["productIds"] = [f"{chance.choice(TEXTS)[:200]}{number}" for number in range(chance.randint(1, 40))]
    data = json.dumps(request, ensure_ascii=chance.random() < 0.5).encode()
    if kind in (5, 6, 7):
        changed = bytearray(data)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(changed))
            piece = chance.choice((b"", b"\xff", b"\0", b'"', b"\\ud800", b"}", b",", b"1e999", chance.randbytes(3)))
            changed[at : at + chance.randrange(3)] = piece
            if not changed:
                break
        data = bytes(changed)
    return data


def problem(status: int, answer: bytes) -> str | None:
    """Say what is wrong with an answer; None when it is clean."""
    if status not in CLEAN:
        return f"status {status}"
    try:
        parsed = json.loads(answer)
    except ValueError:
        return "no JSON"
    if status == 200:
        return None if len(parsed["ranking"]) == len(parsed["scores"]) else "scores and ranking differ"
    clear = set(parsed) == {"error", "error_type", "requestId"} and b"Traceback" not in answer
    return None if clear else "no clear error"


def send(port: int, seed: int, count: int) -> Iterator[tuple[bytes, int, str | None]]:
    """Send bodies on one connection; yield each with its status and what is wrong with its answer."""
    chance = random.Random(seed)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    for _ in range(count):
        data = body(chance)
        try:
            connection.request("POST", "/predict", data, {"content-type": chance.choice(CONTENT_TYPES)})
            response = connection.getresponse()
            yield data, response.status, problem(response.status, response.read())
        except (OSError, http.client.HTTPException) as err:
            connection.close()
            yield data, 0, f"no answer: {err!r}"
    connection.close()


def fuzz(port: int, bodies: int, seed: int) -> tuple[Counter[int], list[str]]:
    """Send so many bodies over some connections; return the answers by status, and what was wrong."""
    statuses: Counter[int] = Counter()
    problems: list[str] = []

    def run(number: int) -> None:
        for data, status, wrong in send(port, seed * CALLERS + number, bodies // CALLERS):
            statuses[status] += 1
            if wrong:
                problems.append(f"{wrong}: {data[:200]!r}")

    with ThreadPoolExecutor(CALLERS) as pool:
        list(pool.map(run, range(CALLERS)))
    return statuses, problems


def main() -> None:
    """Serve, send, and say what came back."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bodies", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ranker-", dir="/tmp") as name:
        redis = EmbeddedRedis(Path(name))
        redis.start()
        try:
            shop = set_up_shop(Path(name), redis.url)
            stock(shop, redis.url)
            with serve(shop.environment, log := Path(name) / "log") as served:
                workers = {p.pid for p in psutil.Process(served.process.pid).children(recursive=True)}
                began = time.monotonic()
                statuses, problems = fuzz(httpx.URL(served.url).port or 0, arguments.bodies, arguments.seed)
                took = time.monotonic() - began
                alive = {p.pid for p in psutil.Process(served.process.pid).children(recursive=True)}
        finally:
            redis.stop()
        result = {
            "bodies": sum(statuses.values()),
            "seconds": round(took),
            "statuses": dict(sorted(statuses.items())),
            "problems": len(problems),
            "worker_deaths": len(workers - alive),
            "tracebacks": log.read_text().count("Traceback"),
        }
    print(json.dumps(result))
    print("\n".join(problems[:20]), file=sys.stderr)
    sys.exit(bool(problems or result["worker_deaths"] or result["tracebacks"]))


if __name__ == "__main__":
    main()
