"""Choice between a graph in parts and the whole: parts where they score the same and gain something.

Owns the order of the questions, and that none of them stops an import: whatever goes wrong, the graph stays whole, and
the note says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ranker.errors import ImportPackageMissing, RankerError
from ranker.importing.splitting.proving.gain import PRODUCTS, measure_gain
from ranker.importing.splitting.proving.parity import compare
from ranker.importing.splitting.proving.probes import Block, probe, request_rows
from ranker.importing.splitting.split import NotSplit, split
from ranker.scoring.model import OnnxModel
from ranker.scoring.split.files import SplitChoice
from ranker.scoring.split.model import SplitModel
from ranker.scoring.split.note import Kept, Note
from ranker.vectors.schema import FeatureSchema

ASKED_FOR = SplitChoice(Note(whole_because="the import was told to (--no-split)"))
"""The choice of the whole graph, where nothing else was asked for."""
LEAST_GAIN = 0.1
"""Share of a request's time below which a split is not worth its memory."""


def choose_split(
    graph: bytes,
    schema: FeatureSchema,
    given: Sequence[Block] = (),
    *,
    limit_s: float | None = None,
    folder: Path | None = None,
) -> SplitChoice:
    """Split a graph, prove that its parts score the same, and measure what they gain.

    Args:
        graph: As it is stored.
        schema: What its columns are.
        given: Rows that it will meet, beside those that are made up.
        limit_s: Seconds that each of the trials may take.
        folder: Where the graph's weights lie, where they are in files of their own.

    Raises:
        ModelRejected: the whole graph cannot serve as a ranking model.
    """
    if folder is not None:
        return whole_because("its weights lie in files beside it")
    model = OnnxModel(graph, schema, limit_s=limit_s)
    try:
        with model.limited(limit_s):
            return _choose(graph, model, given)
    except ImportPackageMissing:
        return whole_because("splitting needs 'bento-ranker[import]', which is not installed; import it again with it")
    except RankerError as err:
        return whole_because(f"its parts could not be tried: {err}")
    except Exception as err:  # what the graph libraries raise of a graph they do not know has no base of its own
        return whole_because(f"it could not be split: {type(err).__name__}: {err}")


def whole_because(reason: str) -> SplitChoice:
    """Return the choice of the whole graph; the reason may be a sentence."""
    reason = " ".join(reason.split()).rstrip(".")
    return SplitChoice(Note(whole_because=reason[:1].lower() + reason[1:]))


def _choose(graph: bytes, model: OnnxModel, given: Sequence[Block]) -> SplitChoice:
    found = split(graph, model.inputs, model.output, model.schema)
    if isinstance(found, NotSplit):
        return whole_because(found.reason)
    kept = tuple(Kept(**asdict(one)) for one in found.kept)
    parts = SplitModel(found.parts, model.schema)
    blocks = probe(model.score, model.schema, given)
    parity = compare(model.score, parts, blocks, ends=found.ends)
    note = Note(rows=parity.rows, unsteady=parity.unsteady, difference=parity.difference, kept=kept)
    if parity.failure:
        reason = f"its parts score otherwise: {parity.failure}"
        return SplitChoice(note.model_copy(update={"whole_because": reason}))
    gain = measure_gain(model.score, parts, request_rows(blocks, given, PRODUCTS))
    note = note.model_copy(update={"gain": gain})
    if gain.share < LEAST_GAIN:
        reason = (
            f"in parts a request would take {gain.split_us:,.0f} us in place of {gain.whole_us:,.0f}, one of a round "
            f"{gain.round_split_us:,.0f} in place of {gain.round_whole_us:,.0f}, and preparing a product "
            f"{gain.prepare_us:,.1f}"
        )
        return SplitChoice(note.model_copy(update={"whole_because": reason}))
    return SplitChoice(note, found.parts)
