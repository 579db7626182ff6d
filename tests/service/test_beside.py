"""Services beside each other on one machine, of one user, with one BENTOML_HOME; and what they leave there."""

from __future__ import annotations

from pathlib import Path

import httpx
import psutil
import pytest

from tests.service.conftest import Shop, serve
from tests.service.test_lifecycle import ask, metric
from tests.service.test_processes import WHOLE_AGAIN_S, answered
from tests.service.test_startup import start

pytestmark = pytest.mark.slow  # starts services beside each other


def folders(path: Path) -> list[Path]:
    """What is left: BentoML's folders or ours; single files are other libraries'."""
    return [found for found in path.iterdir() if found.is_dir()]


def test_services_beside_each_other_count_what_they_answered(stocked: Shop, short_path: Path) -> None:
    env = stocked.environment | {"TMPDIR": str(short_path), "RANKER_RUNNER": "local"}
    with serve(env, short_path / "first.log") as first:
        for _ in range(5):
            ask(first.url)
        with serve(env, short_path / "second.log") as second:
            for _ in range(3):
                ask(second.url)
            code, said = start(env, port=httpx.URL(first.url).port)
            assert code != 0
            assert "Address already in use" in said
            assert (answered(first), answered(second)) == (5, 3)
        ask(first.url)
        assert answered(first) == 6
        assert metric(first.url, "ranker_cache_keeping") == 1
        assert len(folders(short_path)) == 1
    assert folders(short_path) == []


@pytest.mark.parametrize("killed", ["supervisor", "all"])
def test_killed_service_leaves_nothing_for_ever(stocked: Shop, short_path: Path, killed: str) -> None:
    temporary = short_path / "t"
    temporary.mkdir()
    env = stocked.environment | {"TMPDIR": str(temporary)}
    with serve(env, short_path / "log") as served:
        ask(served.url)
        whole = psutil.Process(served.process.pid)
        workers = whole.children(recursive=True)
        for process in workers if killed == "all" else ():
            process.suspend()  # or they may notice that the supervisor is gone
        whole.kill()
        for process in workers if killed == "all" else ():
            process.kill()
        _, alive = psutil.wait_procs(workers, timeout=WHOLE_AGAIN_S)
        assert not alive
    if killed == "all":
        assert start(env | {"RANKER_REDIS_URL": "unix:///tmp/no-such.sock"})[0] != 0
    assert folders(temporary) == []


def test_long_name_of_the_temporary_folder_keeps_nothing_from_being_scored(stocked: Shop, short_path: Path) -> None:
    long = short_path / ("x" * 80)
    long.mkdir()
    with serve(stocked.environment | {"TMPDIR": str(long)}, short_path / "log") as served:
        assert ask(served.url).json()["degraded"] is False
    assert "Traceback" not in served.log.read_text()
