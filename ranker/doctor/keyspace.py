"""Keyspace sample: which keys belong to users and products, by a bounded SCAN. Reads names only, but for `stored_ids`.

One pass over at most `SCAN_KEYS` keys of any kind, for the share of each entity among them; an entity that did not
come up is then looked for by its pattern. Each takes `SCAN_S` at most.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import zip_longest
from typing import cast

from redis import Redis
from redis.exceptions import ResponseError

from ranker.ingest.read_back import read_rows
from ranker.ingest.record import Entity
from ranker.redis.clients import Client, connect, primaries, translate_errors
from ranker.upkeep.scan import belongs
from ranker.vectors.group import EntitySchema
from ranker.vectors.rows import ANYBODY, MAX_ID_LENGTH, RowStatus
from ranker.vectors.schema import FeatureSchema

SCAN_KEYS = 20_000
SCAN_COUNT = 1000
"""Keys of one SCAN: occupies the server for some 0.2 ms."""
SCAN_S = 1.0
READ = 300
"""Vectors of each entity that `stored_ids` reads."""


@dataclass(frozen=True, slots=True)
class Keyspace:
    """Keys that a bounded look found.

    Attributes:
        keys: By entity, groups included; the same list for two whose templates are the same.
        totals: How many there are in all: exact when the whole keyspace was seen, estimated from DBSIZE otherwise;
            None when that is refused, or when nothing came up.
        scanned: How many keys were looked at.
        whole: Whether those were all.
    """

    keys: dict[str, list[bytes]]
    totals: dict[str, int | None]
    scanned: int
    whole: bool


def look(clients: Sequence[Redis], schema: FeatureSchema, wanted: int) -> Keyspace:
    """Find the keys of users, products and groups; of an entity that is rare among others, at most some `wanted`.

    Args:
        clients: Each server that holds keys; all get an equal part of the time and of what is wanted.
        schema: Whose keys.
        wanted: How many keys of an entity.

    Raises:
        NoPermissionError: the user may not SCAN.
        RedisError: Redis does not answer.
    """
    parts = [_look(client, schema, -(-wanted // len(clients)), 1 / len(clients)) for client in clients]
    names = parts[0].keys
    counts = {name: [part.totals[name] for part in parts] for name in names}
    return Keyspace(
        # In turns, so that whoever takes the first has keys of every server.
        {name: [key for keys in zip_longest(*(p.keys[name] for p in parts)) for key in keys if key] for name in names},
        {name: None if None in each else sum(count or 0 for count in each) for name, each in counts.items()},
        sum(part.scanned for part in parts),
        all(part.whole for part in parts),
    )


def stored_ids(url: str, schema: FeatureSchema, wanted: int) -> tuple[list[str], list[str]]:
    """Return up to `wanted` ids of users and of products that a model with this schema can read, short ones first.

    A short look; what lies under the same keys for another model is passed by.

    Raises:
        StartupError: the URL is unusable.
        StoreUnavailable: Redis does not answer, or refuses.
    """
    with closing(connect(url)) as client, translate_errors():
        servers = list(primaries(client))
        users = _ids(servers, schema, "user", max(wanted, READ))
        products = _ids(servers, schema, "product", max(wanted, READ))
        return _readable(client, schema, "user", users)[:wanted], _readable(client, schema, "product", products)[
            :wanted
        ]


def _readable(client: Client, schema: FeatureSchema, entity: Entity, ids: list[str]) -> list[str]:
    """Return those ids whose vectors a model with this schema can read."""
    statuses = read_rows(client, schema, entity, ids).statuses if ids else ()
    return [one for one, status in zip(ids, statuses, strict=True) if status == RowStatus.FOUND]


def _ids(servers: Sequence[Redis], schema: FeatureSchema, name: str, wanted: int) -> list[str]:
    if name == "user" and not schema.has_user:
        return [ANYBODY]
    entity, found = schema.entities[name], list[str]()
    for server in servers:
        keys, _ = _gather(server, _pattern(entity), wanted, SCAN_S / len(servers))
        ids = (entity.id_in(key) for key in keys if belongs(key, entity, schema))
        found += [i for i in ids if i is not None and len(i) <= MAX_ID_LENGTH]
        if len(found) >= wanted:
            break
    return sorted(found, key=lambda i: (len(i), i))[:wanted]


def _look(client: Redis, schema: FeatureSchema, wanted: int, share: float) -> Keyspace:
    entities = schema.entities
    of_groups = 1 / max(1, len(schema.keyed))  # which have the time of one entity together
    seen, whole = _gather(client, None, round(SCAN_KEYS * share), SCAN_S * share)
    size = len(seen) if whole else _dbsize(client)
    keys: dict[str, list[bytes]] = {}
    totals: dict[str, int | None] = {}
    for name, entity in entities.items():
        found = [key for key in seen if belongs(key, entity, schema)]
        totals[name] = round(len(found) * size / len(seen)) if size is not None and seen else None
        if whole:
            totals[name] = len(found)
        elif not found:
            named = _gather(
                client, _pattern(entity), wanted, SCAN_S * share * (of_groups if name in schema.keyed else 1)
            )[0]
            found = [key for key in named if belongs(key, entity, schema)]
            totals[name] = None
        keys[name] = found
    return Keyspace(keys, totals, len(seen), whole)


def _pattern(entity: EntitySchema) -> str:
    before, after = (re.sub(r"([*?\[\]\\^])", r"\\\1", part) for part in entity.key_parts)
    return f"{before}*{after}"


def _gather(client: Redis, match: str | None, wanted: int, budget_s: float) -> tuple[list[bytes], bool]:
    """Return some `wanted` keys, and whether there are no more, in some `budget_s` seconds."""
    found: dict[bytes, None] = {}  # SCAN may name a key twice
    deadline = time.monotonic() + budget_s
    for page, last in _pages(client, match):
        found.update(dict.fromkeys(page))
        if last:
            return list(found), True
        if len(found) >= wanted or time.monotonic() > deadline:
            break
    return list(found), False


def _pages(client: Redis, match: str | None) -> Iterator[tuple[list[bytes], bool]]:
    cursor = 0
    while True:
        cursor, page = client.scan(cursor, match=match, count=SCAN_COUNT)
        yield cast("list[bytes]", page), cursor == 0
        if cursor == 0:
            return


def _dbsize(client: Redis) -> int | None:
    try:
        return int(client.dbsize())
    except ResponseError:
        return None
