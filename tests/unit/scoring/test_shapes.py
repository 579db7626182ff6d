import numpy as np
import pytest

from ranker.errors import WrongShape
from ranker.scoring.shapes import as_float32, refuse_other_shape


@pytest.mark.parametrize(
    "matrix",
    [np.zeros(4, np.float32), np.zeros((2, 3), np.float32), np.zeros((2, 4)), np.zeros((2, 4, 1), np.float32)],
    ids=["one axis", "three columns", "doubles", "three axes"],
)
def test_a_matrix_that_differs_in_one_thing_is_refused(matrix: np.ndarray) -> None:
    with pytest.raises(WrongShape, match=r"\(n, 4\) of float32"):
        refuse_other_shape(matrix, 4)
    refuse_other_shape(np.zeros((2, 4), np.float32), 4)


def test_scores_of_float32_are_not_copied_and_become_contiguous() -> None:
    scores = np.arange(6, dtype=np.float32)
    assert as_float32(scores) is scores
    assert as_float32(scores[::2]).flags.c_contiguous


def test_doubles_become_float32_without_a_warning_and_infinite_beyond_its_range() -> None:
    scores = as_float32(np.array([0.1, 1e300, -1e300]))
    assert scores.dtype == np.float32
    assert scores.tolist() == [np.float32(0.1), np.inf, -np.inf]
