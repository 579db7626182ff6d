"""Clients as they are: the forms in which curl, Node, requests and others send a request and take an answer."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import msgpack
import orjson
import pytest

from tests.service.conftest import Served, Shop, serve

REQUEST = {"requestId": "r", "userId": "3", "productIds": ["1", "2", "3"]}
TEXT = orjson.dumps(REQUEST)
NODE = """
const {gzipSync} = require("node:zlib");
const [url, body] = process.argv.slice(1);
(async () => {
    for (const asked of [
        {body},  // text/plain, as fetch has it
        {body: gzipSync(body), headers: {"content-type": "application/json", "content-encoding": "gzip"}},
        {body: JSON.stringify({userId: 3, productIds: [1, 2, 3], zipCode: null})},
    ]) {
        const answer = await fetch(url, {method: "POST", ...asked});
        console.log(JSON.stringify([answer.status, await answer.json()]));
    }
})();
"""


@pytest.fixture(scope="module")
def served(stocked: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    log = tmp_path_factory.mktemp("served") / "log"
    with serve(stocked.environment | {"RANKER_RUNNER": "local"}, log) as running:
        yield running
    assert "Traceback" not in log.read_text()


@pytest.fixture(scope="module")
def right(served: Served) -> list[str]:
    """The ranking of the request as it was always sent."""
    ranking: list[str] = httpx.post(f"{served.url}/predict", json=REQUEST).json()["ranking"]
    return ranking


@pytest.mark.parametrize("path", ["/predict", "/explain"])
def test_both_endpoints_take_every_form(served: Served, path: str) -> None:
    for body, headers in (
        (gzip.compress(TEXT), {"content-encoding": "gzip", "content-type": "application/json"}),
        (zlib.compress(TEXT), {"content-encoding": "deflate"}),
        (b"\xef\xbb\xbf" + TEXT, {"content-type": "application/json; charset=utf-8"}),
        (orjson.dumps({"userId": 3, "productIds": [1, 2, 3], "zipCode": None}), {}),
    ):
        answer = httpx.post(served.url + path, content=body, headers=headers)
        assert answer.status_code == 200, answer.text
        assert answer.json()["requestId"]
    packed = httpx.post(
        served.url + path, content=msgpack.packb(REQUEST), headers={"content-type": "application/msgpack"}
    )
    assert packed.headers["content-type"] == "application/msgpack"
    plain = httpx.post(served.url + path, content=TEXT).json()
    unpacked = msgpack.unpackb(packed.content)
    assert {**unpacked, "timings": 0} == {**plain, "timings": 0} or path == "/explain"
    assert unpacked.keys() == plain.keys()


@pytest.mark.parametrize("path", ["/predict", "/explain"])
def test_other_forms_get_415_and_what_is_taken(served: Served, path: str) -> None:
    answer = httpx.post(served.url + path, content=TEXT, headers={"content-encoding": "br"})
    assert (answer.status_code, answer.json()["error_type"]) == (415, "unsupported_encoding")
    assert answer.headers["accept-encoding"] == "gzip, deflate"
    answer = httpx.post(served.url + path, content=TEXT, headers={"content-type": "application/xml"})
    assert (answer.status_code, answer.json()["error_type"]) == (415, "unsupported_type")
    assert answer.headers["accept-post"] == "application/json, application/msgpack"


def test_bombs_are_refused_and_hold_nobody_up(served: Served) -> None:
    bomb = gzip.compress(b" " * (64 << 20))
    with httpx.Client(base_url=served.url, timeout=30) as client, ThreadPoolExecutor(8) as others:

        def explode() -> int:
            headers = {"content-encoding": "gzip"}
            return httpx.post(f"{served.url}/predict", content=bomb, headers=headers, timeout=30).status_code

        bombs = [others.submit(explode) for _ in range(40)]
        assert client.post("/predict", json=REQUEST).status_code == 200
        assert {one.result() for one in bombs} == {413}
        broken = client.post("/predict", content=b"nothing", headers={"content-encoding": "gzip"})
        assert (broken.status_code, broken.json()["error_type"]) == (400, "invalid_encoding")
        broken = client.post("/predict", content=b"\xc1", headers={"content-type": "application/msgpack"})
        assert (broken.status_code, broken.json()["error_type"]) == (400, "invalid_msgpack")


def test_curl_as_it_names_bodies_itself(served: Served, right: list[str]) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("there is no curl")
    done = subprocess.run(
        [curl, "--silent", "--fail", "-d", TEXT, f"{served.url}/predict"], capture_output=True, timeout=30, check=True
    )
    assert json.loads(done.stdout)["ranking"] == right


def test_nodes_fetch_with_text_gzip_and_numbers(served: Served, right: list[str]) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no Node")
    done = subprocess.run(
        [node, "-e", NODE, f"{served.url}/predict", TEXT.decode()],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [status for status, _ in answers] == [200] * 3, answers
    assert [answer["ranking"] for _, answer in answers] == [right] * 3


def test_bentomls_client_needs_no_request_id_and_no_user(served: Served, right: list[str]) -> None:
    program = (
        "import bentoml, json, sys\n"
        "with bentoml.SyncHTTPClient(sys.argv[1]) as client:\n"
        "    print(json.dumps(client.predict(userId='3', productIds=['1', '2', '3'])))\n"
        "    print(json.dumps(client.predict(productIds=['1', '2', '3'])))"
    )
    command = [sys.executable, "-c", program, served.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    answer, for_nobody = map(json.loads, done.stdout.splitlines())
    assert answer["ranking"] == right
    assert answer["requestId"]
    assert (len(for_nobody["ranking"]), for_nobody["missingUser"]) == (3, False)
