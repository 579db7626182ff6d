import pytest

from ranker.ranking.job import Budget


@pytest.mark.parametrize(("began", "until"), [(100, 101.2), (101, 101.6), (102, 102)])
def test_fetch_has_six_tenths_of_the_time_that_is_left_when_it_begins(began: float, until: float) -> None:
    assert Budget(started=100, allowed_s=2).fetch_deadline(began) == pytest.approx(until)
