"""Split of a model in words: which graph scores and why, what it gains, what a product takes, what stays for the pair.

Owns these words, and the same as JSON.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ranker.scoring.loaded import LoadedModel
    from ranker.scoring.split.note import Gain, Kept

MAX_LISTED = 12
MAX_STEPS = 3
MAX_USES = 1000


def split_pairs(loaded: LoadedModel) -> dict[str, str]:
    """Return titles and what is told under them."""
    note = loaded.note
    if loaded.split is None:
        return {"Scores": f"by the whole graph: {note.whole_because or 'its parts are not stored'}"}
    pairs = {"Scores": "in parts: the request's once, the product's kept with its row, the pair's for each row"}
    if note.gain is not None:
        pairs["Gain"] = _gain(note.gain)
        pairs["Product part"] = _product_part(note.gain)
    if note.difference is not None:
        pairs["Proof"] = f"{note.rows:,} scores as the whole graph's, largest relative difference {note.difference:.2g}"
    if note.unsteady:
        pairs["Unsteady"] = (
            f"{note.unsteady:,} rows with NaN left out: the whole graph scores them otherwise where they lie elsewhere "
            "in memory (ONNX Runtime's ReduceMax and ReduceMin)"
        )
    if steps := [f"{one.operator} ({one.name})" for one in note.kept if one.steps]:
        more = f" and {len(steps) - MAX_STEPS:,} more" if len(steps) > MAX_STEPS else ""
        pairs["Steps"] = (
            f"{', '.join(steps[:MAX_STEPS])}{more}: of sums that the parts make in another order; a value within "
            "rounding of a step may fall to its other side"
        )
    return pairs


def pair_part_rows(loaded: LoadedModel) -> list[tuple[str, str, str]]:
    """Return the operations that stay in the pair part: operator, where, and why."""
    kept: tuple[Kept, ...] = loaded.note.kept
    rows = [(one.operator, one.name, one.reason) for one in kept[:MAX_LISTED]]
    more = len(kept) - MAX_LISTED
    return [*rows, ("…", f"{more:,} more", "--json has them")] if more > 0 else rows


def split_json(loaded: LoadedModel) -> dict[str, Any]:
    """Return what `split_pairs` and `pair_part_rows` say, for programs."""
    note = loaded.note.model_dump(mode="json", exclude={"whole_because"})
    if loaded.note.gain is not None:
        uses = loaded.note.gain.uses
        note["gain"] |= {"share": loaded.note.gain.share, "uses": uses if uses < float("inf") else None}
    return {"served": loaded.served_as, "wholeBecause": loaded.note.whole_because or None, "split": note}


def _gain(gain: Gain) -> str:
    times = gain.whole_us / gain.split_us if gain.split_us else float("inf")
    cost = f"{gain.whole_us:,.0f} -> {gain.split_us:,.0f} us of CPU ({times:.2g} times)"
    of_round = (
        f"; {gain.round_whole_us:,.0f} -> {gain.round_split_us:,.0f} for one of a round" if gain.round_whole_us else ""
    )
    return f"{cost} for a request of {gain.products} prepared products{of_round}; on one thread"


def _product_part(gain: Gain) -> str:
    pays = "hardly ever pays"
    if gain.uses <= MAX_USES:
        uses = max(1, round(gain.uses))
        pays = f"pays from {uses} use{'s' * (uses > 1)}"
    return f"{gain.product_bytes:,} bytes of the cache and {gain.prepare_us:,.1f} us for each product; {pays}"
