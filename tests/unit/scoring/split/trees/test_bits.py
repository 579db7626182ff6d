from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from ranker.scoring.split.parts import Side
from ranker.scoring.split.trees import bits
from ranker.scoring.split.trees.attributes import NotSplittable
from ranker.scoring.split.trees.bits import Kind, decide, number_leaves
from ranker.scoring.split.trees.node import Mode, Trees
from ranker.scoring.split.trees.scores import Aggregate, Transform

LARGEST = float(np.finfo(np.float32).max)


def chain(modes: Sequence[Mode], thresholds: Sequence[float], members: dict[int, tuple[float, ...]]) -> Trees:
    """One tree of nodes, each with a leaf where its answer is yes, and the next node where it is no."""
    n = len(modes)
    return Trees(
        roots=[0],
        modes=[*modes, *[Mode.LEAF] * (n + 1)],
        features=[0] * (2 * n + 1),
        thresholds=[*thresholds, *[0.0] * (n + 1)],
        missing=[False] * (2 * n + 1),
        members=members,
        true=[n + i for i in range(n)],
        false=[*range(1, n), 2 * n],
        votes={n + i: [(0, float(i))] for i in range(n + 1)},
        targets=1,
        dtype=np.dtype(np.float32),
        base=(),
        aggregate=Aggregate.SUM,
        transform=Transform.NONE,
        classifier=False,
    )


def answers(mode: Mode, threshold: float, values: Sequence[float], members: tuple[float, ...] = ()) -> list[bool]:
    """Whether values of float32 get the answer yes, from the condition that a node's becomes."""
    asked = decide(chain([mode], [threshold], {0: members} if members else {}))
    kind, bound, some = Kind(int(asked.kind[0])), np.float32(asked.threshold[0]), asked.members.get(0, ())
    assert asked.threshold.dtype == np.float64
    no = {
        Kind.ABOVE: lambda value: value > bound,
        Kind.BELOW: lambda value: value < bound,
        Kind.OUTSIDE: lambda value: value not in some,
        Kind.AMONG: lambda value: value in some,
    }[kind]
    given = [np.float32(value) for value in values]
    return [bool(asked.never[0] or not (asked.by_nan[0] if np.isnan(value) else no(value))) for value in given]


COMPARED = {
    Mode.LEQ: np.less_equal,
    Mode.LT: np.less,
    Mode.GTE: np.greater_equal,
    Mode.GT: np.greater,
    Mode.EQ: np.equal,
    Mode.NEQ: np.not_equal,
}


@pytest.mark.parametrize("mode", COMPARED)
@pytest.mark.parametrize("threshold", [0.0, -0.0, 0.1, -0.1, 2.0, 1e300, -1e300, np.inf, -np.inf, LARGEST, np.nan])
def test_float32_gets_the_answer_that_it_has_in_doubles(mode: Mode, threshold: float) -> None:
    near = np.float32(np.clip(threshold, -LARGEST, LARGEST))
    values = [0.0, -0.0, np.nan, np.inf, -np.inf, 2.0, 3.0, LARGEST, -LARGEST, float(near)]
    with np.errstate(over="ignore"):
        values += [float(np.nextafter(near, np.float32(side))) for side in (-np.inf, np.inf)]
    expected = COMPARED[mode](np.array(values, np.float32).astype(np.float64), threshold)
    assert answers(mode, threshold, values) == expected.tolist()


def test_members_are_those_that_a_float32_can_be_equal_to() -> None:
    assert answers(Mode.MEMBER, 7.0, [0.0, 2.0, 7.0, 0.1], (-0.0, 2.0, 0.1, 1e300)) == [True, True, False, False]
    trees = chain([Mode.MEMBER, Mode.EQ, Mode.NEQ], [7.0, -0.0, 0.1], {0: (-0.0, 2.0, 0.1)})
    asked = decide(trees)
    assert asked.members == {0: (0.0, 2.0), 1: (0.0,), 2: ()}
    assert [str(member) for member in (*asked.members[0], *asked.members[1])] == ["0.0", "2.0", "0.0"]
    assert asked.threshold[:3].tolist() == [0.0, 0.0, 0.0]
    assert asked.never.dtype == asked.by_nan.dtype == np.bool_
    assert asked.never.tolist() == [False, False, True, *[False] * 4]  # nothing of float32 is 0.1 of float64


def test_zero_has_one_sign_as_a_threshold() -> None:
    assert str(decide(chain([Mode.LEQ], [-0.0], {})).threshold[0]) == "0.0"


def test_where_nan_is_led_to_yes_it_is_not_ruled_out() -> None:
    trees = chain([Mode.LEQ, Mode.LEQ, Mode.NEQ], [0.0, 0.0, 1.0], {})
    asked = decide(replace(trees, missing=[True, False, *[False] * 5]))
    assert asked.by_nan[:3].tolist() == [False, True, False]


def of_leaves(count: int) -> Trees:
    return chain([Mode.LEQ] * (count - 1), [float(i) for i in range(count - 1)], {})


def test_a_tree_has_so_many_leaves_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bits, "MAX_LEAVES", 5)
    columns = [(Side.REQUEST, 0)]
    twice = replace(of_leaves(5), roots=[0, 0])
    assert len(number_leaves(twice, columns).leaves) == 10  # each of so many
    with pytest.raises(NotSplittable, match="more than 5 leaves"):
        number_leaves(of_leaves(6), columns)
    back = of_leaves(3)
    for branch in ("true", "false"):
        with pytest.raises(NotSplittable, match="leads back to itself"):
            number_leaves(replace(back, **{branch: [0, 0]}), columns)


def test_a_column_that_is_not_there_is_refused() -> None:
    with pytest.raises(NotSplittable):
        number_leaves(replace(of_leaves(2), features=[1, 0, 0]), [(Side.REQUEST, 0)])


@pytest.mark.parametrize("count", [64, 65, 128, 129])
def test_an_entry_clears_bits_in_the_words_of_its_leaves_alone(count: int) -> None:
    numbered = number_leaves(of_leaves(count), [(Side.PRODUCT, 2)])
    cleared = numbered.sides[Side.PRODUCT]
    assert cleared.columns.tolist() == [2] * (count - 1)
    assert cleared.words.tolist() == [node // 64 for node in range(count - 1)]
    full = (1 << 64) - 1
    assert cleared.keeps.tolist() == [full ^ (1 << node % 64) for node in range(count - 1)]
    for of_side in numbered.sides.values():
        assert of_side.words.dtype == of_side.columns.dtype == of_side.nodes.dtype == np.int64
    assert numbered.sides[Side.REQUEST].nodes.size == 0


def test_trees_of_one_leaf_ask_nothing_and_need_no_columns() -> None:
    numbered = number_leaves(replace(of_leaves(1), roots=[0, 0]), [])
    assert (numbered.tree_word.tolist(), numbered.tree_leaf.tolist(), numbered.words) == ([0, 1], [0, 1], 2)
    for of_side in numbered.sides.values():
        assert of_side.words.dtype == of_side.columns.dtype == of_side.nodes.dtype == np.int64
        assert (of_side.keeps.dtype, of_side.nodes.size) == (np.uint64, 0)


def test_nodes_behind_one_that_is_always_answered_yes_are_asked_still() -> None:
    trees = replace(chain([Mode.LEQ, Mode.NEQ, Mode.LEQ], [1.0, 0.1, 2.0], {}), features=[0, 9, 0, *[0] * 4])
    numbered = number_leaves(trees, [(Side.REQUEST, 0)])  # nothing of float32 is 0.1: its column is not looked at
    assert sorted(numbered.sides[Side.REQUEST].nodes.tolist()) == [0, 2]
