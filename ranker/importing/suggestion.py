"""Suggested schema: what a graph says of its features, as a schema.yaml with a comment where only its owner knows.

Owns the guesses, all of which the file shows: names and sizes are the graph's, which group a feature belongs to is read
from its name. Nothing is imported by it: its owner edits it first.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ranker.importing.binding import WHOLE, element_kind
from ranker.importing.encoders import Encoders
from ranker.importing.graph_file import read_graph
from ranker.scoring.graph import named_group, quoted
from ranker.scoring.graph_output import CLICKED_SECOND
from ranker.scoring.onnx_file import classes_of, read_nodes
from ranker.scoring.session import Declared, Session
from ranker.vectors.feature.kinds import MAX_CODES

GROUP_OF_WORD = {
    **dict.fromkeys(("user", "uid", "customer", "member", "visitor", "hist", "history", "viewed", "seq"), "user"),
    **dict.fromkeys(("age", "gender", "segment", "session"), "user"),
    **dict.fromkeys(("context", "ctx", "hour", "weekday", "device", "daytime", "query"), "context"),
}
"""Words in names of inputs by which a feature is put into a group; into the product's otherwise."""
SEQUENCE_WORDS = frozenset({"hist", "history", "seq", "sequence", "viewed", "clicked", "bought", "behavior"})
PRODUCT_WORDS = frozenset({"item", "product", "candidate", "candidates", "sku"})
MASK_WORDS, LENGTH_WORDS = frozenset({"mask"}), frozenset({"length", "len"})
MAX_SHOWN_TEXTS = 1000
GUESSED_LENGTH = 50


@dataclass
class _Lines:
    """What is known so far of each part of the file."""

    groups: dict[str, list[str]] = field(default_factory=lambda: {"user": [], "product": [], "context": []})
    inputs: list[str] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    rows: str = ""


def suggest(content: bytes, name: str = "model.onnx", folder: Path | None = None) -> str:
    """Write a schema for a graph.

    Args:
        content: The ONNX file.
        name: What it is called.
        folder: Where its weights lie, where they are in files of their own.

    Returns:
        A schema.yaml; each comment with `?` is a question to its owner.

    Raises:
        ModelRejected: the graph cannot be read.
        ImportPackageMissing: the package onnx is not installed.
    """
    session = Session(content, folder=folder)
    encoders = Encoders(read_graph(content))
    lines = _Lines()
    only = len(session.inputs) == 1
    for node in session.inputs:
        if only and element_kind(node) != "string" and _width(node) != 1:
            _add_matrix(lines, node)
        else:
            _add_input(lines, node, session.inputs, encoders)
        _add_rows(lines, node)
    return "".join(f"{line}\n" for line in _written(lines, name, list(_output_lines(content, session))))


def _written(lines: _Lines, name: str, output: Sequence[str]) -> Iterator[str]:
    yield f"# Suggested for {name}. Answer each comment with a question mark, then:"
    yield f"# ranker model import {name} --schema THIS_FILE --name NAME"
    for group, features in lines.groups.items():
        if not features and group == "context":
            continue
        yield f"{group}:"
        if group != "context":
            yield f'  key: "{group}:{{id}}"  # ? the key in Redis'
        yield "  features:" + ("" if features else f" []  # ? move here what is the {group}'s; a schema needs one")
        yield from (f"    - {feature}" for feature in features)
    if lines.columns:
        yield "columns:  # the training frame's order: keep it when features move between groups"
        yield from (f"  - {column}" for column in lines.columns)
    if lines.inputs:
        yield "inputs:"
        yield from (f"  {line}" for line in lines.inputs)
    if lines.rows:
        yield lines.rows
    yield from output


def _add_matrix(lines: _Lines, node: Declared) -> None:
    width = _width(node)
    names = [f"feature_{i}" for i in range(width or 2)]
    lines.groups["product"] += [f"{name}  # ? its name in the training frame, and its group" for name in names]
    lines.columns += names
    if width is None:
        lines.columns.append("# ? and so on: the graph does not say how many columns it takes")


def _add_input(lines: _Lines, node: Declared, inputs: Sequence[Declared], encoders: Encoders) -> None:
    name, words = _feature_name(node.name), _words(node.name)
    if words & (MASK_WORDS | LENGTH_WORDS) and (of := _sequence_of(node, inputs)):
        aspect = "mask" if words & MASK_WORDS else "length"
        lines.inputs.append(f"{quoted(node.name)}: {{{aspect}: {quoted(_feature_name(of.name))}}}  # ? of this history")
        return
    kind, width, found = element_kind(node), _width(node), encoders.find(node.name)
    if name != node.name:
        lines.inputs.append(f"{quoted(node.name)}: {quoted(name)}")
    group = _group(node)
    said = [f"name: {quoted(name)}"]
    comment = "" if words & (PRODUCT_WORDS | GROUP_OF_WORD.keys()) else f"? {group}'s"
    if kind == "string":
        texts = found.texts[:MAX_SHOWN_TEXTS] or ("EDIT",)
        said += ["type: category", f"vocabulary: [{', '.join(map(quoted, texts))}]"]
        comment += "" if found.texts else " ? the texts that the model knows"
        comment += " ? not all texts of the graph are shown" if len(found.texts) > MAX_SHOWN_TEXTS else ""
    elif kind in WHOLE and width != 1 and (words & SEQUENCE_WORDS or width is None):
        said += ["type: product", f"length: {width or GUESSED_LENGTH}"]
        comment += " ? newest first" + ("" if width else ", and how many")
    elif kind in WHOLE:
        said += [f"shape: [{width}]"] if width not in (1, None) else []
        if found.table is None or found.table > MAX_CODES:
            said.append("type: int64")
    elif kind == "bool":
        said.append("type: bool")
    elif width != 1:
        axes = [axis if isinstance(axis, int) else GUESSED_LENGTH for axis in _row_axes(node)]
        said.append(f"shape: [{', '.join(map(str, axes or [GUESSED_LENGTH]))}]")
        comment += "" if width else " ? how long"
    if found.table is not None:
        comment += f" a table of {found.table:,} rows: 0 to {found.table - 1}"
    feature = name if len(said) == 1 and quoted(name) == name else f"{{{', '.join(said)}}}"
    lines.groups[group].append(f"{feature}{f'  # {comment.strip()}' if comment else ''}")


def _add_rows(lines: _Lines, node: Declared) -> None:
    if _takes_a_list(node):
        lines.rows = f"rows: together  # ? {node.name} takes a whole list: its products are scored in one call"
    elif len(node.shape) == 2 and node.shape[0] == 1 and _group(node) != "product" and not lines.rows:
        lines.rows = (
            f"rows: together  # ? {node.name} is one row for all products; leave it out, and each gets that row"
        )


def _output_lines(content: bytes, session: Session) -> Iterator[str]:
    """Yield the line that says what the score is, where there is a choice."""
    scores = [node for node in session.outputs if "float" in node.type or "double" in node.type]
    if len(scores) > 1:
        yield f"score: {' * '.join(_term(node.name) for node in scores)}  # ? or `output:` with one of them"
        return
    nodes = read_nodes(content)
    for node in scores:
        classes = classes_of(nodes, node.name)
        if classes and tuple(one.lower() for one in classes) not in CLICKED_SECOND:
            choices = ", ".join(classes[:20])
            yield f"output: {quoted(f'{node.name}[{classes[-1]}]')}  # ? which of the classes ranks: {choices}"
        elif not classes and len(node.shape) == 2 and isinstance(node.shape[1], int) and node.shape[1] > 1:
            yield f"output: {quoted(f'{node.name}[{node.shape[1] - 1}]')}  # ? which of {node.shape[1]} columns ranks"


def _term(name: str) -> str:
    return name if name.isidentifier() else f"'{name}'"


def _group(node: Declared) -> str:
    """Return the group that an input's name speaks of; the product's, where it speaks of none."""
    named = named_group(node.name)
    if named in ("user", "product", "context"):
        return str(named)
    words = _words(node.name)
    if words & PRODUCT_WORDS and not words & SEQUENCE_WORDS:
        return "product"
    return next((GROUP_OF_WORD[word] for word in sorted(words) if word in GROUP_OF_WORD), "product")


def _sequence_of(node: Declared, inputs: Sequence[Declared]) -> Declared | None:
    """Return the input whose history a mask or length is of: the one that shares most words with it."""
    others = [one for one in inputs if not _words(one.name) & (MASK_WORDS | LENGTH_WORDS)]
    histories = [one for one in others if element_kind(one) in WHOLE and _words(one.name) & SEQUENCE_WORDS]
    return max(histories, key=lambda one: len(_words(one.name) & _words(node.name)), default=None)


def _words(name: str) -> set[str]:
    return set(re.findall(r"[a-z]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).lower()))


def _feature_name(name: str) -> str:
    return name.removesuffix(":0")


def _takes_a_list(node: Declared) -> bool:
    """Whether an input's second axis counts the products of a list: (1, n, F), (b, n, F)."""
    axes = node.shape
    return len(axes) == 3 and not isinstance(axes[1], int) and not _words(node.name) & SEQUENCE_WORDS


def _row_axes(node: Declared) -> Sequence[int | str | None]:
    return node.shape[2:] if _takes_a_list(node) else node.shape[1:]


def _width(node: Declared) -> int | None:
    """Return how many elements a row of an input has; None where an axis of it is dynamic."""
    axes = [axis for axis in _row_axes(node) if isinstance(axis, int)]
    return math.prod(axes) if node.shape and len(axes) == len(_row_axes(node)) else None
