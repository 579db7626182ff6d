from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable

import numpy as np
import pytest

from ranker.demo import synthetic
from ranker.demo.synthetic import BLOCK, WIDTH
from ranker.errors import DemoPackageMissing
from ranker.scoring.model import OnnxModel


def test_ids_are_ascii_unique_and_of_one_length() -> None:
    for ids in (synthetic.user_ids(1000), synthetic.product_ids(1000)):
        assert len(set(ids)) == 1000
        assert all(len(i) == 8 and i.isascii() for i in ids)
    assert synthetic.product_ids(1) == ["p0000001"]
    assert synthetic.product_ids(1_000_000)[-1] == "p1000000"


@pytest.mark.parametrize("rows", [synthetic.user_rows, synthetic.product_rows])
@pytest.mark.parametrize("n", [1, 100, BLOCK, BLOCK + 1])
def test_a_row_does_not_depend_on_how_many_are_made(rows: Callable[[int], Iterable[np.ndarray]], n: int) -> None:
    few, many = np.concatenate(list(rows(n))), np.concatenate(list(rows(2 * BLOCK)))
    assert few.shape == (n, WIDTH)
    assert few.dtype == np.float32
    assert (few == many[:n]).all()


def test_users_differ_from_products() -> None:
    assert not (next(synthetic.user_rows(10)) == next(synthetic.product_rows(10))).any()


def test_rows_come_in_blocks() -> None:
    assert [len(block) for block in synthetic.product_rows(2 * BLOCK + 5)] == [BLOCK, BLOCK, 5]
    assert list(synthetic.product_rows(0)) == []


def test_model_is_seeded_and_one_the_service_takes() -> None:
    onnx = synthetic.build_model()
    assert synthetic.build_model() == onnx
    users, products = next(synthetic.user_rows(1)), next(synthetic.product_rows(300))
    matrix = np.hstack([np.repeat(users, 300, axis=0), products])
    scores = OnnxModel(onnx, synthetic.schema()).score(matrix)
    assert scores.shape == (300,)
    assert ((scores > 0) & (scores < 1)).all()
    assert len(np.unique(scores)) > 290


def test_all_but_the_model_needs_only_numpy() -> None:
    code = """
import sys
from ranker.demo import synthetic
next(synthetic.user_rows(1)); synthetic.schema(); synthetic.product_ids(1)
print([name for name in ("onnx", "sklearn", "skl2onnx", "onnxruntime", "bentoml", "redis") if name in sys.modules])
"""
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


def test_missing_onnx_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(DemoPackageMissing, match="onnx"):
        synthetic.build_model()
