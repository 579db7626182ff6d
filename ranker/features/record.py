"""What a load leaves in Redis beside the vectors: whether it is whole, what it was of, and the features' statistics.

There is one record for each schema and entity, under `ranker:load:FINGERPRINT:ENTITY`, so that whoever checks the store
finds it from any machine. Owns the key and its JSON.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, Self

import orjson

from ranker.clients import Client, answering
from ranker.encoding import Key
from ranker.schema import EntitySchema, FeatureSchema

Entity = Literal["user", "product"]
ENTITIES: tuple[Entity, ...] = ("user", "product")
PREFIX = "ranker:load:"


def entity_schema(schema: FeatureSchema, entity: Entity) -> EntitySchema:
    """Return the part of a schema that describes users, or products."""
    return schema.user if entity == "user" else schema.product


@dataclass(frozen=True, slots=True)
class LoadRecord:
    """One load.

    Attributes:
        state: `loading` from before the first vector is written until after the last one.
        files: A signature of each file, in order.
        rows: How many rows the files have.
        rows_done: How many of them have been dealt with, in order.
        rejected: How many of all rows cannot be loaded.
        ttl_s: The vectors' time to live, in seconds.
        statistics: Of the rows that can be loaded; see `Statistics.to_json`.
        updated: When this was written, UTC.
    """

    state: Literal["loading", "complete"]
    files: tuple[str, ...]
    rows: int
    rows_done: int
    rejected: int
    ttl_s: float | None
    statistics: dict[str, Any] = field(repr=False)
    updated: str = ""

    @classmethod
    def read(cls, client: Client, schema: FeatureSchema, entity: Entity) -> Self | None:
        """Read the record; None when there is none, or not one of this version.

        Raises:
            StoreUnavailable: Redis does not answer, or refuses.
        """
        with answering():
            value: Any = client.get(_key(schema, entity))
        try:
            data = orjson.loads(value or b"null")
            return None if data is None else cls(**data | {"files": tuple(data["files"])})
        except (ValueError, TypeError, KeyError):
            return None

    def write(self, client: Client, schema: FeatureSchema, entity: Entity) -> None:
        """Write the record in the place of the last one.

        Raises:
            StoreUnavailable: Redis does not answer, or refuses.
        """
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with answering():
            client.set(_key(schema, entity), orjson.dumps(asdict(self) | {"updated": now}))


def is_record(key: Key) -> bool:
    """Return whether a key holds a record, which a scan over all keys must pass by."""
    return key.startswith(PREFIX) if isinstance(key, str) else key.startswith(PREFIX.encode())


def _key(schema: FeatureSchema, entity: Entity) -> str:
    return f"{PREFIX}{schema.fingerprint:08x}:{entity}"
