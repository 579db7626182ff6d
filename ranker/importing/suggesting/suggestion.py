"""Suggested schema: what a graph says of its features, as a schema.yaml with a comment where only its owner knows.

Owns the file and the order of its parts; every guess in it is a question. Nothing is imported by it: its owner edits it
first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ranker.importing.binding import element_kind
from ranker.importing.graph_file import read_graph
from ranker.importing.suggesting.encoders import Encoders
from ranker.importing.suggesting.features import (
    NAMED,
    Suggested,
    feature_name,
    mask_or_length,
    other_history,
    row_width,
    side_information,
    suggest_features,
    takes_a_list,
)
from ranker.scoring.graph.classes import CLICKED_SECOND
from ranker.scoring.graph.inputs import quoted
from ranker.scoring.graph.onnx_file import classes_of, read_nodes
from ranker.scoring.session import Declared, Session

QUESTION = "# ?"
"""How a comment begins that asks."""


@dataclass
class _Lines:
    """Lines of each part of the file, as far as they are known."""

    groups: dict[str, list[Suggested]] = field(default_factory=lambda: {"user": [], "product": [], "context": []})
    inputs: list[str] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    rows: str = ""
    missing: str = f"{QUESTION} missing: default, nan or refuse, where values may be absent: as training had it"


def suggest(content: bytes, name: str = "model.onnx", folder: Path | None = None) -> str:
    """Write a schema for a graph.

    Args:
        content: The ONNX file.
        name: What it is called.
        folder: Where its weights lie, where they are in files of their own.

    Returns:
        A schema.yaml; each comment that begins with `?` is a question to its owner.

    Raises:
        ModelRejected: the graph cannot be read.
        ImportPackageMissing: the package onnx is not installed.
    """
    session = Session(content, folder=folder)
    encoders = Encoders(read_graph(content))
    lines = _Lines()
    if encoders.has_trees:
        lines.missing = f"missing: nan  {QUESTION} what training had for an absent value: leave this out if it had 0"
    only = len(session.inputs) == 1
    for node in session.inputs:
        if only and element_kind(node) != "string" and row_width(node) != 1:
            _add_matrix(lines, node)
        else:
            _add_input(lines, node, session.inputs, encoders)
        if takes_a_list(node):
            lines.rows = f"rows: together  {QUESTION} {node.name} takes a whole list: its products go in one call"
    return "".join(f"{line}\n" for line in _written(lines, name, list(_output_lines(content, session))))


def count_questions(text: str) -> int:
    """Return how many lines of a suggested schema ask something."""
    return sum(f"  {QUESTION} " in line for line in text.splitlines())


def _written(lines: _Lines, name: str, output: Sequence[str]) -> Iterator[str]:
    yield f"# Suggested for {name}. Answer each comment with a question mark, then:"
    yield f"# ranker model import {name} --schema THIS_FILE --name NAME"
    for group, features in lines.groups.items():
        if not features and group == "context":
            continue
        yield f"{group}:"
        if group != "context":
            yield f'  key: "{group}:{{id}}"  {QUESTION} the key in Redis'
            yield f"  {lines.missing}"
        without = "leave `user:` out where the model has none" if group == "user" else "a schema needs one"
        empty = f" []  {QUESTION} move here what is the {group}'s; {without}"
        yield "  features:" + ("" if features else empty)
        yield from (f"    - {feature.line}" for feature in features)
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
    width = row_width(node)
    names = [f"feature_{i}" for i in range(width or 2)]
    lines.groups["product"] += [Suggested("product", name, questions=(NAMED,)) for name in names]
    lines.columns += names
    if width is None:
        lines.columns.append(f"{QUESTION} and so on: the graph does not say how many columns it takes")


def _add_input(lines: _Lines, node: Declared, inputs: Sequence[Declared], encoders: Encoders) -> None:
    if line := mask_or_length(node, inputs):
        lines.inputs.append(line)
        return
    if side := side_information(node, inputs):
        lines.inputs.append(side[0])
        lines.groups["product"] += [side[1]] if side[1] else []
        return
    features = suggest_features(node, encoders)
    if other := other_history(node, inputs):
        asked = (
            f"or what is known of the products in {other}: then say inputs: {{{quoted(node.name)}: {other}.FEATURE}}"
        )
        features = tuple(one._replace(questions=(*one.questions, asked)) for one in features)
    for feature in features:
        lines.groups[feature.group].append(feature)
    if len(features) > 1:
        lines.inputs.append(f"{quoted(node.name)}: [{', '.join(feature.name for feature in features)}]")
    elif feature_name(node.name) != node.name:
        lines.inputs.append(f"{quoted(node.name)}: {features[0].name}")


def _output_lines(content: bytes, session: Session) -> Iterator[str]:
    """Yield the line that says what the score is, where there is a choice."""
    scores = [node for node in session.outputs if "float" in node.type or "double" in node.type]
    if len(scores) > 1:
        yield f"score: {' * '.join(_term(node.name) for node in scores)}  {QUESTION} or `output:` with one of them"
        return
    nodes = read_nodes(content)
    for node in scores:
        classes = classes_of(nodes, node.name)
        if classes and tuple(one.lower() for one in classes) not in CLICKED_SECOND:
            choices = ", ".join(classes[:20])
            yield f"output: {quoted(f'{node.name}[{classes[-1]}]')}  {QUESTION} which of the classes ranks: {choices}"
        elif not classes and len(node.shape) == 2 and isinstance(node.shape[1], int) and node.shape[1] > 1:
            last = quoted(f"{node.name}[{node.shape[1] - 1}]")
            yield f"output: {last}  {QUESTION} which of {node.shape[1]} columns ranks"


def _term(name: str) -> str:
    return name if name.isidentifier() else f"'{name}'"
