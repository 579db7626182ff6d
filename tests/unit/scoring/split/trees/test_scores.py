import numpy as np
import pytest

from ranker.scoring.split.trees.scores import Aggregate, Finish, Rule, Transform


def finish(
    sums: list[list[float]],
    *,
    rule: Rule = Rule.PLAIN,
    aggregate: Aggregate = Aggregate.SUM,
    transform: Transform = Transform.NONE,
    base: tuple[float, ...] = (0.0,),
    voted: tuple[bool, ...] | None = None,
) -> list[list[float]]:
    """The scores of rows, from sums of four trees in float64."""
    of = Finish(rule, aggregate, transform, 4, np.array(base), np.array(voted or [True] * len(base)))
    scores = of.apply(np.array(sums))
    assert scores.dtype == np.float32
    scores_as_they_are: list[list[float]] = scores.tolist()
    return scores_as_they_are


def test_sums_of_doubles_that_nothing_is_done_with_become_float32() -> None:
    assert finish([[0.1], [2.0]]) == [[float(np.float32(0.1))], [2.0]]


def test_an_average_is_the_sum_by_the_number_of_trees_and_then_gets_the_base() -> None:
    assert finish([[8.0, 2.0]], aggregate=Aggregate.AVERAGE, base=(1.0, 0.0)) == [[3.0, 0.5]]


@pytest.mark.parametrize(("rule", "first"), [(Rule.COMPLEMENT, 0.25), (Rule.OPPOSITE, -0.75)])
def test_one_column_for_two_classes_gives_both(rule: Rule, first: float) -> None:
    assert finish([[0.5]], rule=rule, base=(0.25,)) == [[first, 0.75]]
    assert finish([[2.0]], rule=rule, aggregate=Aggregate.AVERAGE, base=(0.25,))[0][1] == 0.75
    low, high = 1 / (1 + np.exp([2.0, -2.0]))
    both = finish([[1.5]], rule=rule, transform=Transform.LOGISTIC, base=(0.5,))[0]
    assert both == pytest.approx([low, high], abs=1e-6)


def test_the_second_class_of_two_base_values_gets_the_sum_and_the_first_its_opposite() -> None:
    mirrored = finish([[2.0, 9.0], [-4.0, 9.0], [0.0, 9.0]], rule=Rule.MIRRORED, base=(5.0, 1.0))
    assert mirrored == [[-3.0, 3.0], [3.0, -3.0], [-1.0, 1.0]]


@pytest.mark.parametrize("aggregate", [Aggregate.MIN, Aggregate.MAX])
def test_a_target_that_no_tree_voted_for_in_a_row_is_0_and_an_infinite_vote_stays(aggregate: Aggregate) -> None:
    given = finish([[np.nan], [np.inf], [-np.inf], [3.0]], aggregate=aggregate, base=(0.0,))
    assert given == [[0.0], [np.inf], [-np.inf], [3.0]]
    assert np.isnan(finish([[np.nan]], base=(1.0,))).all()  # a sum that is NaN is one


def test_a_target_that_no_tree_votes_for_is_0_whatever_its_base() -> None:
    assert finish([[1.0, 2.0]], base=(0.5, 3.0), voted=(True, False)) == [[1.5, 0.0]]


def test_one_target_is_transformed_by_probit_alone() -> None:
    for transform in (Transform.LOGISTIC, Transform.SOFTMAX, Transform.SOFTMAX_ZERO):
        assert finish([[2.0]], transform=transform, base=(1.0,)) == [[3.0]]
    probit = finish([[0.3], [0.5], [0.75], [0.05]], transform=Transform.PROBIT, base=(0.1,))
    assert np.ravel(probit) == pytest.approx([-0.25335, 0.25335, 1.03643, -1.03643], abs=0.01)


def test_several_targets_are_transformed_row_by_row() -> None:
    rows = np.array([[1.0, 3.0, 0.0], [-2.0, 0.5, 0.0]])
    shares = np.exp(rows) / np.exp(rows).sum(axis=1, keepdims=True)
    base = (0.0, 0.0, 0.0)
    np.testing.assert_allclose(finish(rows.tolist(), transform=Transform.SOFTMAX, base=base), shares, rtol=1e-5)
    kept = np.exp(rows[:, :2]) / np.exp(rows[:, :2]).sum(axis=1, keepdims=True)
    of_zero = finish(rows.tolist(), transform=Transform.SOFTMAX_ZERO, base=base)
    np.testing.assert_allclose(of_zero, np.c_[kept, [0.0, 0.0]], rtol=1e-5)
    logistic = finish(rows.tolist(), transform=Transform.LOGISTIC, base=base)
    np.testing.assert_allclose(logistic, 1 / (1 + np.exp(-rows)), rtol=1e-5)


def test_softmax_of_rows_far_apart_and_logistic_of_large_sums_stay_numbers() -> None:
    rows, base = [[500.0, 499.0], [-500.0, -499.0], [-np.inf, 0.0]], (0.0, 0.0)
    high, low = 1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1))
    shares = finish(rows, transform=Transform.SOFTMAX, base=base)
    np.testing.assert_allclose(shares, [[high, low], [low, high], [0.0, 1.0]], rtol=1e-5)
    assert finish(rows, transform=Transform.LOGISTIC, base=base) == [[1.0, 1.0], [0.0, 0.0], [0.0, 0.5]]


def test_softmax_that_keeps_zeros_gives_what_is_next_to_zero_its_share_of_nothing() -> None:
    zero, next_to_it = np.float32(1e-7), np.nextafter(np.float32(1e-7), np.float32(1))
    kept, other = finish(
        [[float(zero), 3.0], [float(next_to_it), 3.0]], transform=Transform.SOFTMAX_ZERO, base=(0.0,) * 2
    )
    assert kept == pytest.approx([1e-7 * np.exp(-3), 1.0], rel=1e-4)
    assert other == pytest.approx([1 / (1 + np.exp(3)), 1 / (1 + np.exp(-3))], rel=1e-4)


def test_sums_without_a_score_that_is_a_number_warn_of_nothing() -> None:
    endless = finish([[np.inf, 0.0]], transform=Transform.SOFTMAX, base=(0.0, 0.0))
    assert np.isnan(endless[0][0])
    beyond = np.ravel(finish([[0.0], [1.0], [2.0]], transform=Transform.PROBIT))
    assert (beyond[:2].tolist(), np.isnan(beyond[2])) == ([-np.inf, np.inf], True)


def test_logistic_of_one_column_is_computed_in_float32() -> None:
    sums = np.linspace(-9, 9, 301)
    both = finish(sums[:, np.newaxis].tolist(), rule=Rule.COMPLEMENT, transform=Transform.LOGISTIC)
    exact = sums.astype(np.float32)
    upper = 1 / (1 + np.exp(-np.abs(exact)))
    np.testing.assert_array_equal(np.array(both)[:, 1], np.where(exact < 0, 1 - upper, upper).astype(np.float64))
    np.testing.assert_array_equal(np.array(both)[:, 0], np.where(exact <= 0, upper, 1 - upper).astype(np.float64))
