"""Classes of an output's columns: as a classifier of the graph names them, unless the graph's own labels show others.

A classifier inside another one, such as of a stack or a bag, names the codes that it was trained on. Owns what labels
show of names. Knows nothing of running a graph: it is shown what rows gave.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

CLICKED_SECOND = frozenset({("0", "1"), ("-1", "1"), ("false", "true"), ("f", "t"), ("no", "yes"), ("n", "y")})
"""Pairs of classes, in the order of their columns, of which the second is plainly what a ranking wants first."""

Classes = tuple[str, ...]


def settle_classes(named: Classes, columns: npt.NDArray[Any], labels: npt.NDArray[Any]) -> Classes | None:
    """Return the classes of columns, by the labels of the same rows.

    Args:
        named: The classes that the graph names; empty when it names none.
        columns: What the output gave, all rows behind one another, (n, C) in any axes.
        labels: What the graph's only output of labels gave.

    Returns:
        The classes; empty where there is nothing to go by; None where labels and columns do not go together, so that
        which column is whose cannot be told.
    """
    n, each = labels.size, columns.shape[-1]
    if not n or each < 2 or columns.size != n * each:
        return named
    named = named if len(named) == each else ()
    texts = [*map(str, _like(named, labels.reshape(-1)).tolist())]
    if len(set(texts)) > each:  # no classes, but ids, say
        return named
    seen = _seen(columns.reshape(n, each), texts)
    if set(texts) <= set(named):
        if seen is None or all(named[column] == label for column, label in seen.items()):
            return named
        if len(seen) < 2:
            return None
    if seen is None:
        return () if not named and _is_plain(texts) else None
    classes = tuple(seen.get(i, str(i)) for i in range(each))
    return classes if len(set(classes)) == len(classes) else None


def _like(named: Classes, labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return labels as the names are written: booleans may be named by their digits."""
    return labels.astype(np.int64) if labels.dtype == np.bool_ and {*named} <= {"0", "1"} and named else labels


def _seen(columns: npt.NDArray[Any], labels: list[str]) -> dict[int, str] | None:
    """Return the label of each column that is somewhere the largest; None where one has two labels, or two have one."""
    second, first = np.sort(columns, axis=1)[:, -2:].T
    seen: dict[int, str] = {}
    for row in (second < first).nonzero()[0].tolist():  # of a tie, or NaN, a label may be any
        if seen.setdefault(int(columns[row].argmax()), labels[row]) != labels[row]:
            return None
    return seen if 0 < len(seen) == len({*seen.values()}) else None


def _is_plain(labels: list[str]) -> bool:
    """Whether labels are of two classes whose order in the columns is plain."""
    return any({label.lower() for label in labels} <= {*pair} for pair in CLICKED_SECOND)
