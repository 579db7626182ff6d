"""Key scan: SCAN on every server that holds keys, then the values, a batch in one round trip."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from redis import Redis

from ranker.errors import UnknownEntity
from ranker.ingest.record import Entity, entity_schema, is_record
from ranker.redis.clients import Client, primaries, translate_errors
from ranker.vectors.group import EntitySchema
from ranker.vectors.schema import FeatureSchema

COUNT = 500
"""Keys looked at in one SCAN: some 0.1 ms of the server."""


def pattern_of(entity: EntitySchema) -> str:
    """Return the pattern, as SCAN takes it, of all keys of users, or of products."""
    before, after = entity.key_parts
    return f"{_escaped(before)}*{_escaped(after)}"


def entity_of(pattern: str, schema: FeatureSchema) -> Entity:
    """Tell whose keys a pattern names.

    Raises:
        UnknownEntity: the key templates do not tell.
    """
    possible: list[Entity] = []
    for entity in schema.entities:
        before, after = entity_schema(schema, entity).key_parts
        if pattern.startswith(_escaped(before)) and pattern.endswith(_escaped(after)):
            possible.append(entity)
    if len(possible) != 1:
        raise UnknownEntity(pattern, [entity.key for entity in schema.entities.values()])
    return possible[0]


def belongs(key: bytes, entity: EntitySchema, schema: FeatureSchema) -> bool:
    """Say whether a key is of an entity; one that fits several templates is of the one with most fixed text."""
    return entity.id_in(key) is not None and not belongs_elsewhere(key, entity, schema)


def belongs_elsewhere(key: bytes, entity: EntitySchema, schema: FeatureSchema) -> bool:
    """Say whether a key fits another template with more fixed text."""
    fixed = sum(map(len, entity.key_parts))
    others = [other for other in schema.entities.values() if sum(map(len, other.key_parts)) > fixed]
    return any(other.id_in(key) is not None for other in others)


def scan(
    client: Client, pattern: str, count: int = COUNT, wanted: Callable[[bytes], bool] | None = None
) -> Iterator[tuple[Redis, list[bytes]]]:
    """Yield the keys that match, in batches, each with the server that holds them. A key may come twice.

    Args:
        client: Where.
        pattern: As SCAN takes it.
        count: Keys looked at in one SCAN.
        wanted: Which of them; all where None.

    Raises:
        StoreUnavailable: Redis does not answer, or refuses.
    """
    for server in primaries(client):
        cursor = 0
        while True:
            with translate_errors():
                cursor, found = server.scan(cursor, match=pattern, count=count)
            keys = [key for key in found if isinstance(key, bytes) and not is_record(key)]
            if keys := keys if wanted is None else [*filter(wanted, keys)]:
                yield server, keys
            if cursor == 0:
                break


def key_count(client: Client) -> int:
    """Return how many keys there are in all: what a scan looks at.

    Raises:
        StoreUnavailable: Redis does not answer, or refuses.
    """
    with translate_errors():
        return sum(int(server.dbsize()) for server in primaries(client))


def _escaped(text: str) -> str:
    return "".join(f"\\{c}" if c in "*?[]\\^" else c for c in text)
