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
    described = image.describe()
    described.lock_python_packages = False  # as bentofile.yaml has it
    described.python_requirements = LOCK
    described.freeze(tmp_path, [])
    asked = (tmp_path / "env" / "python" / "requirements.txt").read_text()
    assert set(re.findall(r"(?m)^bentoml==([\w.]+)", asked)) == {bentoml.__version__}


def test_bento_of_another_bentoml_than_the_locked_one_is_refused_before_it_is_written(tmp_path: Path) -> None:
    described = image.describe()
    described.python_requirements = LOCK.replace(f"bentoml=={bentoml.__version__}", "bentoml==1.4.1")
    with pytest.raises(bentoml.exceptions.BentoMLException, match=r"locks BentoML 1\.4\.1, and .* runs here"):
        described.freeze(tmp_path, [])
    assert not list(tmp_path.iterdir())
