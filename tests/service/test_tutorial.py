"""The tutorial, block by block, as a new user would follow it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from redis import Redis

from ranker.demo.redis import EmbeddedRedis
from tests.service.conftest import environment
from tests.service.test_serve_cli import printed_request, serving
from tests.support.pages import marked, page

pytestmark = pytest.mark.slow

CURL = """#!{python}
import re, sys, httpx
url, body = re.search(r"http://\\\\S+", " ".join(sys.argv))[0], sys.argv[sys.argv.index("-d") + 1]
print(httpx.post(url, content=body, headers={{"content-type": "application/json"}}).text)
"""


def tutorial() -> list[tuple[str, str]]:
    """The blocks, each with its language."""
    section = marked(page("tutorial/your-model"), "tutorial")
    return re.findall(r"^```(\w+)\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)


@pytest.mark.timeout(240)
def test_the_tutorial_leads_to_a_verified_ranking(tmp_path: Path, short_path: Path) -> None:
    server = EmbeddedRedis(short_path / "redis")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "curl").write_text(CURL.format(python=sys.executable))  # a bare machine has none
    (programs / "curl").chmod(0o755)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}:{programs}"
    # PYTHONPATH would let the user's directory differ from the installed package; the tutorial needs none.
    env = environment(tmp_path, RANKER_REDIS_URL=server.url) | {"PATH": path}
    del env["PYTHONPATH"]
    outputs: list[str] = []
    url = "http://127.0.0.1:3000"
    with ExitStack() as stack:
        stack.callback(server.stop)
        server.start()
        for language, text in tutorial():
            if language in ("python", "yaml"):
                name = text.splitlines()[0].removeprefix("# ")
                (tmp_path / name).write_text(text)
                continue
            if text.startswith("ranker serve "):
                options = text.removeprefix("ranker serve ").split()
                served = stack.enter_context(serving(env, tmp_path, tmp_path / "log", *options))
                url = printed_request(served.printed)[0].removesuffix("/predict")
                continue
            commands = text.replace("http://127.0.0.1:3000", url)
            done = subprocess.run(
                ["bash", "-euc", commands], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120
            )
            assert done.returncode == 0, done.stdout + done.stderr
            outputs.append(done.stdout)
        with Redis.from_url(server.url) as client:
            assert client.dbsize() == 500 + 2000 + 2
        imported, loaded, asked = outputs
        assert "Imported" in imported
        assert "Loaded 500 user vectors" in loaded
        assert "Loaded 2,000 product vectors" in loaded
        answer, *lines = asked.splitlines()
        ranked = json.loads(re.match(r"\{.*?\}", answer)[0])  # type: ignore[index]  # fails where nothing matches
        assert len(ranked["ranking"]) == 3
        assert ranked["missing"] == []
        report = "\n".join([answer, *lines])
        assert "user parity: 500 rows stored as in users.csv, rounded to float32" in report
        assert "product parity: 2,000 rows stored as in products.csv, rounded to float32" in report
        assert "score parity: 500 served scores" in report
        assert "fail" not in report

        (program,) = re.findall(r"^```python\n(.*?)^```$", page("how-to/write-features"), re.DOTALL | re.MULTILINE)
        command = [sys.executable, "-c", program.replace("redis://localhost:6379/0", server.url)]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        done = subprocess.run(
            ["ranker", "features", "inspect", "p2", "--model", "shoes", "--json"],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert json.loads(done.stdout)[0]["features"] == {"price": 120.0, "stock": 0.0}

        # And what is verified can fail: another price, and the scores that come of it.
        (tmp_path / "products.csv").write_text(
            re.sub(r"(?m)^(p\d+),[\d.]+,", r"\1,1.0,", (tmp_path / "products.csv").read_text())
        )
        command = [sys.executable, "-m", "ranker", "features", "verify", "--model", "shoes", "--json"]
        files = ["--users", "users.csv", "--products", "products.csv", "--service", url]
        done = subprocess.run([*command, *files], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120)
        assert done.returncode == 1, done.stderr
        findings = {finding["check"]: finding for finding in json.loads(done.stdout)["findings"]}
        assert findings["user parity"]["status"] == "ok"
        assert findings["product parity"]["status"] == "fail"
        assert findings["product parity"]["data"]["different"] > 1900
        assert findings["score parity"]["status"] == "fail"
        assert httpx.get(f"{url}/readyz").status_code == 200
