"""What a start says of a Redis that is not there."""

from __future__ import annotations

import re

import pytest

from ranker.errors import StoreUnreachable
from ranker.serving.preflight import check_redis
from ranker.settings.environment import Settings


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://:secret@127.0.0.1:1/0", "no connection to 127.0.0.1:1: Connection refused"),
        ("redis://[::1]:1", r"no connection to \[::1\]:1: .+"),
        ("unix:///no/such.sock", "no connection to /no/such.sock: No such file or directory"),
        (
            "redis+sentinel://127.0.0.1:1/shop",
            "the Sentinels 127.0.0.1:1 name no primary: no connection to 127.0.0.1:1: Connection refused",
        ),
    ],
)
def test_refusal_to_start_names_the_address_once_and_the_reason_as_the_system_has_it(url: str, said: str) -> None:
    with pytest.raises(StoreUnreachable) as caught:
        check_redis(Settings(redis_url=url))
    assert re.match(rf"Redis cannot be reached: {said}\. Set RANKER_REDIS_URL, or run ", str(caught.value))


def test_reason_without_an_address_has_it_in_front() -> None:
    assert str(StoreUnreachable("here:1", "NOAUTH")).startswith("Redis at here:1 cannot be reached: NOAUTH. Set ")
