"""Read-back of stored values, many in one round trip; and as rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from redis.exceptions import ResponseError

from ranker.ingest.record import Entity, entity_schema
from ranker.redis.clients import Client, translate_errors
from ranker.vectors.group import EntitySchema
from ranker.vectors.rows import Key, Rows
from ranker.vectors.schema import FeatureSchema
from ranker.vectors.stored.encoding import make_keys
from ranker.vectors.stored.formats import decoder_for


def read_values(server: Client, keys: Sequence[Key]) -> list[bytes | None]:
    """Return the values of keys; None for one that is not there, or is no string.

    Raises:
        StoreUnavailable: Redis does not answer, or refuses.
    """
    return [value if isinstance(value, bytes) else None for value in ask(server, [("GET", key) for key in keys])]


def read_stored(server: Client, entity: EntitySchema, keys: Sequence[Key]) -> list[Any]:
    """Return what the entity's decoder takes: values, or the fields of hashes; None for a key of another type.

    Raises:
        StoreUnavailable: Redis does not answer, or refuses.
    """
    if not entity.is_hash:
        return list(read_values(server, keys))
    answers = ask(server, [("HMGET", key, *entity.fields) for key in keys])
    return [answer if isinstance(answer, list) else None for answer in answers]


def ask(server: Client, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Send commands in one round trip; return their answers, errors among them.

    Raises:
        StoreUnavailable: Redis does not answer, or refuses all of it.
    """
    with translate_errors():
        pipeline: Any = server.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        answers: list[Any] = pipeline.execute(raise_on_error=False)
        for answer in answers:
            if isinstance(answer, Exception) and not isinstance(answer, ResponseError):
                raise answer
        return answers


def read_rows(client: Client, schema: FeatureSchema, entity: Entity, ids: Sequence[str]) -> Rows:
    """Read the vectors of n ids.

    Raises:
        StoreUnavailable: Redis does not answer, or refuses.
    """
    if entity == "user" and not schema.has_user:
        return Rows.known(np.empty((len(ids), 0), np.float32))
    part = entity_schema(schema, entity)
    decoder = decoder_for(part, schema.fingerprint_of(part), schema.older_vectors(entity))
    return decoder.decode(read_stored(client, part, make_keys(part, ids)))
