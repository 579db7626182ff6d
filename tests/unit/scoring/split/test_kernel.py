"""Which kernel is chosen, and that the compiled one is ready before the first request."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest

from ranker.scoring.split.trees import kernel, kernel_numba, kernel_numpy
from tests.unit.scoring.split.test_ensemble import some_ensemble


@pytest.fixture(autouse=True)
def choose_anew() -> Iterator[None]:
    kernel.choose_kernel.cache_clear()
    yield
    kernel.choose_kernel.cache_clear()


def test_numpy_takes_the_place_of_numba_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delitem(sys.modules, kernel_numba.__name__)
    monkeypatch.delattr(sys.modules["ranker.scoring.split.trees"], "kernel_numba")
    monkeypatch.setitem(sys.modules, "numba", None)
    with caplog.at_level(logging.WARNING):
        assert kernel.choose_kernel() is kernel_numpy
        assert kernel.choose_kernel() is kernel_numpy
    (line,) = caplog.messages
    assert "pip install 'bento-ranker[trees]'" in line


def test_trees_are_compiled_once_and_before_they_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    ensemble = some_ensemble()
    assert ensemble.kernel is kernel_numba

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("compiled once more")

    monkeypatch.setattr(kernel_numba.numba, "njit", refuse)
    some_ensemble()


def test_model_without_trees_does_not_import_numba() -> None:
    script = "import sys, ranker.scoring.split.ensemble; sys.exit('numba' in sys.modules or 'llvmlite' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], timeout=60, check=False).returncode == 0
