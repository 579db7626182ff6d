"""Which of the four parts of a record a column is in."""

from __future__ import annotations

from ranker.telemetry.feature_log.record import widths_of
from tests.support.groups import SCHEMA


def test_groups_per_user_are_kept_once_and_those_per_product_for_each() -> None:
    once = sum(SCHEMA.groups[name].width for name in ("context", "user_live", "shop"))
    each = sum(SCHEMA.groups[name].width for name in ("productContext", "seller", "affinity", "stock"))
    assert widths_of(SCHEMA) == (SCHEMA.user.width, SCHEMA.product.width, once, each)
