"""Postamble: from what a graph gives to tensors of scores.

Owns the nodes behind a graph's own: lists of dictionaries (ZipMap) are taken off, half precision is widened, and a
formula becomes one output (n,).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ranker.importing.formula import Formula, Term
from ranker.importing.formula_nodes import write_formula
from ranker.importing.layout import Located
from ranker.importing.preamble import whole_numbers
from ranker.importing.writer import GraphWriter
from ranker.scoring.graph.output import ModelOutput


def plain_outputs(model: Any) -> dict[str, tuple[str, ...]]:
    """Give tensors of float32 in place of dictionaries (ZipMap) and of float16, under the names that those had.

    Args:
        model: The graph, which is changed.

    Returns:
        For each that was a dictionary, the classes that it named.
    """
    writer = GraphWriter(model)
    float16 = writer.element_type("float16")
    classes: dict[str, tuple[str, ...]] = {}
    outputs = []
    for output in model.graph.output:
        if zipmap := next((n for n in model.graph.node if n.op_type == "ZipMap" and output.name in n.output), None):
            labels = writer.attribute(zipmap, "classlabels_")
            classes[output.name] = tuple(label.decode() if isinstance(label, bytes) else str(label) for label in labels)
            model.graph.node.remove(zipmap)
            writer.cast(zipmap.input[0], "float", into=output.name)
            output = writer.declare(output.name, "float", None)
        elif output.type.tensor_type.elem_type == float16:
            inner = writer.name("half")
            _rename(model, output.name, inner)
            writer.cast(inner, "float", into=output.name)
            output = writer.declare(output.name, "float", None)
        outputs.append(output)
    writer.put_behind()
    del model.graph.output[:]
    model.graph.output.extend(outputs)
    return classes


def put_score(
    model: Any, formula: Formula, matrix: str, outputs: Mapping[Term, ModelOutput], features: Mapping[Term, Located]
) -> str:
    """Compute a formula behind a graph.

    Args:
        model: The graph, which is changed; the outputs that the formula names stay, the others go.
        formula: Over these outputs and features.
        matrix: The one input, (n, F).
        outputs: What each term of an output is.
        features: What each term of a feature is.

    Returns:
        The name of the output (n,).
    """
    writer = GraphWriter(model)
    values: dict[Term, str] = {}
    for term, output in outputs.items():
        flat = writer.reshape(writer.cast(output.name, "double"), (-1, output.columns))
        column = writer.constant(output.column or 0, np.int64)
        values[term] = writer.node("Gather", flat, column, axis=1)
    for term, located in features.items():
        if located.feature.kind.digits > 1:
            element = writer.columns(whole_numbers(writer, matrix, located), [term.index or 0])
        else:
            element = writer.columns(matrix, [located.columns[term.index or 0]])
        values[term] = writer.reshape(writer.cast(element, "double"), (-1,))
    scores = writer.cast(write_formula(writer, formula, values), "float", into=writer.name("scores"))
    writer.put_behind()
    kept = {output.name for output in outputs.values()}
    declared = [output for output in model.graph.output if output.name in kept]
    del model.graph.output[:]
    model.graph.output.extend([writer.declare(scores, "float", ["n"]), *declared])
    return scores


def _rename(model: Any, old: str, new: str) -> None:
    """Give a tensor another name wherever nodes of the graph give or take it."""
    for node in model.graph.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                if name == old:
                    names[i] = new
