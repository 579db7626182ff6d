"""Split: a graph as three: what the request gives, what the product gives, and what only the pair can.

Owns the order of the steps, and when there is nothing to split.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ranker.importing.splitting import trees
from ranker.importing.splitting.assembly import Layout, live_nodes, needed_columns, pair_file
from ranker.importing.splitting.interpreter import Interpreter
from ranker.importing.splitting.lowering import lower
from ranker.importing.splitting.notes import Kept
from ranker.importing.splitting.operations.ensembles import Column
from ranker.importing.splitting.reading import Graph, read
from ranker.importing.splitting.rounding import ends
from ranker.importing.splitting.trial import Trial
from ranker.importing.splitting.values import Unsplittable
from ranker.scoring.graph.inputs import ModelInput
from ranker.scoring.graph.output import ModelOutput
from ranker.scoring.split.model import columns_of
from ranker.scoring.split.parts import TREES, Parts, Side
from ranker.vectors.schema import FeatureSchema


@dataclass(frozen=True)
class NotSplit:
    """A graph that stays whole, and why, in a sentence."""

    reason: str


@dataclass(frozen=True)
class Split:
    """A graph in parts.

    Attributes:
        parts: To be proved and stored.
        kept: Operations of the graph that the pair part does, each with the reason.
        moved: How many operations each other side does, by their operators.
        ends: Whether the score is made of curves that end, such as a sigmoid.
    """

    parts: Parts
    kept: tuple[Kept, ...]
    moved: Mapping[Side, Mapping[str, int]]
    ends: bool = False


def split(
    content: bytes,
    inputs: Sequence[ModelInput],
    output: ModelOutput,
    schema: FeatureSchema,
    folder: Path | None = None,
) -> Split | NotSplit:
    """Split a graph by what its operations depend on.

    Args:
        content: The ONNX file, as it is served.
        inputs: Its inputs, and the columns of the matrix that they take.
        output: The output that is the score.
        schema: What the columns are.
        folder: Where the graph's weights lie, where they are in files of their own.

    Raises:
        ImportPackageMissing: onnx or onnx_ir is not installed.
    """
    if schema.rows == "together":
        return NotSplit("Its rows are scored together (`rows: together`), and a product's score depends on the list.")
    try:
        graph = read(content, output, folder)
        lower(graph, Trial(graph, inputs, schema).facts)
        trial = Trial(graph, inputs, schema)
        made = _split(graph, trial, inputs, schema)
        return replace(made, ends=ends(graph)) if isinstance(made, Split) else made
    except Unsplittable as err:
        reason = str(err).rstrip(".")
        return NotSplit(f"{reason[0].upper()}{reason[1:]}.")


def name_columns(schema: FeatureSchema) -> list[Column]:
    """Return whose the columns of a matrix are, in their order, and which of that side's."""
    of = columns_of(schema)
    named = {int(at): (side, i) for side, places in of.items() for i, at in enumerate(places)}
    return [named[at] for at in range(schema.width)]


def _split(graph: Graph, trial: Trial, inputs: Sequence[ModelInput], schema: FeatureSchema) -> Split | NotSplit:
    matrix = name_columns(schema)
    widths = {side: sum(one is side for one, _ in matrix) for side in Side}

    reasons: dict[str, str] = {}
    for ensemble in (*trees.candidates(graph), None):
        interpreter = Interpreter(graph, trial, widths, ensemble, reasons)
        interpreter.take_inputs(inputs, matrix)
        scores = interpreter.run()
        if ensemble is not None and (interpreter.trees is None or not trees.spans_sides(interpreter.trees)):
            if interpreter.refusal:
                reasons[ensemble] = interpreter.refusal
            continue
        try:
            made = _assemble(interpreter, scores, graph.model)
        except Unsplittable as err:
            if ensemble is None:
                raise
            reasons[ensemble] = f"its trees are not evaluated side by side: {err}"
            continue
        if made is not None:
            return made
    return NotSplit(_why_nothing(interpreter, scores))


def _assemble(interpreter: Interpreter, scores: str, model: Any) -> Split | None:
    graphs, found = interpreter.graphs, interpreter.trees
    nodes, used = live_nodes(graphs.pair, [scores])
    of_trees = found.parts if found is not None and TREES in used else ()
    pieces = {side: [p for n, p in graphs.pieces.items() if n in used and p.side is side] for side in Side}
    layouts = {
        side: Layout(graphs.of[side], [piece.name for piece in pieces[side]], [n for s, n in of_trees if s is side])
        for side in (Side.REQUEST, Side.PRODUCT)
    }
    if not of_trees and not any(layout.works for layout in layouts.values()):
        return None
    ensemble = None
    if found is not None and of_trees:
        columns = []
        for side, name in of_trees:
            places = graphs.pair.raw[name] if side is Side.PAIR else layouts[side].places(name)
            columns += [(side, place) for place in places]
        ensemble = trees.make(found.node, columns)
    needed = needed_columns(pieces[Side.PRODUCT], layouts[Side.PRODUCT])
    pair: bytes | None = None
    if not (ensemble is not None and _is_target(interpreter, nodes, scores)):
        pair, used = pair_file(graphs, scores, layouts, needed, model)
    moved = {
        side: {} if layout.identical else dict(Counter(n.op_type for n in live_nodes(layout.graph, layout.names)[0]))
        for side, layout in layouts.items()
    }
    request, product = (layouts[side].to_bytes(model) for side in (Side.REQUEST, Side.PRODUCT))
    return Split(Parts(request, product, pair, ensemble, needed), interpreter.notes.on(used), moved)


def _is_target(interpreter: Interpreter, nodes: Sequence[Any], scores: str) -> bool:
    """Whether the score is what the trees give, which is one column."""
    pair = interpreter.graphs.pair
    return pair.shape(TREES)[1] == 1 and all(node.op_type == "Reshape" for node in nodes)


def _why_nothing(interpreter: Interpreter, scores: str) -> str:
    """Say which operation is the first that takes both sides, and why it is not moved."""
    _, used = live_nodes(interpreter.graphs.pair, [scores])
    kept = interpreter.notes.on(used)
    if not kept:
        return "It computes nothing that could be done before the pair is known."
    return (
        f"Nothing can be computed before the pair is known: its first operation, {kept[0].operator} "
        f"({kept[0].name}), stays in the pair part: {kept[0].reason}."
    )
