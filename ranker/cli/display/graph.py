"""Graph of a model in words: what its inputs take, what was built before and behind it, which output is the score.

Owns these words, and the same as JSON. Knows nothing of where models are stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ranker.scoring.model import OnnxModel

MAX_LISTED_FEATURES = 12
MAX_LISTED_INPUTS = 40


def graph_pairs(loaded: OnnxModel) -> dict[str, str]:
    """Return titles and what is told under them."""
    schema, made = loaded.schema, loaded.compiled
    inputs = list(map(str, loaded.inputs if made is None else made.inputs))
    more = len(inputs) - MAX_LISTED_INPUTS
    pairs = {
        "Fingerprint": f"{schema.fingerprint:08x}",
        "Columns": f"{' + '.join(f'{g.width} {name}' for name, g in schema.groups.items())} = {schema.width}",
        "Input" if len(inputs) == 1 else "Inputs": ", ".join(inputs[:MAX_LISTED_INPUTS])
        + (f" and {more:,} more" if more > 0 else ""),
        "Output": str(loaded.output),
    }
    if loaded.other_outputs:
        pairs["Other outputs"] = ", ".join(loaded.other_outputs[:MAX_LISTED_INPUTS])
    if made is None:
        return pairs
    if schema.score is not None:
        pairs["Output"] = ", ".join(f"{name} = {what}" for name, what in made.parts.items())
        pairs["Score"] = schema.score
    if guessed := [f"{one.name} = {', '.join(one.takes)}" for one in made.inputs if one.because == "its name"]:
        pairs["By name"] = ", ".join(guessed[:MAX_LISTED_INPUTS])
    if made.unused:
        pairs["Not used"] = ", ".join(made.unused)
    if schema.rows == "together":
        pairs["Rows"] = "together: each request's list is scored in a call of its own"
    if made.notes:
        pairs["Note"] = "; ".join(made.notes)
    return pairs


def graph_json(loaded: OnnxModel) -> dict[str, Any]:
    """Return what `graph_pairs` says, for programs."""
    output, made = loaded.output, loaded.compiled
    description: dict[str, Any] = {
        "width": loaded.width,
        "groups": {name: group.width for name, group in loaded.schema.groups.items()},
        "inputs": [
            {"name": i.name, "dtype": str(i.dtype), "columns": [i.columns.start, i.columns.stop]}
            | ({"group": i.group} if i.group else {})
            for i in loaded.inputs
        ],
        "output": {"name": output.name, "dtype": str(output.dtype), "shape": output.shape}
        | ({} if output.column is None else {"column": output.column, "classes": list(output.classes)}),
        "other_outputs": list(loaded.other_outputs),
        "schema": loaded.schema.to_metadata(),
    }
    if made is not None:
        description["compiled"] = made.as_json()
    return description


def row_text(loaded: OnnxModel) -> str:
    """Say which features a row of the matrix holds, in order; of vectors and sequences with how many values."""
    features = [
        f"{name}.{feature.name}" + (f" ({feature.size:,})" if feature.size > 1 else "")
        for name, group in loaded.schema.groups.items()
        for feature in group.features
    ]
    more = len(features) - MAX_LISTED_FEATURES
    return ", ".join(features[:MAX_LISTED_FEATURES]) + (f" and {more:,} more" if more > 0 else "")
