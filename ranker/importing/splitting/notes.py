"""Notes: which operations of a model the pair part does, and why.

Owns the sentences. Knows nothing of how operations are done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ranker.importing.splitting.values import Abstract, Opaque, Value
from ranker.scoring.split.parts import Side

_SIDES = {Side.REQUEST: "the request", Side.PRODUCT: "the product"}


@dataclass(frozen=True)
class Kept:
    """An operation of the model that the pair part does.

    Attributes:
        operator: Such as `Mul`.
        name: Its name in the graph, or that of what it gives.
        reason: Why.
        steps: Whether it has steps, and takes what is summed in another order than the whole graph's: a value within
            rounding of a step may fall to its other side.
    """

    operator: str
    name: str
    reason: str
    steps: bool = False

    def __str__(self) -> str:
        return f"{self.operator} ({self.name}): {self.reason}"


class Notes:
    """Notes on what was written into the pair's graph."""

    def __init__(self) -> None:
        self._kept: dict[str, Kept] = {}

    def note(self, node: Any, inputs: Sequence[Abstract | None], results: list[Any], reason: str = "") -> list[Any]:
        """Note what the pair part does of an operation, and return its results."""
        for name in _names(results):
            why = reason or why_paired(sides_of(inputs))
            self._kept.setdefault(name, Kept(node.op_type, node.name or node.output[0], why))
        return results

    def note_steps(self, results: Sequence[Abstract | None]) -> None:
        """Note that the operation that gave these has steps near which rounding decides."""
        for name in _names(results):
            if name in self._kept:
                self._kept[name] = replace(self._kept[name], steps=True)

    def on(self, names: set[str]) -> tuple[Kept, ...]:
        """Return the operations that give what has these names."""
        return tuple(kept for name, kept in self._kept.items() if name in names)


def _names(results: Sequence[Abstract | None]) -> list[str]:
    """Return what these are called in the pair's graph."""
    names = []
    for result in results:
        if isinstance(result, Opaque):
            names.append(result.name)
        elif isinstance(result, Value):
            names += [part.terms[Side.PAIR] for part in result.parts if Side.PAIR in part.terms]
    return list(filter(None, names))


def sides_of(inputs: Sequence[Abstract | None]) -> frozenset[Side]:
    """Return the sides that give what an operation takes."""
    return frozenset(side for one in inputs if isinstance(one, Value) for side in one.sides)


def why_paired(sides: frozenset[Side]) -> str:
    """Say why an operation that takes what these sides give is one of the pair part."""
    if Side.PAIR in sides:
        return "it takes what is known of the pair alone"
    return f"it takes what {' and '.join(_SIDES[side] for side in _SIDES if side in sides) or 'no side'} give together"
