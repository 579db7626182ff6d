"""Notes on a compiled graph: what its inputs took, and what its owner should know of how they are filled.

Owns these sentences; they are stored with the graph, and import and `ranker model show` print them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ranker.importing.binding import WHOLE, Binding
from ranker.scoring.graph.compiled import OriginalInput
from ranker.scoring.graph.inputs import listed

WIDE = ("int64", "int32", "uint64", "uint32")
"""Kinds that hold whole numbers which float32 rounds."""


def original(binding: Binding) -> OriginalInput:
    """Describe an input as it was exported, and what fills it."""
    node = binding.node
    return OriginalInput(node.name, node.type, tuple(node.shape), binding.takes, binding.because)


def notes_on(bindings: Sequence[Binding]) -> Iterator[str]:
    """Say what was done to inputs, and what of their features may not be meant."""
    for binding in bindings:
        name = binding.node.name
        if binding.shape.freed:
            rows = f"{name} is declared for {binding.node.shape[0]} row(s)"
            yield f"{rows} and is given one for each product, which the trial has shown to be the same"
        if binding.shape.rows in ("one", "bare"):
            yield f"{name} is given once for each request"
        if binding.aspect != "value" or binding.kind not in WHOLE:
            continue
        rounded = [located.name for located in binding.features if located.feature.type == "float32"]
        if rounded and binding.kind in WIDE:
            takes = f"{name} takes {binding.kind}, and {listed(rounded)} as float32 holds"
            yield f"{takes} whole numbers up to 16,777,216: give ids beyond `type: int64`"
        codes = {located.name: located.feature.unknown for located in binding.features}
        if negative := [of for of, code in codes.items() if isinstance(code, int) and code < 0]:
            yield f"{name} gets a code below 0 for texts that {listed(negative)} does not know: the last row of a table"
