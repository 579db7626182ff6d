"""Compile: from a graph as it was exported to one that takes the matrix (n, F) float32 and gives scores.

Owns the order of the steps: read, bind, preamble, postamble, note. A graph that takes the matrix already, or its groups
one by one, and gives scores stays byte for byte what it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ranker.errors import ModelRejected
from ranker.importing import graph_file, notes, postamble, preamble
from ranker.importing.binding import Binding, bind
from ranker.importing.formula import Formula, Term, parse
from ranker.importing.formula_nodes import OLDEST_OPSET
from ranker.importing.layout import Layout, Located
from ranker.scoring.graph import proof
from ranker.scoring.graph.compiled import NOTE, Compiled, read_note
from ranker.scoring.graph.inputs import DTYPES, asks_for_nodes, match_inputs, one_matrix
from ranker.scoring.graph.onnx_file import read_nodes
from ranker.scoring.graph.output import ModelOutput
from ranker.scoring.graph.output_choice import Choice, read_choice
from ranker.scoring.graph.output_trial import OutputTrial
from ranker.scoring.model import OnnxModel
from ranker.scoring.session import Session
from ranker.vectors.schema import FeatureSchema


def compile_graph(
    content: bytes, schema: FeatureSchema, *, limit_s: float | None = None, folder: Path | None = None
) -> bytes:
    """Build what a graph lacks before and behind it, and see that it scores.

    Args:
        content: The ONNX file.
        schema: What the columns are, and what the graph makes of them.
        limit_s: Seconds that a trial of the graph may take.
        folder: Where its weights lie, where they are in files of their own.

    Returns:
        The graph to store: the same bytes, where nothing is lacking.

    Raises:
        ModelRejected: no graph can be made of it that scores what the schema describes.
        ImportPackageMissing: it must be changed, and the package onnx is not installed.
    """
    session, content = graph_file.load(content, folder)
    if read_note(session.metadata) is not None:
        raise ModelRejected(
            "The graph is one that `ranker model import` has made and stored. Import the file that the exporter wrote."
        )
    if not session.inputs:
        raise ModelRejected("The graph has no inputs: it scores all alike. Export it with the features as its inputs.")
    if schema.score is not None and schema.output is not None:
        raise ModelRejected("The schema has `output:` and `score:`. Leave `output:` out: `score:` names what it needs.")
    if fits_as_it_is(session, schema):
        return content
    bindings = bind(session.inputs, schema)
    made = _build(content, schema, bindings, limit_s, folder)
    freed = [binding for binding in bindings if binding.shape.freed]
    try:
        model = OnnxModel(made, schema, limit_s=limit_s, folder=folder)
    except ModelRejected as err:
        if freed and all(located.is_request_side for binding in freed for located in binding.features):
            raise ModelRejected(
                f"{err} Or say `rows: together` in the schema: each request is then a call of its own, and "
                f"{', '.join(binding.node.name for binding in freed)} one row for all its products."
            ) from err
        raise
    if schema.score is not None:
        _refuse_nan(model, schema.score)
    return made


def fits_as_it_is(session: Session, schema: FeatureSchema) -> bool:
    """Whether a graph takes the matrix, or its groups one by one, and gives tensors of float or double."""
    if asks_for_nodes(schema):
        return False
    choice = read_choice(schema.output, session.outputs)
    kinds = [node.type for node in session.outputs if choice is None or node.name == choice.output]
    if not any(kind in DTYPES for kind in kinds) and any("float" in kind for kind in kinds):
        return False
    try:
        match_inputs(session.inputs, schema)
    except ModelRejected:
        return False
    return True


def _build(
    content: bytes,
    schema: FeatureSchema,
    bindings: tuple[Binding, ...],
    limit_s: float | None,
    folder: Path | None,
) -> bytes:
    model = graph_file.read_graph(content)
    matrix = preamble.put_before(model, bindings, schema.width)
    classes = postamble.plain_outputs(model)
    original = tuple(map(notes.original, bindings))
    scores, parts = None, {}
    taken = {located.name for binding in bindings for located in binding.features}
    if schema.score is not None:
        formula = parse(schema.score)
        if graph_file.opset_of(model) < OLDEST_OPSET:
            model = _renewed(model, schema, folder)
        outputs, features = _find_terms(
            model, schema, formula, Compiled(matrix, original, classes=classes), limit_s, folder
        )
        scores = postamble.put_score(model, formula, matrix, outputs, features)
        parts = {str(term): str(output) for term, output in outputs.items()}
        parts |= {str(term): located.name for term, located in features.items()}
        taken |= {located.name for located in features.values()}
    taken |= {f"{side.of}.{side.history}" for name, side in schema.side_information.items() if _has_one(name, taken)}
    unused = tuple(located.name for located in Layout(schema).features if located.name not in taken)
    note = Compiled(matrix, original, scores, parts, classes, unused, tuple(notes.notes_on(bindings)))
    model.metadata_props.add(key=NOTE, value=note.to_note())
    return bytes(model.SerializeToString())


def _has_one(group: str, taken: set[str]) -> bool:
    """Whether a feature of a group is among those that are taken."""
    return any(name.startswith(f"{group}.") for name in taken)


def _renewed(model: Any, schema: FeatureSchema, folder: Path | None) -> Any:
    """Bring a graph, which takes the matrix, to the opset of formulas, and see that it gives the same."""
    renewed = graph_file.to_opset(model, OLDEST_OPSET)
    before, after = (Session(one.SerializeToString(), folder=folder) for one in (model, renewed))
    rows = proof.near_rows(schema)
    names = [node.name for node in before.outputs if node.type in DTYPES]
    given = [session.run(names, {session.inputs[0].name: rows}, len(rows)) for session in (before, after)]
    if not all(np.allclose(a, b, rtol=1e-6, atol=1e-6, equal_nan=True) for a, b in zip(*given, strict=True)):
        raise ModelRejected(
            f"The graph of opset {graph_file.opset_of(model)} scores otherwise in opset {OLDEST_OPSET}, which the "
            "schema's `score:` needs. Export it with opset_version=17."
        )
    return renewed


def _find_terms(
    model: Any,
    schema: FeatureSchema,
    formula: Formula,
    made: Compiled,
    limit_s: float | None,
    folder: Path | None,
) -> tuple[dict[Term, ModelOutput], dict[Term, Located]]:
    """Find what the names of a formula are: outputs of the graph before features."""
    content = model.SerializeToString()
    session, layout = Session(content, folder=folder), Layout(schema)
    inputs = one_matrix(session.inputs[0], schema)
    trial = OutputTrial(session, inputs, schema, read_nodes(content), made)
    names = [node.name for node in session.outputs]
    outputs: dict[Term, ModelOutput] = {}
    features: dict[Term, Located] = {}
    with session.limited(limit_s):
        for term in formula.terms:
            if str(term) in names:  # an output may have brackets in its name
                outputs[term] = trial.find(Choice(str(term), in_formula=True))
            elif term.name in names:
                outputs[term] = trial.find(Choice(term.name, term.column, in_formula=True))
            else:
                features[term] = _feature(term, layout, names)
    if not outputs:
        raise ModelRejected(
            f"The schema's `score: {formula.text}` names no output of the graph. Name one: {', '.join(names)}."
        )
    return outputs, features


def _refuse_nan(model: OnnxModel, formula: str) -> None:
    """Refuse a formula that is no number where rows are near the defaults."""
    rows = proof.near_rows(model.schema)
    if not (nan := np.isnan(model.score(rows))).any():
        return
    row = rows[int(np.flatnonzero(nan)[0])]
    values = [f"{located.name} = {row[located.start]:g}" for located in Layout(model.schema).features]
    raise ModelRejected(
        f"The schema's `score: {formula}` is NaN for {', '.join(values[:8])}, near the defaults, and would order "
        "nothing. Keep what it takes the log or root of from falling below 0, such as by max(…, 0), or give those "
        "features a `default` that it can take."
    )


def _feature(term: Term, layout: Layout, outputs: list[str]) -> Located:
    if not layout.find(term.name):
        raise ModelRejected(
            f"The schema's `score:` says {term}: no output of the graph ({', '.join(outputs[:8])}) and no feature. A "
            "name with other signs than letters, digits and _ goes in quotes."
        )
    (located,) = layout.resolve(term.name, "The schema's `score:`")
    feature = located.feature
    if feature.type == "text" or feature.is_sequence:
        raise ModelRejected(
            f"The schema's `score:` says {term}, and {located.name} is no number. Leave it out, or name one that is."
        )
    if (term.index or 0) >= feature.size or (term.column is None) != (feature.size == 1 and not feature.shape):
        one = f"{term.name}[0] for the first" if feature.shape else term.name
        raise ModelRejected(
            f"The schema's `score:` says {term}, and {located.name} has {feature.size} "
            f"value{'s' * (feature.size > 1)}: say {one}."
        )
    return located
