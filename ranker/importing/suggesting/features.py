"""Suggested features: what an input of a graph, with what lies behind it, says of the features that fill it.

Owns types, shapes and the questions beside them. Knows nothing of the file that they are written into.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ranker.importing.binding import WHOLE, element_kind
from ranker.importing.suggesting.encoders import Encoders, Found
from ranker.importing.suggesting.words import LENGTHS, MASKS, SEQUENCES, guess_group, split
from ranker.scoring.graph.inputs import quoted
from ranker.scoring.session import Declared
from ranker.vectors.feature.kinds import MAX_CODES

MAX_SHOWN_TEXTS = 1000
GUESSED_LENGTH = 50
NAMED = "its name in the training frame, and its group"
"""Question about a column of a matrix, which the graph does not name."""
ORDER = "newest first, zeros behind (else order: oldest_first, padding: front)"
"""Question about a history: its order, and where its padding is."""


class Suggested(NamedTuple):
    """A feature as the schema may say it.

    Attributes:
        group: Where it stands.
        name: Its name, as YAML takes it.
        keys: What it says beside the name.
        questions: What only its owner knows.
        facts: What the graph says of it, to be read.
    """

    group: str
    name: str
    keys: tuple[str, ...] = ()
    questions: tuple[str, ...] = ()
    facts: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        feature = f"{{{', '.join((f'name: {self.name}', *self.keys))}}}" if self.keys else self.name
        asked = f"? {'; '.join(self.questions)}" if self.questions else ""
        comment = "; ".join(part for part in (asked, *self.facts) if part)
        return f"{feature}  # {comment}" if comment else feature


def suggest_features(node: Declared, encoders: Encoders) -> tuple[Suggested, ...]:
    """Return the feature that fills an input; several, where its columns are looked up in tables of their own."""
    name, group, width = feature_name(node.name), guess_group(node.name), row_width(node)
    kind, is_history = element_kind(node), bool(split(node.name) & SEQUENCES)
    where = () if group.sure else (f"{group.group}'s",)
    if kind in WHOLE and width not in (None, 1) and not is_history and len(node.shape) == 2:
        columns = [encoders.find(node.name, column) for column in range(int(width or 1))]
        if len({found.tensor for found in columns if found.table is not None}) > 1:
            return tuple(_in_table(f"{name}_{i}", group.group, found) for i, found in enumerate(columns))
    found = encoders.find(node.name)
    if kind == "string":
        return (Suggested(group.group, quoted(name), *_category(found, where)),)
    if kind in WHOLE and width != 1 and (is_history or width is None):
        return (_history(name, group.group, width, found, where),)
    if kind in WHOLE:
        shape = (f"shape: [{width}]",) if width not in (1, None) else ()
        exact = () if found.table is not None and found.table <= MAX_CODES else ("type: int64",)
        return (Suggested(group.group, quoted(name), (*shape, *exact), where, tuple(_facts(found))),)
    if kind == "bool":
        return (Suggested(group.group, quoted(name), ("type: bool",), where),)
    if width != 1:
        return (_vector(node, name, group.group, where),)
    imputed = ("missing: nan",) if found.imputes else ()
    facts = ("the graph replaces NaN",) if found.imputes else ()
    return (Suggested(group.group, quoted(name), imputed, where, facts),)


def mask_or_length(node: Declared, inputs: Sequence[Declared]) -> str | None:
    """Return the line of `inputs:` for an input that is the mask or the length of a history."""
    words = split(node.name)
    if not words & (MASKS | LENGTHS):
        return None
    others = [one for one in inputs if not split(one.name) & (MASKS | LENGTHS)]
    histories = [one for one in others if element_kind(one) in WHOLE and split(one.name) & SEQUENCES]
    of = max(histories, key=lambda one: len(split(one.name) & words), default=None)
    if of is None:
        return None
    aspect = "mask" if words & MASKS else "length"
    return f"{quoted(node.name)}: {{{aspect}: {quoted(feature_name(of.name))}}}  # ? of this history"


def side_information(node: Declared, inputs: Sequence[Declared]) -> tuple[str, Suggested | None] | None:
    """Return the line of `inputs:` for what is known of the products in a history, and what to add to a product for it.

    Nothing, where an input holds no vector for each place of a history, or its name speaks of none.
    """
    axes = _row_axes(node)
    if element_kind(node) in (*WHOLE, "string", "bool") or len(axes) != 2 or takes_a_list(node):
        return None
    words = split(node.name)
    histories = [one for one in inputs if _is_history(one) and split(one.name) & words and _as_long(one, axes[0])]
    of = max(histories, key=lambda one: len(split(one.name) & words), default=None)
    if of is None:
        return None
    own = [word for word in re.split(r"\W+|_", feature_name(node.name)) if word.lower() not in split(of.name)]
    name, width = "_".join(own) or "embedding", axes[1]
    alike = [one.name for one in inputs if _row_axes(one) == [width] and set(map(str.lower, own)) <= split(one.name)]
    if len(alike) == 1:
        name = feature_name(alike[0])
    source = quoted(f"{feature_name(of.name)}.{name}")
    line = f"{quoted(node.name)}: {source}  # ? this feature of `product`, looked up for each id of the history"
    if len(alike) == 1:
        return line, None
    shape = f"shape: [{width if isinstance(width, int) else GUESSED_LENGTH}]"
    return line, Suggested("product", quoted(name), (shape,), (f"its name; {node.name} is made of it",))


def other_history(node: Declared, inputs: Sequence[Declared]) -> str | None:
    """Return the history before an input that is one, too, and as long: it may hold what is known of those products."""
    if not _is_history(node):
        return None
    before = inputs[: inputs.index(node)]
    return next((one.name for one in before if _is_history(one) and _as_long(one, _row_axes(node)[0])), None)


def _is_history(node: Declared) -> bool:
    words = split(node.name)
    plain = element_kind(node) in WHOLE and len(_row_axes(node)) == 1 and row_width(node) != 1
    return plain and bool(words & SEQUENCES) and not words & (MASKS | LENGTHS)


def _as_long(node: Declared, length: int | str | None) -> bool:
    own = _row_axes(node)[0]
    return own == length or not isinstance(own, int) or not isinstance(length, int)


def feature_name(name: str) -> str:
    """Return what an input's feature is called."""
    return name.removesuffix(":0")


def takes_a_list(node: Declared) -> bool:
    """Whether an input's second axis counts the products of a list: (1, n, F), (b, n, F)."""
    axes = node.shape
    return len(axes) == 3 and not isinstance(axes[1], int) and not split(node.name) & SEQUENCES


def row_width(node: Declared) -> int | None:
    """Return how many elements a row of an input has; None where an axis of it is dynamic."""
    axes = [axis for axis in _row_axes(node) if isinstance(axis, int)]
    return math.prod(axes) if node.shape and len(axes) == len(_row_axes(node)) else None


def _row_axes(node: Declared) -> Sequence[int | str | None]:
    return node.shape[2:] if takes_a_list(node) else node.shape[1:]


def _in_table(name: str, group: str, found: Found) -> Suggested:
    keys = () if found.table is not None and found.table <= MAX_CODES else ("type: int64",)
    return Suggested(group, quoted(name), keys, (NAMED,), tuple(_facts(found)))


def _category(found: Found, where: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    texts = found.texts[:MAX_SHOWN_TEXTS]
    keys = ("type: category", f"vocabulary: [{', '.join(map(quoted, texts or ('EDIT',)))}]")
    asked = () if texts else ("the texts that the model knows",)
    behind = len(found.texts) - len(texts)
    cut = (f"the {behind:,} texts of the graph behind these",) if behind and texts else ()
    return keys, (*where, *asked, *cut)


def _history(name: str, group: str, width: int | None, found: Found, where: tuple[str, ...]) -> Suggested:
    asked = (*where, ORDER, *(() if width else ("how many",)))
    facts: tuple[str, ...] = ()
    if found.table is not None:
        facts = (f"a table of {found.table:,} rows: ids from 1 to {found.table - 1:,}, for 0 fills what is empty",)
        asked = asked if found.is_padded else (*asked, "row 0 of the table is not 0, and empty places get it")
    return Suggested(group, quoted(name), ("type: product", f"length: {width or GUESSED_LENGTH}"), asked, facts)


def _vector(node: Declared, name: str, group: str, where: tuple[str, ...]) -> Suggested:
    axes = [axis if isinstance(axis, int) else GUESSED_LENGTH for axis in _row_axes(node)] or [GUESSED_LENGTH]
    several = f"one vector, or features by name: then list them, and say inputs: {{{quoted(node.name)}: [a, b, …]}}"
    asked = (*where, *(() if row_width(node) else ("how long",)), several)
    return Suggested(group, quoted(name), (f"shape: [{', '.join(map(str, axes))}]",), asked)


def _facts(found: Found) -> Iterator[str]:
    if found.table is not None:
        yield f"a table of {found.table:,} rows: 0 to {found.table - 1:,}"
        if found.is_padded:
            yield "row 0 is all 0, as of padding: ids may begin at 1"
