"""The notebooks of examples/ run as they are, from an empty model store and an empty Redis."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from redis import Redis

from tests.service.conftest import PROJECT, environment

NOTEBOOKS = sorted((PROJECT / "examples" / "notebooks").glob("*.ipynb"))


def test_there_are_notebooks_and_they_show_what_they_found() -> None:
    assert [path.name for path in NOTEBOOKS] == ["feature-log.ipynb", "train-and-serve.ipynb"]
    for path in NOTEBOOKS:
        cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1)), path.name
        assert any(cell.outputs for cell in cells)
        assert str(PROJECT) not in path.read_text()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Jupyter's own event loop and sockets
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path: Path, redis_client: Redis, redis_url: str, tmp_path: Path) -> None:
    env = environment(tmp_path, RANKER_REDIS_URL=redis_url)
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory(prefix="ranker-", dir="/tmp") as runtime:  # sockets are made there
        env |= {"JUPYTER_RUNTIME_DIR": runtime, "IPYTHONDIR": str(tmp_path / "ipython"), "MPLBACKEND": "agg"}
        client = NotebookClient(
            notebook, timeout=110, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
        )
        client.execute(env=os.environ | env)
    if target := os.environ.get("SAVE_NOTEBOOKS"):
        nbformat.write(notebook, Path(target) / path.name)
