"""Choice of an output: what the schema's `output:`, or a term of its `score:`, names, and the line that says so.

Owns how the choice is read and spelled. Knows nothing of what outputs give.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ranker.scoring.graph.inputs import quoted
from ranker.scoring.session import Declared


@dataclass(frozen=True, slots=True)
class Choice:
    """Output that the schema's `output:` names, or its `score:`, and perhaps a class or column of it."""

    output: str
    column: str | None = None
    in_formula: bool = False

    def line(self, name: str, column: int | None = None, class_: str | None = None) -> str:
        """Return what says in the schema that an output, or a column of one, is meant."""
        if self.in_formula:  # a class in quotes, for it may have any text, and that of another column's number
            place = "" if column is None else f"[{column if class_ is None else repr(class_)}]"
            return f"`{name if name.isidentifier() else repr(name)}{place}`"
        return f"`output: {quoted(name if column is None else f'{name}[{column if class_ is None else class_}]')}`"

    @property
    def statement(self) -> str:
        """The beginning of a sentence on what the schema says."""
        says = self.output if self.column is None else f"{self.output}[{self.column}]"
        return f"The schema's `score:` says {says}" if self.in_formula else f"The schema says `output: {says}`"


def read_choice(output: str | None, declared: Sequence[Declared]) -> Choice | None:
    """Read the schema's `output:`, a name or `name[class or column]`, for the outputs that there are."""
    if output is None or output in (node.name for node in declared) or not output.endswith("]"):
        return None if output is None else Choice(output)
    name, _, column = output[:-1].partition("[")
    return Choice(name, column)
