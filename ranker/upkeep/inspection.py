"""Inspection of one stored vector: all there is to know about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from redis.exceptions import ResponseError

from ranker.errors import FeatureError
from ranker.ingest.read_back import read_stored
from ranker.ingest.record import Entity, entity_schema
from ranker.redis.clients import Client, translate_errors
from ranker.upkeep.forms import form_in
from ranker.vectors.feature.shown import show
from ranker.vectors.rows import Key
from ranker.vectors.schema import FeatureSchema
from ranker.vectors.stored.encoding import make_keys
from ranker.vectors.stored.formats import decoder_for


@dataclass(frozen=True, slots=True)
class Inspection:
    """Report on one key.

    Attributes:
        entity: Whose.
        id: Its id.
        key: Where it is.
        form: `binary`, `float16`, `json` or `json-in-json`, or the format that the schema declares; None when there is
            nothing, or something else.
        problem: Why the service counts it as missing; None when it does not.
        features: The values by name, None for NaN; empty when there is a problem.
        bytes: Length of the value, or of a hash's fields; None without one.
        memory_bytes: What Redis spends on the key; None where it does not tell.
        ttl_s: Seconds until it expires; None when it does not.
        idle_s: Seconds since it was last read or written; None where Redis does not tell.
    """

    entity: Entity
    id: str
    key: str
    form: str | None
    problem: str | None
    features: dict[str, Any]
    bytes: int | None
    memory_bytes: int | None
    ttl_s: float | None
    idle_s: int | None


def inspect(client: Client, schema: FeatureSchema, entity: Entity, identifier: str) -> Inspection:
    """Look at one vector.

    Raises:
        StoreUnavailable: Redis does not answer, or refuses to read the key.
    """
    part = entity_schema(schema, entity)
    (key,) = make_keys(part, [identifier])
    # Asked first: reading the key would end its idleness.
    idle = _optional(client, "OBJECT", "IDLETIME", key)
    memory = _optional(client, "MEMORY", "USAGE", key)
    wanted = b"hash" if part.is_hash else b"string"
    with translate_errors():
        kind: Any = client.type(key)
        ttl_ms: Any = client.pttl(key)
    value: Any = read_stored(client, part, [key])[0] if kind == wanted else None
    problem: str | None = None
    features: dict[str, Any] = {}
    if value is None:
        other = f"The key holds a {kind.decode()}, not a {wanted.decode()}."
        problem = "There is no such key." if kind == b"none" else other
    else:
        try:
            row = decoder_for(part, schema.fingerprint_of(part), schema.older_vectors(entity)).decode_one(value)
            features = {f.name: show(f, row[part.slices[f.name]]) for f in part.features}
        except FeatureError as err:
            problem = str(err)
    return Inspection(
        entity=entity,
        id=identifier,
        key=key if isinstance(key, str) else repr(key),
        form=None if value is None else form_in(part, value),
        problem=problem,
        features=features,
        bytes=None if value is None else _length(value),
        memory_bytes=memory,
        ttl_s=ttl_ms / 1000 if ttl_ms >= 0 else None,
        idle_s=idle,
    )


def _length(value: Any) -> int:
    """Return the bytes of a value, or of a hash's fields."""
    return len(value) if isinstance(value, bytes) else sum(len(field) for field in value if field is not None)


def _optional(client: Client, *command: Key) -> int | None:
    """Return what a server may refuse to tell: it depends on its settings, its age and the user's rights."""
    with translate_errors():
        try:
            answer: Any = client.execute_command(*command)  # type: ignore[no-untyped-call]  # untyped in redis-py
        except ResponseError:
            return None
    return answer if type(answer) is int else None
