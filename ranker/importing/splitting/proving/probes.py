"""Probes: rows that both the whole graph and its parts score, in blocks of rows that are compared with one another.

Owns which rows are tried: near the defaults, far from them, with NaN and infinities, and those that the import is
given. Rows that the whole graph cannot score, such as ids beyond a table, are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ranker.scoring.graph import proof
from ranker.vectors.rows import Matrix
from ranker.vectors.schema import FeatureSchema

ROWS = 32
"""Rows of each block that is made up."""
MOST_GIVEN = 1000
"""Rows of each block that is given."""
NAN_SHARE, INFINITE_SHARE = 0.2, 0.05


class Block(NamedTuple):
    """Rows of one kind.

    Attributes:
        kind: What they are, in words.
        rows: Shape (n, F); n is at least 1.
    """

    kind: str
    rows: Matrix


def probe(score: proof.Score, schema: FeatureSchema, given: Sequence[Block] = ()) -> list[Block]:
    """Return the blocks that are to be compared.

    Args:
        score: The whole graph.
        schema: What its columns are.
        given: Rows that it will meet: the trainer's, and such as are stored.
    """
    blocks = [*_made_up(schema), *(Block(block.kind, block.rows[:MOST_GIVEN]) for block in given)]
    tried = (Block(block.kind, proof.scorable(score, block.rows)) for block in blocks)
    return [block for block in tried if len(block.rows)]


def request_rows(blocks: Sequence[Block], given: Sequence[Block], products: int) -> Matrix:
    """Return rows for one request of so many products, shape (products, F): the import's own where there are any."""
    kinds = {block.kind for block in given}
    usual = [b.rows for b in blocks if b.kind in kinds] or [b.rows for b in blocks if b.kind in USUAL]
    rows = np.concatenate(usual or [b.rows for b in blocks])
    return rows[np.arange(products) % len(rows)]


USUAL = ("near the defaults", "around the defaults")
"""Kinds of rows that are made up and may be met."""


def _made_up(schema: FeatureSchema) -> Iterator[Block]:
    random, width = np.random.default_rng(3), schema.width
    defaults = np.nan_to_num(schema.defaults)
    near = defaults + random.random((ROWS, width), dtype=np.float32) * np.float32(0.5)
    near[0] = schema.defaults
    yield Block(USUAL[0], near)
    around = (defaults + random.standard_normal((ROWS, width))).astype(np.float32)
    yield Block(USUAL[1], around)
    for scale in proof.SCALES:
        steps = random.uniform(-scale, scale, (ROWS, width))
        yield Block(f"up to {scale:,.0f} from the defaults", (defaults + steps).astype(np.float32))
    lacking = around.copy()
    lacking[random.random(lacking.shape) < NAN_SHARE] = np.nan
    lacking[0, : schema.user.width] = np.nan
    lacking[1, schema.user.width : schema.stored_width] = np.nan
    lacking[2] = np.nan
    yield Block("with NaN", lacking)
    infinite = around.copy()
    chosen = random.random(infinite.shape) < INFINITE_SHARE
    infinite[chosen] = random.choice(np.array([-np.inf, np.inf], np.float32), int(chosen.sum()))
    yield Block("with infinities", infinite)
