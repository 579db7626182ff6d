"""Clients that offer HTTP/2 with each request they send in clear, as their makers ship them."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.service.conftest import Served

BODY = '{"requestId": "r", "userId": "3", "productIds": ["1", "2", "3"]}'
JAVA = """
import java.net.URI;
import java.net.http.*;

public class Ask {
    public static void main(String[] given) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        for (int i = 0; i < 3; i++) {
            HttpRequest request = HttpRequest.newBuilder(URI.create(given[0]))
                .header("content-type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString(given[1])).build();
            HttpResponse<String> response = client.send(request, HttpResponse.BodyHandlers.ofString());
            System.out.println(response.statusCode() + " " + response.body());
        }
    }
}
"""


def test_curl_with_http2_gets_its_ranking(local: Served) -> None:
    curl = shutil.which("curl")
    if curl is None or "HTTP2" not in subprocess.run([curl, "--version"], capture_output=True, text=True).stdout:
        pytest.skip("there is no curl with HTTP/2")
    command = [curl, "--silent", "--show-error", "--http2", "--json", BODY, f"{local.url}/predict"]
    done = subprocess.run([*command, "--next", *command[1:]], capture_output=True, text=True, timeout=60, check=True)
    answers = done.stdout.replace("}{", "}\n{").splitlines()
    assert [len(json.loads(answer)["ranking"]) for answer in answers] == [3, 3]
    assert "upgrade" not in local.log.read_text().lower()


def test_javas_own_client_gets_its_ranking(local: Served, tmp_path: Path) -> None:
    java = shutil.which("java")
    modules = subprocess.run([java, "--list-modules"], capture_output=True, text=True).stdout if java else ""
    if java is None or "jdk.compiler" not in modules:
        pytest.skip("there is no JDK")
    (tmp_path / "Ask.java").write_text(JAVA)
    command = [java, str(tmp_path / "Ask.java"), f"{local.url}/predict", BODY]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    for line in lines:
        status, _, answer = line.partition(" ")
        assert status == "200", line
        assert len(json.loads(answer)["ranking"]) == 3
