from collections.abc import Callable

import numpy as np
import pytest

from ranker.vectors.rows import Rows, RowStatus


@pytest.mark.parametrize("n", [0, 1, 3])
@pytest.mark.parametrize(("make", "status"), [(Rows.missing, RowStatus.MISSING), (Rows.unread, RowStatus.UNREAD)])
def test_rows_that_were_not_found_have_their_shape_and_are_marked(
    n: int, make: Callable[[int, int], Rows], status: RowStatus
) -> None:
    rows = make(n, 2)
    assert (rows.values.shape, rows.values.dtype) == ((n, 2), np.float32)
    assert (rows.statuses.tolist(), rows.statuses.dtype) == ([status] * n, np.uint8)
    assert rows.complete is (n == 0)
    assert len(rows) == n


def test_rows_taken_are_a_copy_and_complete_when_all_of_them_were_found() -> None:
    statuses = np.array([RowStatus.FOUND, RowStatus.CORRUPT, RowStatus.FOUND], np.uint8)
    rows = Rows(np.array([[1], [2], [3]], np.float32), statuses, complete=False)
    found, some = rows.taken([2, 0]), rows.taken(np.array([0, 1]))
    assert (found.values.tolist(), found.statuses.tolist(), found.complete) == ([[3], [1]], [0, 0], True)
    assert (some.values.tolist(), some.statuses.tolist(), some.complete) == ([[1], [2]], [0, RowStatus.CORRUPT], False)
    found.values[:] = 9
    assert rows.values.tolist() == [[1], [2], [3]]


def test_rows_that_need_not_be_looked_for_are_all_found() -> None:
    values = np.array([[1], [2]], np.float32)
    rows = Rows.known(values)
    assert rows.values is values
    assert (rows.statuses.tolist(), rows.statuses.dtype, rows.complete) == ([RowStatus.FOUND] * 2, np.uint8, True)


def test_part_of_rows_is_a_view_and_complete_when_all_of_it_was_found() -> None:
    statuses = np.array([RowStatus.FOUND, RowStatus.CORRUPT, RowStatus.FOUND], np.uint8)
    rows = Rows(np.array([[1], [2], [3]], np.float32), statuses, complete=False)
    assert [(rows.part(at, at + 1).complete, rows.part(at, 3).complete) for at in range(3)] == [
        (True, False),
        (False, False),
        (True, True),
    ]
    assert rows.part(1, 3).statuses.tolist() == [RowStatus.CORRUPT, RowStatus.FOUND]
    rows.part(1, 3).values[:] = 9
    assert rows.values.tolist() == [[1], [9], [9]]
