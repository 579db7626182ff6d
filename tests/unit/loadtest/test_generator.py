"""The generator against small servers that stall, hang up, refuse or speak TLS."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ranker.errors import InvalidTarget
from ranker.loadtest.generator import Generator
from ranker.loadtest.recording import Recording
from ranker.loadtest.target import Target

pytestmark = pytest.mark.alone

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"


class Service:
    """Answers requests on each connection, in two pieces.

    Args:
        answer: What it says.
        answers_each: After so many it hangs up.
        stall_s: From the first connection on, nobody is answered before so many seconds have passed.
        context: Speaks TLS with it.
    """

    def __init__(
        self,
        answer: bytes = ANSWER,
        answers_each: int = 1000,
        stall_s: float = 0.0,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=500)
        self._answer_bytes, self._answers_each, self._stall_s, self._context = answer, answers_each, stall_s, context
        self._until = 0.0
        self.received: list[bytes] = []
        self.port = int(self._listener.getsockname()[1])
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def connections(self) -> int:
        return len(self._threads) - 1

    def close(self) -> None:
        """Stop accepting; the generator must have hung up before."""
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in accept, which close does not
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._until = self._until or time.monotonic() + self._stall_s
            self._threads.append(threading.Thread(target=self._answer, args=(connection,)))
            self._threads[-1].start()

    def _answer(self, connection: socket.socket) -> None:
        if self._context is not None:
            connection = self._context.wrap_socket(connection, server_side=True)
        with connection:
            for _ in range(self._answers_each):
                if not (request := self._read(connection)):
                    break
                self.received.append(request)
                time.sleep(max(self._until - time.monotonic(), 0))
                with suppress(BrokenPipeError, ConnectionResetError):  # the generator has given up
                    connection.sendall(self._answer_bytes[:30])
                    connection.sendall(self._answer_bytes[30:])

    @staticmethod
    def _read(connection: socket.socket) -> bytes:
        """Read a whole request."""
        data = b""
        while True:
            head, end, body = data.partition(b"\r\n\r\n")
            if end and len(body) == int(head.partition(b"Content-Length: ")[2].split(b"\r\n")[0]):
                return data
            if not (more := connection.recv(1 << 16)):
                return b""
            data += more


def load(service: Service, rate: float, seconds: float, url: str = "", body: bytes = b"{}") -> Generator:
    generator = Generator(Target.parse(url or f"http://127.0.0.1:{service.port}", "secret"), [body], rate)
    generator.run(seconds)
    generator.close()
    service.close()
    return generator


def test_connections_are_used_again_and_every_request_is_whole() -> None:
    service = Service()
    generator = load(service, 50, 0.4)
    figures = generator.recording.figures(0.4)
    assert (figures.requests, figures.good, figures.errors) == (20, 20, {})
    assert service.connections < 20
    assert set(service.received) == {
        f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\nContent-Type: application/json\r\n"
        "Authorization: Bearer secret\r\nContent-Length: 2\r\n\r\n{}".encode()
    }


def test_another_connection_is_opened_when_the_service_hangs_up() -> None:
    service = Service(answers_each=5)
    generator = load(service, 50, 0.4)
    assert generator.answers == 20
    assert not generator.recording.errors
    assert service.connections >= 4


def test_stall_counts_for_all_that_should_have_left_meanwhile() -> None:
    generator = load(Service(stall_s=0.5), 100, 1.0)
    latencies = sorted(generator.recording.latencies_s)
    assert len(latencies) == 100
    # Whoever waits for answers before it asks again sees one slow request; here, about 50 left in the stall.
    assert sum(latency > 0.25 for latency in latencies) >= 20
    assert latencies[-1] >= 0.45


def test_lateness_of_the_generator_itself_is_in_the_latencies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ranker.loadtest.generator.PART_S", 0.2)
    service, whole = Service(), Recording()

    def hold_up_once(part: dict[str, Any]) -> None:
        if not whole.latencies_s:
            time.sleep(0.3)
        whole.extend(part)

    generator = Generator(Target.parse(f"http://127.0.0.1:{service.port}"), [b"{}"], 50, hold_up_once)
    generator.run(0.4)
    generator.close()
    service.close()
    assert len(whole.latencies_s) == 20
    assert max(whole.lateness_s) > 0.2
    assert sum(whole.latencies_s) > sum(whole.lateness_s)


def test_what_nobody_answers_is_an_error_with_the_time_it_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ranker.loadtest.generator.DRAIN_S", 0.2)
    generator = load(Service(stall_s=1.0), 50, 0.1)
    assert generator.recording.errors == {"unanswered": 5}
    assert min(generator.recording.latencies_s) >= 0.2


def test_refused_connections_are_errors() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    generator = Generator(Target.parse(f"http://127.0.0.1:{port}"), [b"{}"], 50)
    generator.run(0.1)
    generator.close()
    assert generator.recording.errors == {"connection": 5}
    assert generator.answers == 0


@pytest.mark.parametrize(
    ("answer", "errors"),
    [
        (CHUNKED, {}),
        (ANSWER.replace(b"200 OK", b"429 Too Many Requests"), {"status 429": 5}),
        (b'HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{"degraded":true}', {"degraded": 5}),
        (b"nonsense, and more than thirty bytes of it", {"connection": 5}),
        (ANSWER.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), {}),
    ],
)
def test_answers_are_told_apart(answer: bytes, errors: dict[str, int]) -> None:
    generator = load(Service(answer, answers_each=1 if b"close" in answer or b"nonsense" in answer else 1000), 50, 0.1)
    assert generator.recording.errors == errors
    assert len(generator.recording.good_s) == (0 if errors else 5)


def test_large_bodies_are_sent_whole() -> None:
    service = Service()
    generator = load(service, 20, 0.1, body=b"x" * 8_000_000)
    assert generator.recording.errors == {}
    assert [len(request) > 8_000_000 for request in service.received] == [True, True]


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed (Debian: apt-get install openssl)")
    path = tmp_path / "both.pem"
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    )
    subprocess.run([*command.split(), "-keyout", path, "-out", tmp_path / "cert.pem"], check=True, capture_output=True)
    path.write_text(path.read_text() + (tmp_path / "cert.pem").read_text())
    return path


def test_https_is_spoken_to_a_certificate_that_is_trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    service = Service(context=context)
    generator = load(service, 50, 0.4, url=f"https://localhost:{service.port}")
    assert generator.recording.errors == {}
    assert generator.answers == 20


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("127.0.0.1:3000", "begin with http://"),
        ("ftp://a", "begin with http://"),
        ("http://:3000", "name a host"),
        ("http://a:99999", "ort"),
        ("http://u:p@a", "neither"),
        ("http://a/?x=1", "neither"),
        ("http://a/ä", "percent-encoded"),
        ("http://ä/", "ASCII"),
    ],
)
def test_urls_that_are_no_service_are_refused(url: str, part: str) -> None:
    with pytest.raises(InvalidTarget, match=part):
        Target.parse(url)


def test_path_of_the_url_goes_before_the_endpoint() -> None:
    target = Target.parse("https://shop.example/rank/")
    assert (target.port, target.path, target.tls) == (443, "/rank/predict", True)
