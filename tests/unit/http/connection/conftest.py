"""What tests of one connection share."""

from __future__ import annotations

import pytest

from ranker.http.connection.protocol import BoundedProtocol


@pytest.fixture(autouse=True)
def no_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    """Close the lane that a service opened which ran in this process before: nobody would answer there."""
    monkeypatch.setattr(BoundedProtocol, "lane", None)
