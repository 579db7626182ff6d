"""Load record: left in Redis beside the vectors; whether the load is whole, of what it was, its statistics.

There is one for each set of keys that a load can write, `ranker:load:FINGERPRINT:ENTITY:DIGEST`, where the digest is of
the key template and the format. So whoever checks the store finds it from any machine, and models with the same
features under other keys never see each other's. Owns the key and its JSON.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import orjson

from ranker.errors import NoUserFeatures, UnknownGroup
from ranker.redis.clients import Client, translate_errors
from ranker.vectors.group import EntitySchema
from ranker.vectors.rows import Key
from ranker.vectors.schema import FeatureSchema

Entity = str
"""`user`, `product`, or the name of a group under keys of its own."""
PREFIX = "ranker:load:"
MIXED = "another load at the same time"
"""Option on record that no load can be given: --resume passes it by."""


def entity_schema(schema: FeatureSchema, entity: Entity) -> EntitySchema:
    """Return the part of a schema that describes users, products, or a group.

    Raises:
        UnknownGroup, NoUserFeatures: the schema has none of that name, or no `user:`.
    """
    if entity == "user" and not schema.has_user:
        raise NoUserFeatures
    if entity not in schema.entities:
        raise UnknownGroup(entity, list(schema.keyed))
    return schema.entities[entity]


@dataclass(frozen=True, slots=True)
class Target:
    """Identity of a load: which vectors it writes, so that no other is taken for it.

    Attributes:
        fingerprint: Of the schema, or of the group, eight hexadecimal digits.
        entity: Whose.
        key: The template of their keys.
        format: How they are stored.
    """

    fingerprint: str
    entity: Entity
    key: str
    format: str

    @classmethod
    def of(cls, schema: FeatureSchema, entity: Entity) -> Self:
        """Return what a load of one entity of a schema writes."""
        part = entity_schema(schema, entity)
        return cls(f"{schema.fingerprint_of(part):08x}", entity, part.key, part.format)

    @property
    def record_key(self) -> str:
        """Return the key of such a load's record."""
        digest = hashlib.blake2s(f"{self.format}\0{self.key}".encode(), digest_size=8).hexdigest()
        return f"{PREFIX}{self.fingerprint}:{self.entity}:{digest}"


@dataclass(frozen=True, slots=True)
class LoadRecord:
    """Record of one load.

    Attributes:
        target: Which vectors it writes.
        state: `loading` from before the first vector is written until after the last one.
        files: A signature of each file, in order.
        options: What else decides which vectors the files' rows become, such as the column with the ids.
        rows: How many rows the files have.
        rows_done: How many of them have been dealt with, in order.
        rejected: How many of all rows cannot be loaded.
        ids: Some of those that were written, spread evenly over the rows dealt with.
        statistics: Of the rows that can be loaded; see `Statistics.to_json`.
        updated: When this was written, UTC.
    """

    target: Target
    state: Literal["loading", "complete"]
    files: tuple[str, ...]
    options: dict[str, Any]
    rows: int
    rows_done: int
    rejected: int
    ids: tuple[str, ...] = field(repr=False)
    statistics: dict[str, Any] = field(repr=False)
    updated: str = ""

    @classmethod
    def read(cls, client: Client, target: Target) -> Self | None:
        """Read the record of the last load of these vectors; None when there is none, or not one of this version.

        Raises:
            StoreUnavailable: Redis does not answer, or refuses.
        """
        with translate_errors():
            value: Any = client.get(target.record_key)
        try:
            data = orjson.loads(value or b"null")
            if data is None or Target(**data["target"]) != target:
                return None
            return cls(**data | {"target": target, "files": tuple(data["files"]), "ids": tuple(data["ids"])})
        except (ValueError, TypeError, KeyError):
            return None

    def write(self, client: Client) -> bytes:
        """Write the record in the place of the last one, and return what lies in Redis now.

        Raises:
            StoreUnavailable: Redis does not answer, or refuses.
        """
        now = datetime.now(UTC).isoformat(timespec="seconds")
        value = orjson.dumps(asdict(self) | {"updated": now})
        with translate_errors():
            client.set(self.target.record_key, value)
        return value

    @property
    def is_mixed(self) -> bool:
        """Whether another load wrote vectors of the same keys at the same time."""
        return self.options.get(MIXED) is True


def is_record(key: Key) -> bool:
    """Return whether a key holds a record, which a scan over all keys must pass by."""
    return key.startswith(PREFIX) if isinstance(key, str) else key.startswith(PREFIX.encode())


class Recorder:
    """Keeps the record of a load in Redis, and notices when another load of the same vectors has written its own.

    Attributes:
        is_mixed: Whether one has: then either one's vector may have stayed, of an id that both have.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._written: bytes | None = None
        self.is_mixed = False

    def write(self, record: LoadRecord) -> None:
        """Write the record in the place of the last one.

        Raises:
            StoreUnavailable: Redis does not answer, or refuses.
        """
        if self._written is not None and not self.is_mixed:
            with translate_errors():
                self.is_mixed = bool(self._client.get(record.target.record_key) != self._written)
        mixed = {MIXED: True} if self.is_mixed else {}
        self._written = replace(record, options=record.options | mixed).write(self._client)


class Spread:
    """Ids for the record: the first of every `step` rows, behind those that are on it."""

    def __init__(self, step: int, ids: Sequence[str]) -> None:
        self.ids = list(ids)
        self._step = step
        self._last = -1

    def add(self, positions: npt.NDArray[np.int64], ids: Sequence[str]) -> None:
        """Look at rows, whose positions only grow."""
        stretches, firsts = np.unique(positions // self._step, return_index=True)
        self.ids += [ids[i] for i in firsts[stretches > self._last].tolist()]
        self._last = int(stretches[-1])
