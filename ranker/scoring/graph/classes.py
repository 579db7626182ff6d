"""Classes of an output's columns: as a classifier of the graph names them, unless the graph's own labels show others.

A classifier inside another one, such as of a stack or a bag, names the codes that it was trained on, and the columns of
a support vector machine are the other way round. Owns what labels show of names. It is shown what rows gave.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

CLICKED_SECOND = frozenset({("0", "1"), ("-1", "1"), ("false", "true"), ("f", "t"), ("no", "yes"), ("n", "y")})
"""Pairs of classes, in the order of their columns, of which the second is plainly what a ranking wants first."""

MOSTLY = 0.5
"""Share of rows whose labels agree with the names from which these count: a threshold of its own moves some labels."""

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
    rows = columns.reshape(n, each)
    second, first = np.sort(rows, axis=1)[:, -2:].T
    sure = (second < first).nonzero()[0]  # of a tie, or NaN, a label may be any
    pairs = [*zip(rows[sure].argmax(axis=1).tolist(), [texts[row] for row in sure.tolist()], strict=True)]
    agreeing = sum(named[column] == label for column, label in pairs) if named else 0
    if set(texts) <= {*named} and agreeing >= MOSTLY * len(pairs):
        return named
    if (seen := _seen(pairs)) is None:
        return () if not named and _is_plain(texts) else None
    classes = tuple(seen.get(i, str(i)) for i in range(each))
    return classes if len(set(classes)) == len(classes) and (len(seen) > 1 or not set(texts) <= {*named}) else None


def order_classes(scores: npt.NDArray[Any], labels: npt.NDArray[Any]) -> Classes:
    """Return two classes, the first that of the lower scores, where one score a row tells the labels apart; else ()."""
    if scores.size != labels.size:
        return ()
    flat, texts = scores.reshape(-1), np.array([*map(str, labels.reshape(-1).tolist())])
    ends = sorted((flat[texts == text].min(), flat[texts == text].max(), text) for text in {*texts.tolist()})
    if len(ends) != 2 or not ends[0][1] <= ends[1][0] or not ends[0][0] < ends[1][1]:
        return ()
    return tuple(text for *_, text in ends)


def wanted_column(classes: Classes) -> int:
    """Return the column whose class plainly ranks first, or else the last."""
    lower = [name.lower() for name in classes]
    plain = [lower.index(pair[1]) for pair in CLICKED_SECOND if {*lower} == {*pair}]
    return plain[0] if plain else len(classes) - 1


def _like(named: Classes, labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return labels as the names are written: booleans may be named by their digits."""
    return labels.astype(np.int64) if labels.dtype == np.bool_ and {*named} <= {"0", "1"} and named else labels


def _seen(pairs: list[tuple[int, str]]) -> dict[int, str] | None:
    """Return the label of each column that is somewhere the largest; None where one has two labels, or two have one."""
    seen: dict[int, str] = {}
    for column, label in pairs:
        if seen.setdefault(column, label) != label:
            return None
    return seen if 0 < len(seen) == len({*seen.values()}) else None


def _is_plain(labels: list[str]) -> bool:
    """Whether labels are of two classes whose order in the columns is plain."""
    return any({label.lower() for label in labels} <= {*pair} for pair in CLICKED_SECOND)
