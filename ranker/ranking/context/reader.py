"""Request context: the last columns of the matrix, from numbers, booleans and categories as the schema maps them.

Owns what of it is refused, what an absent value becomes, and that a whole number which float32 changes (a time in Unix
seconds) is counted and logged: such callers are not refused, for the number may be near enough. Knows nothing of JSON,
HTTP or where a request came from.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ranker.errors import InvalidRequest
from ranker.process.log_limit import Seldom
from ranker.ranking.context.values import FINITE, OnDefault, Refused, ValueReader, is_rounded, refuse_absent
from ranker.vectors.feature import LARGEST, ContextFeature, ProductContextFeature
from ranker.vectors.rounding import EXACT
from ranker.vectors.rows import Matrix
from ranker.vectors.schema import FeatureSchema

OnRounded = Callable[[str, int], None]
"""Told a feature, and how many whole numbers of it are not the same in float32."""

logger = logging.getLogger("ranker.context")

REPORT_INTERVAL_S = 60.0
MAX_LISTED_NAMES = 10
_NUMBERS = frozenset((float, int, bool))


class ContextReader:
    """Reads the request-time features of one model.

    Args:
        schema: Which features a request may bring.
        on_default: Told of values that were absent or unknown, for metrics.
        on_rounded: Told of whole numbers that float32 changes, for metrics.
    """

    def __init__(
        self,
        schema: FeatureSchema,
        on_default: OnDefault = lambda *_: None,
        on_rounded: OnRounded = lambda *_: None,
    ) -> None:
        self._defaults = schema.defaults[schema.stored_width :]
        self._width = len(self._defaults)
        once, each = schema.context, schema.product_context
        first = schema.once_width
        self._has_groups = schema.reads_more
        self._once = [(f, once.slices[f.name], f.is_plain) for f in once.features] if once else []
        self._each = [(f, _place(f, each.slices[f.name], first)) for f in each.features] if each else []
        places = [("context", once, 0), ("productContext", each, first)]
        self._bounds = [(name, slice(start, start + g.width), g.bounds) for name, g, start in places if g and g.bounds]
        self._once_names = {f.name: None for f, *_ in self._once if f.source is None}
        self._each_names = {f.name: None for f, _ in self._each}
        self._on_default = on_default
        self._values = ValueReader(on_default, self._say_rounded)
        self._on_rounded = on_rounded
        self._reports = Seldom(REPORT_INTERVAL_S)

    def read(
        self,
        context: Mapping[str, Any] | None,
        product_context: Mapping[str, Sequence[Any]] | None,
        zip_code: str,
        n: int,
    ) -> Matrix | None:
        """Return what a request of n products brings.

        Args:
            context: Features of the whole request; what is absent or None takes the feature's default.
            product_context: Features of the products, each as n values in request order; the same for these.
            zip_code: The request's `zipCode`; empty counts as absent.
            n: How many products there are.

        Returns:
            Shape (n, F - stored width), float32: the context's columns and the product context's, defaults in those of
            the schema's groups; None when the model has none of them.

        Raises:
            InvalidRequest: naming every feature that is unknown, of the wrong type or length, or not finite.
        """
        if not (self._width or context or product_context):
            return None
        context, product_context = context or {}, product_context or {}
        problems: list[str] = []
        if context.keys() - self._once_names.keys():
            problems.append(_unknown("context", context, self._once_names))
        if product_context.keys() - self._each_names.keys():
            problems.append(_unknown("productContext", product_context, self._each_names))
        rows = np.empty((n, self._width), dtype=np.float32)
        if self._has_groups:
            rows[:] = self._defaults
        for feature, at, is_plain in self._once:
            value = context.get(feature.name) if feature.source is None else zip_code or None
            try:
                if is_plain:
                    rows[:, at.start] = self._value(feature, value, self._defaults[at.start])
                else:
                    rows[:, at] = self._values.read("context", feature, [value], self._defaults[at])
            except Refused as err:
                problems.append(f"context.{feature.name}{err}")
        for each, place in self._each:
            values = product_context.get(each.name)
            try:
                rows[:, place] = self._values.read("productContext", each, values, self._defaults[place], n)
            except Refused as err:
                problems.append(f"productContext.{each.name}{err}")
        if self._bounds and not problems:
            problems += self._beyond(rows)
        if problems:
            raise InvalidRequest(problems)
        return rows

    def _beyond(self, rows: Matrix) -> Iterator[str]:
        """Say which values are beyond their bounds, the first of each group."""
        for name, at, bounds in self._bounds:
            (beyond,) = bounds.find_beyond(rows[:, at]).nonzero()
            if len(beyond):
                feature, said = bounds.describe(rows[beyond[0], at])
                place = f".{beyond[0]}" if name == "productContext" else ""
                yield f"{name}.{feature}{place}: {said}"

    def _value(self, feature: ContextFeature, value: Any, default: float) -> float:
        """Return the number that one feature's value is, without an array of one."""
        if value is None:
            refuse_absent(feature)
            self._on_default(f"context.{feature.name}", "absent", 1)
            return default
        if not feature.is_category:
            if type(value) not in _NUMBERS:
                raise Refused("Input should be a number or a boolean")
            if not abs(value) <= EXACT:  # said so, it finds NaN too
                if not abs(value) <= LARGEST:
                    raise Refused(FINITE)
                if is_rounded(value):
                    self._say_rounded(f"context.{feature.name}", value, 1)
            return float(value)
        if type(value) is not str:
            raise Refused("Input should be a category, which is a string")
        number = feature.number(value)
        if number is None:
            self._on_default(f"context.{feature.name}", "unknown_category", 1)
            return default
        return number

    def _say_rounded(self, name: str, value: float, count: int) -> None:
        self._on_rounded(name, count)
        if self._reports.due(name):
            logger.warning(
                "A request's %s is %s, a whole number that float32 has as %.0f, and is ranked by that. More of this "
                "feature in the next %g s are only counted.",
                name,
                value,
                np.float32(value),
                REPORT_INTERVAL_S,
            )


def _place(feature: ProductContextFeature, columns: slice, first: int) -> int | slice:
    """Return the columns of a group's feature in a row in which the group begins at `first`; a plain one has one."""
    return columns.start + first if feature.is_plain else slice(columns.start + first, columns.stop + first)


def _unknown(group: str, given: Iterable[str], known: Mapping[str, None]) -> str:
    """Name the features that the model does not take, and those it does."""
    unknown = [name for name in given if name not in known]
    return f"{group}: this model takes {_listed([*known]) or 'none'}, not {_listed(unknown)}"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name[:40]) for name in names[:MAX_LISTED_NAMES])
    return shown + (f" and {len(names) - MAX_LISTED_NAMES} more" if len(names) > MAX_LISTED_NAMES else "")
