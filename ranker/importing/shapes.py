"""Shapes of inputs: where the rows lie among an input's axes, and what the axes of a row are.

Owns the rules for axes. Knows nothing of features or nodes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import mul
from typing import Literal

from ranker.errors import ModelRejected
from ranker.scoring.session import Declared

Rows = Literal["each", "list", "one", "bare"]


@dataclass(frozen=True, slots=True)
class Shape:
    """Layout of an input.

    Attributes:
        rows: `each` row along the first axis, a `list` of rows along the second behind a first of 1, `one` row, or one
            that is `bare` of an axis for rows.
        row: The axes of one row; () for inputs (n,).
        freed: The graph declares a first axis of fixed length, which becomes one of any.
    """

    rows: Rows
    row: tuple[int, ...]
    freed: bool = False

    @property
    def target(self) -> tuple[int, ...]:
        """The shape to bring columns into; -1 for the number of rows."""
        return {"each": (-1,), "list": (1, -1), "one": (1,), "bare": ()}[self.rows] + self.row


def listwise_axes(declared: Sequence[Declared], widths: Mapping[str, int]) -> tuple[str, ...] | None:
    """Return the names of axes that stand for lists, where an input takes a list of rows, (1, n, F) or (b, n); or None.

    Args:
        declared: The inputs.
        widths: How many elements a row of each has.
    """
    for node in declared:
        if _is_plainly_list(node, widths[node.name]):
            return tuple(str(axis) for axis in node.shape[:1])
    return None


def fit(
    node: Declared, width: int, parts: Sequence[tuple[int, ...]], lists: tuple[str, ...] | None, remedy: str
) -> Shape:
    """Find how the elements of rows become what an input takes.

    Args:
        node: The input.
        width: How many elements a row has.
        parts: The axes of each value that is in a row; () for numbers.
        lists: Of a graph that takes lists, the names of the axes that count them; None for other graphs.
        remedy: What to do about a row of another number of elements.

    Raises:
        ModelRejected: its axes hold another number of elements, or as many in another order.
    """
    shape = _fit(node, width, parts[0] if len(parts) == 1 else None, lists, remedy)
    if not _keeps_order(parts, shape.row):
        shown = [f"({', '.join(map(str, axes))})" if axes else "a number" for axes in parts[:5]]
        given = " and ".join(shown) + " and more" * (len(parts) > 5)
        raise ModelRejected(
            f"Input {node.name} takes rows of ({', '.join(map(str, shape.row))}), and the schema gives it {given}: as "
            "many values, in another order. Export the graph with rows of "
            f"{given if len(parts) == 1 else f'({width},)'}, and what arranges them inside."
        )
    return shape


def _fit(node: Declared, width: int, own: tuple[int, ...] | None, lists: tuple[str, ...] | None, remedy: str) -> Shape:
    axes = list(node.shape)
    if lists is not None and _is_list(node, width):
        return Shape("list", _row(node, axes[2:], width, own, remedy))
    if lists is None and _is_plainly_list(node, width):
        raise ModelRejected(
            f"Input {node.name} ({', '.join(_shown(node))}) takes the products of a list together. Say `rows: "
            "together` in the schema: each request's list is then scored in a call of its own."
        )
    if not axes:  # not declared
        return Shape("each", own or (width,))
    first = axes[0]
    if first != 1 and tuple(axes) == (own or (width,)) and width > 1:
        return Shape("bare", tuple(int(axis) for axis in axes))  # type: ignore[arg-type]  # they are those of values
    if len(axes) == 1:
        row = _row(node, [], width, own, remedy)
        return Shape("one" if first == 1 else "each", row, isinstance(first, int) and first != 1)
    row = _row(node, axes[1:], width, own, remedy)
    if first == 1 or (lists is not None and str(first) in lists):
        return Shape("one", row)
    return Shape("each", row, isinstance(first, int))


def _keeps_order(parts: Sequence[tuple[int, ...]], row: tuple[int, ...]) -> bool:
    """Whether values that lie behind one another lie in a row's axes as they are.

    The axes of a row may join those of one value, or divide them, as (50, 64) and (3200,); (64, 50) does neither. Of
    several values, each is one or more of what its first axis counts.
    """
    axes, *values = (tuple(axis for axis in each if axis != 1) for each in (row, *parts))
    if len(axes) < 2 or not any(values):
        return True
    if len(values) == 1:
        steps = [{1, *accumulate(reversed(each), mul)} for each in (axes, values[0])]
        return steps[0] <= steps[1] or steps[1] <= steps[0]
    return all(axes[1:] in (value, value[1:]) for value in values)


def _is_plainly_list(node: Declared, width: int) -> bool:
    """Whether the declaration alone says so: (b, n) may be rows and columns, (1, n) and (b, n, F) are not."""
    return (len(node.shape) > 2 or (node.shape or [None])[0] == 1) and _is_list(node, width)


def _is_list(node: Declared, width: int) -> bool:
    """Whether an input's second axis counts rows: it is dynamic, and the axes behind it hold what a row has."""
    axes = node.shape
    if len(axes) < 2 or isinstance(axes[1], int) or (isinstance(axes[0], int) and axes[0] != 1):
        return False
    behind = axes[2:]
    return all(isinstance(axis, int) for axis in behind) and math.prod(map(int, behind)) == width  # type: ignore[arg-type] # they are


def _row(
    node: Declared, axes: Sequence[int | str | None], width: int, own: tuple[int, ...] | None, remedy: str
) -> tuple[int, ...]:
    """Return the axes of a row with figures for those that are dynamic."""
    known = [axis for axis in axes if isinstance(axis, int)]
    dynamic = len(axes) - len(known)
    held = math.prod(known)
    if dynamic == 0 and held == width:
        return tuple(known)
    if dynamic == 1 and held and width % held == 0:
        return tuple(axis if isinstance(axis, int) else width // held for axis in axes)
    if (
        own is not None
        and len(own) == len(axes)
        and all(a == o for a, o in zip(axes, own, strict=True) if isinstance(a, int))
    ):
        return own
    takes = "another number of" if dynamic else held
    raise ModelRejected(
        f"Input {node.name} ({', '.join(_shown(node))}) takes {takes} values a row, and the schema gives it {width}. "
        f"{remedy}"
    )


def _shown(node: Declared) -> list[str]:
    return [str(axis) if isinstance(axis, int) else "n" if i == 0 else "?" for i, axis in enumerate(node.shape)]
