"""What attackers and broken clients send, byte by byte: every shape has a clean, bounded end."""

from __future__ import annotations

import os
import pickle
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import orjson
import psutil
import pytest
import yaml
from redis import Redis

from ranker.process import vendor_telemetry
from tests.service.conftest import PROJECT, Served, Shop, serve

TOKEN, PASSWORD = "correct-horse-battery", "hunter2-hunter2"
READ_TIMEOUT_S = 1.0
BODY = orjson.dumps({"requestId": "r", "userId": "3", "productIds": ["1", "2", "3"]})
BEARER = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def guarded(stocked: Shop, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with a token, a Redis password and a short patience; whatever is done to it, it tells neither secret."""
    log = tmp_path_factory.mktemp("guarded") / "log"
    commands = ["+mget", "+ping", "+hello", "+client|tracking"]
    with Redis.from_url(redis_url) as client:
        client.execute_command("ACL", "SETUSER", "ranker", "on", f">{PASSWORD}", "~user:*", "~product:*", *commands)
    env = stocked.environment | {
        "RANKER_REDIS_URL": f"{redis_url}?username=ranker&password={PASSWORD}",
        "RANKER_API_TOKEN": TOKEN,
        "RANKER_PLAYGROUND": "off",
        "RANKER_READ_TIMEOUT_S": f"{READ_TIMEOUT_S:g}",
    }
    with serve(env, log) as running:
        yield running
        shown = [httpx.get(running.url + path, headers=BEARER).text for path in ("/metrics", "/docs.json", "/")]
    shown.append(log.read_text())
    assert "Traceback" not in shown[-1], shown[-1][-4000:]
    assert not any(secret in text for text in shown for secret in (TOKEN, PASSWORD))


def talk(served: Served, data: bytes, *, patience_s: float = 15.0) -> bytes:
    """Send bytes on a connection of their own; return everything until the server hangs up or falls silent."""
    url = httpx.URL(served.url)
    with socket.create_connection((url.host, url.port), timeout=patience_s) as connection:
        connection.sendall(data)
        answer = b""
        try:
            while part := connection.recv(65536):
                answer += part
        except (ConnectionResetError, TimeoutError):
            pass
        return answer


def statuses(answer: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]


def request(*headers: bytes, body: bytes = BODY) -> bytes:
    lines = [b"POST /predict HTTP/1.1", b"Host: x", b"Authorization: Bearer " + TOKEN.encode(), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


LENGTH = b"Content-Length: %d" % len(BODY)
CHUNKED = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)


@pytest.mark.parametrize(
    ("data", "allowed"),
    [
        (request(LENGTH, b"Transfer-Encoding: chunked", body=CHUNKED), [400]),
        (request(b"Transfer-Encoding: chunked", LENGTH, body=CHUNKED), [400]),
        (request(LENGTH, b"Content-Length: 3"), [400]),
        (request(b"Content-Length: x"), [400]),
        (request(b"Content-Length: -1"), [400]),
        (request(b"Content-Length: +%d" % len(BODY)), [400]),
        (request(b"Content-Length: 99999999999999999999999999"), [400]),
        (request(b"Transfer-Encoding: chunked, identity", body=CHUNKED), [400]),
        (request(b"Transfer-Encoding : chunked", body=CHUNKED), [400]),
        (request(b"Transfer-Encoding: gzip, chunked", body=CHUNKED), [501]),
        (request(b"Transfer-Encoding: chunked", body=b"zz\r\n"), [400]),
        (request(b" folded: header", LENGTH), [400]),
        (b"GET / HTTP/1.1\r\n\0: x\r\n\r\n", [400]),
        (b"GET / HTTP/9.9\r\n\r\n", [400]),
        (b"\x16\x03\x01\x02\x00\x01\x00", [400]),
        (b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", [400, 401]),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [400, 401]),
        (request(*(b"X-%d: y" % i for i in range(200)), LENGTH), [400]),
    ],
)
def test_ambiguous_or_broken_requests_are_refused_once_and_hung_up_on(
    guarded: Served, data: bytes, allowed: list[int]
) -> None:
    answered = statuses(talk(guarded, data))
    assert len(answered) == 1, answered  # never two answers to what somebody else takes for one request
    assert answered[0] in allowed


def test_head_without_end_is_cut_at_its_limit(guarded: Served) -> None:
    assert statuses(talk(guarded, request(b"X: " + b"y" * 300_000))) in ([431], [])  # reset before it could be read


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", []),
        (b"POST /predict HTTP/1.1\r\nHost: ", [408]),
        (request(LENGTH, body=BODY[:-1]), [408]),
        (request(b"Transfer-Encoding: chunked", body=b"5\r\n[1"), [408]),
    ],
    ids=["silent", "half a head", "half a body", "half a chunk"],
)
def test_requests_that_do_not_arrive_are_hung_up_on(guarded: Served, data: bytes, status: list[int]) -> None:
    began = time.monotonic()
    assert statuses(talk(guarded, data)) == status
    assert time.monotonic() - began >= READ_TIMEOUT_S * 0.9


def test_caller_that_half_closes_is_answered(guarded: Served) -> None:
    url = httpx.URL(guarded.url)
    for data, answered in ((request(LENGTH), [200]), (request(LENGTH) * 5, [200] * 5)):
        with socket.create_connection((url.host, url.port), timeout=15) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
            assert [status for status in statuses(answer) if status >= 200] == answered


def test_dripping_bytes_win_no_time(guarded: Served) -> None:
    url = httpx.URL(guarded.url)
    for data in (request(LENGTH)[:-1], request(b"Content-Length: 1000000", body=b"")):
        began = time.monotonic()
        with socket.create_connection((url.host, url.port), timeout=15) as connection:
            try:
                for byte in data + b" " * 1000:
                    connection.sendall(bytes([byte]))
                    time.sleep(0.02)
                    if time.monotonic() - began > 10 * READ_TIMEOUT_S:
                        pytest.fail("the server still listens")
            except OSError:
                pass  # hung up on


def test_caller_who_never_reads_is_hung_up_on(guarded: Served) -> None:
    url = httpx.URL(guarded.url)
    ids = [str(i) for i in range(400)]
    body = orjson.dumps({"requestId": "r", "userId": "3", "productIds": ids})
    data = request(b"Content-Length: %d" % len(body), body=body)
    deadline = time.monotonic() + 30
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((url.host, url.port))
        connection.settimeout(0.2)
        with suppress(ConnectionError):
            while time.monotonic() < deadline:
                with suppress(TimeoutError):
                    connection.sendall(data)
            pytest.fail("the server still holds the answers")


def test_large_body_is_refused_by_its_length_alone(guarded: Served) -> None:
    assert statuses(talk(guarded, request(b"Content-Length: 2000000", body=b"")))[0] == 413


def test_unknown_paths_and_methods_end_in_front_and_leave_no_metrics(guarded: Served) -> None:
    with httpx.Client(base_url=guarded.url, headers=BEARER) as client:
        for path in (
            "/admin",
            "/predict/",
            "/play",  # switched off here
            "/score",
            "/../etc/passwd",
            "/%00",
            "/static_content/none",
            "/x?y=" + "z" * 99,
        ):
            response = client.get(path)
            assert (response.status_code, response.json()["error_type"]) == (404, "unknown_path")
        for method, path in (("GET", "/predict"), ("DELETE", "/predict"), ("POST", "/livez"), ("PUT", "/metrics")):
            response = client.request(method, path)
            assert (response.status_code, response.json()["error_type"]) == (405, "wrong_method")
            assert response.headers["allow"]
        metrics = client.get("/metrics").text
    for trace in ("admin", "passwd", "score", "none"):
        assert f"/{trace}" not in metrics


def test_websockets_are_not_spoken(guarded: Served) -> None:
    headers = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    headers += b"Sec-WebSocket-Key: eHh4eHh4eHh4eHh4eHh4eA==\r\n"
    authorization = b"Authorization: Bearer " + TOKEN.encode() + b"\r\n"
    answer = talk(guarded, b"GET /chat HTTP/1.1\r\nHost: x\r\n" + authorization + headers + b"\r\n", patience_s=5)
    assert statuses(answer) == [404]


class Exploit:
    """What runs a command where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize(
    "content_type",
    ["application/vnd.bentoml+pickle", "Application/VND.BentoML+Pickle", "application/octet-stream", "text/x-pickle"],
)
def test_pickle_is_never_unpacked(guarded: Served, tmp_path: Path, content_type: str) -> None:
    marker = tmp_path / "pwned"
    payload = pickle.dumps(Exploit(marker), protocol=5)
    headers = BEARER | {"content-type": content_type, "buffer-lengths": "1", "payload-container": "NdarrayContainer"}
    with httpx.Client(base_url=guarded.url, headers=headers) as client:
        paths = list(client.get("/docs.json").json()["paths"])
        assert "/predict" in paths
        for path in (*paths, "/score", "/ranker_runner/score"):
            assert client.post(path, content=payload).status_code in (400, 404, 405, 415)
    assert not marker.exists()


def test_token_is_asked_of_everybody_but_health_checks(guarded: Served) -> None:
    for path in ("/livez", "/readyz", "/healthz"):
        assert httpx.get(guarded.url + path).status_code == 200
    wrong = [{}, {"authorization": TOKEN}, {"authorization": f"Bearer {TOKEN}x"}, {"authorization": "Bearer"}]
    wrong += [{"authorization": f"Basic {TOKEN}"}, {"authorization": f"Bearer {TOKEN[:-1]}"}]
    for headers in wrong:
        for method, path in (("POST", "/predict"), ("GET", "/metrics"), ("GET", "/docs.json"), ("GET", "/nowhere")):
            response = httpx.request(method, guarded.url + path, content=BODY, headers=headers)
            assert (response.status_code, response.json()["error_type"]) == (401, "unauthorized")
            assert response.headers["www-authenticate"] == "Bearer"
            assert TOKEN not in response.text
    for headers in (BEARER, {"authorization": f"bearer {TOKEN}"}):
        assert httpx.post(f"{guarded.url}/predict", content=BODY, headers=headers).status_code == 200
    docs = httpx.get(f"{guarded.url}/docs.json", headers=BEARER).json()
    assert docs["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    assert docs["paths"]["/predict"]["post"]["security"] == [{"bearer": []}]


def test_caller_may_ask_for_less_time_but_not_for_nonsense(guarded: Served) -> None:
    def ask(value: str) -> httpx.Response:
        return httpx.post(f"{guarded.url}/predict", content=BODY, headers=BEARER | {"x-request-timeout-ms": value})

    for value in ("1000", "1", "999999999"):
        assert ask(value).status_code == 200
    raw = request(b"X-Request-Timeout-Ms: \t50 \t", LENGTH, b"Connection: close")
    assert statuses(talk(guarded, raw)) == [200]
    for value in ("0", "-5", "1.5", "1e3", "soon", "", "9" * 10, "nan", "1 0"):
        response = ask(value)
        assert (response.status_code, response.json()["error_type"]) == (400, "invalid_timeout")
        assert "1 to 999999999" in response.json()["error"]


def test_caller_who_hangs_up_is_counted_and_nobody_works_for_them(guarded: Served) -> None:
    before = count(guarded, "abandoned")
    url = httpx.URL(guarded.url)
    with socket.create_connection((url.host, url.port)) as connection:
        connection.sendall(request(LENGTH, body=BODY[:5]))
        time.sleep(0.2)
    deadline = time.monotonic() + 30
    while count(guarded, "abandoned") == before:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_requests_that_wait_are_dropped_when_their_callers_hang_up(guarded: Served) -> None:
    before = count(guarded, "abandoned")
    url = httpx.URL(guarded.url)
    body = orjson.dumps({"requestId": "r", "userId": "3", "productIds": [str(i) for i in range(400)]})
    callers = [socket.create_connection((url.host, url.port)) for _ in range(150)]
    with runner_stopped(guarded):
        for caller in callers:
            caller.sendall(request(b"Content-Length: %d" % len(body), body=body))
        for caller in callers:
            caller.close()
        deadline = time.monotonic() + 30
        while count(guarded, "abandoned") < before + 10:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert httpx.post(f"{guarded.url}/predict", content=BODY, headers=BEARER).status_code == 200


@contextmanager
def runner_stopped(served: Served) -> Iterator[None]:
    """Have the runner score nothing within the block, so that requests wait."""
    runner = next(
        child
        for child in psutil.Process(served.process.pid).children(recursive=True)
        if "ranker_runner" in " ".join(child.cmdline())
    )
    runner.suspend()
    try:
        yield
    finally:
        runner.resume()


def count(served: Served, outcome: str) -> float:
    lines = httpx.get(f"{served.url}/metrics", headers=BEARER).text.splitlines()
    return sum(
        float(line.split()[-1]) for line in lines if line.startswith(f'ranker_requests_total{{outcome="{outcome}"')
    )


def test_built_bento_names_no_secret() -> None:
    description = yaml.safe_load((PROJECT / "bentofile.yaml").read_text())
    assert [env["name"] for env in description["envs"]] == list(vendor_telemetry.OFF)  # baked into the image


def test_dependencies_exclude_known_advisories() -> None:
    locked = dict(re.findall(r"^([a-z0-9-]+)==([0-9.]+)", (PROJECT / "requirements" / "serve.txt").read_text(), re.M))
    floors = {"bentoml": "1.4.39", "starlette": "0.49.1", "aiohttp": "3.12.14", "h11": "0.16.0", "jinja2": "3.1.6"}
    for name, floor in floors.items():
        assert tuple(map(int, locked[name].split("."))) >= tuple(map(int, floor.split("."))), name
