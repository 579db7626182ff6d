import subprocess
import sys

import pytest

from ranker.scheduling.sampling import Split

USERS = [f"u{i}" for i in range(20_000)]


def taken(tag: str, percent: float) -> set[str]:
    split = Split(tag, percent)
    return {user for user in USERS if split.takes(user)}


@pytest.mark.parametrize("percent", [0.5, 5, 50])
def test_canary_gets_its_share(percent: float) -> None:
    assert len(taken("a:2", percent)) == pytest.approx(len(USERS) * percent / 100, rel=0.2)


def test_nobody_at_zero_and_everybody_at_a_hundred_percent() -> None:
    assert taken("a:2", 0) == set()
    assert taken("a:2", 100) == set(USERS)


def test_users_stay_when_the_share_grows() -> None:
    assert taken("a:2", 1) < taken("a:2", 5) < taken("a:2", 50)


def test_next_canary_gets_other_users() -> None:
    both = taken("a:2", 10) & taken("a:3", 10)
    assert len(both) == pytest.approx(len(USERS) / 100, rel=0.35)  # as chance has it


def test_users_are_the_same_ones_for_ever() -> None:
    assert [user for user in USERS[:300] if Split("shop:2", 3).takes(user)] == GOLDEN
    users = "(u for i in range(300) if Split('shop:2', 3).takes(u := 'u' + str(i)))"
    code = f"from ranker.scheduling.sampling import Split; print(*{users})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == GOLDEN  # another process, another PYTHONHASHSEED


GOLDEN = ["u22", "u80", "u101", "u117", "u208"]
