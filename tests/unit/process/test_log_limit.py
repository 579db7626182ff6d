import pytest

from ranker.process.log_limit import Seldom


def test_one_line_of_a_kind_is_due_in_an_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("ranker.process.log_limit.monotonic", lambda: now)
    seldom = Seldom(10.0)
    assert seldom.due("a")
    assert seldom.due("b"), "each kind has an interval of its own"
    now = 109.9
    assert not seldom.due("a")
    now = 110.0
    assert seldom.due("a")
    assert not seldom.due("a")
