"""Ensembles: what the columns of trees are that are evaluated side by side, in place of an operation.

Owns which columns trees may look at. Knows nothing of how they are evaluated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ranker.importing.splitting.graphs import Graphs
from ranker.importing.splitting.values import Abstract, Fact, Unsplittable, Value, single
from ranker.scoring.split.parts import TREES, Side

Column = tuple[Side, int]
"""A column of the matrix: whose it is, and which of that side's."""


@dataclass(frozen=True)
class TreeColumns:
    """Columns of the one ensemble that is evaluated by masks: tensors of one side, in order."""

    node: Any
    parts: tuple[tuple[Side, str], ...]


def look(graphs: Graphs, node: Any, value: Abstract | None, fact: Fact) -> tuple[TreeColumns, Value]:
    """Return the columns that trees look at, and what the pair part gets of them.

    Raises:
        Unsplittable: a column is of no side alone.
    """
    if not isinstance(value, Value) or len(value.shape) != 2:
        raise Unsplittable("its columns are made in the pair part")
    parts = []
    for part in value.parts:
        if len(part.terms) != 1:
            raise Unsplittable("one of its columns is a sum of what both sides give")
        ((side, name),) = part.terms.items()
        graph = graphs.of[side]
        name = graph.expand(name, value.shape_of(part))
        if graph.dtype(name) != np.float32:
            node_of = graph.producers[name]
            name = node_of.input[0]
            if node_of.op_type != "Cast" or graph.dtype(name) != np.float32:
                raise Unsplittable("its columns are no float32")
        if side is Side.PAIR and name not in graph.raw:
            raise Unsplittable("one of its columns is made in the pair part")
        parts.append((side, name))
    shape, dtype = fact.known
    pair = graphs.pair
    pair.facts[TREES] = Fact(shape, np.dtype(np.float32))
    return TreeColumns(node, tuple(parts)), single(shape, dtype, {Side.PAIR: pair.cast(TREES, dtype)})
