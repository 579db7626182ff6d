"""Stored matrix: what a request that brings nothing is scored by, with the groups that Redis holds for it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ranker.features.groups.rows import read_groups
from ranker.ingest.read_back import read_rows
from ranker.ranking.context.key_texts import KeyTexts
from ranker.ranking.matrix import Assembler, GroupColumns
from ranker.redis.clients import Client
from ranker.vectors.rows import Ask, Features, Matrix, ProductId, UserId
from ranker.vectors.schema import FeatureSchema


def stored_matrix(
    client: Client, schema: FeatureSchema, user_id: str, product_ids: Sequence[str], features: Features
) -> Matrix:
    """Return the rows (n, F) of a user and n products whose features are known.

    Raises:
        StoreUnavailable: Redis does not answer, or refuses.
    """
    ask = Ask(UserId(user_id), [*map(ProductId, product_ids)], KeyTexts(schema).read(None, ""))
    read_groups(schema, ask, features, partial(read_rows, client, schema))
    return Assembler(schema).matrix(features, GroupColumns(schema).fill(None, features))
