import numpy as np
import pytest

from ranker.scoring.split.trees.leaves import pad_leaves
from ranker.scoring.split.trees.votes import Votes


@pytest.mark.parametrize(
    ("starts", "targets", "adds", "single"),
    [
        ([0, 1, 2, 3], [1, 1, 1], True, True),
        ([0, 1], [1], True, True),
        ([0, 1, 2, 3], [1, 1, 1], False, False),
        ([0, 1, 2, 3], [0, 1, 1], True, False),
        ([0, 2, 2, 3], [1, 1, 1], True, False),
        ([0, 2, 4, 6], [1, 1, 1, 1, 1, 1], True, False),
    ],
)
def test_one_vote_a_leaf_for_one_target_that_is_added_needs_no_look_up(
    starts: list[int], targets: list[int], adds: bool, single: bool
) -> None:
    weights = np.arange(len(targets), dtype=np.float32)
    votes = Votes(np.array(starts), np.array(targets), weights)
    leaves = pad_leaves(np.array([0, 1, 3]), np.array([0, 1]), votes, 2, 1, adds)
    assert leaves.single is single
    beyond = 2 * 64 + 1  # a mask of the widest tree without any bit points so far
    assert leaves.start.tolist() == starts + [starts[-1]] * beyond
    assert leaves.weight.tolist() == weights.tolist() + [0.0] * (beyond if single else 0)
