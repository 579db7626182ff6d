"""A Bento's image asks for one BentoML, or is not built."""

import re
from pathlib import Path

import bentoml
import pytest

from ranker import image
from tests.support.pages import PROJECT

LOCK = (PROJECT / "requirements" / "serve.txt").read_text()


@pytest.mark.filterwarnings("ignore:path is deprecated:DeprecationWarning")  # BentoML's
def test_one_bentoml_is_asked_for_and_it_is_the_locked_one(tmp_path: Path) -> None:
    described = image.describe(compiles_trees=False)
    described.lock_python_packages = False  # as bentofile.yaml has it
    described.python_requirements = LOCK
    described.freeze(tmp_path, [])
    asked = (tmp_path / "env" / "python" / "requirements.txt").read_text()
    assert set(re.findall(r"(?m)^bentoml==([\w.]+)", asked)) == {bentoml.__version__}


@pytest.mark.filterwarnings("ignore:path is deprecated:DeprecationWarning")  # BentoML's
@pytest.mark.parametrize("trees", [True, False])
def test_numba_is_asked_for_where_a_model_has_trees_and_as_it_is_locked(trees: bool, tmp_path: Path) -> None:
    described = image.describe(compiles_trees=trees)
    described.lock_python_packages = False
    described.python_requirements = LOCK
    described.freeze(tmp_path, [])
    asked = (tmp_path / "env" / "python" / "requirements.txt").read_text()
    locked = re.findall(r"(?m)^((?:numba|llvmlite)==[\w.]+ \\\n +--hash)", image.TREES.read_text())
    assert len(locked) == 2
    assert [line for line in locked if line in asked] == (locked if trees else [])
    development = (PROJECT / "requirements" / "dev.txt").read_text()
    assert [line for line in locked if line in development] == locked


def test_bento_of_another_bentoml_than_the_locked_one_is_refused_before_it_is_written(tmp_path: Path) -> None:
    described = image.describe(compiles_trees=False)
    described.python_requirements = LOCK.replace(f"bentoml=={bentoml.__version__}", "bentoml==1.4.1")
    with pytest.raises(bentoml.exceptions.BentoMLException, match=r"locks BentoML 1\.4\.1, and .* runs here"):
        described.freeze(tmp_path, [])
    assert not list(tmp_path.iterdir())
