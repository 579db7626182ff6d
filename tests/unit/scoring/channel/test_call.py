"""A call by itself: who is told of its end."""

from __future__ import annotations

import numpy as np

from ranker.scoring.channel.call import ChannelCall


def test_who_asks_after_the_end_is_told_of_the_call_at_once() -> None:
    call = ChannelCall(np.zeros((1, 3), np.float32), 0.0, lambda: None)
    call.end(np.array([7], np.float32))  # while nobody has asked
    told: list[ChannelCall] = []
    call.add_done_callback(told.append)
    assert told == [call]
    assert call.result().tolist() == [7]
