"""Vector sample: encodings of the stored vectors, and whether this model can read them. Reads only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

import numpy as np
from redis.exceptions import ResponseError

from ranker.doctor.keyspace import Keyspace, look
from ranker.doctor.nodes import Nodes
from ranker.errors import ExpiredRow, FeatureError, WrongFingerprint, WrongWidth
from ranker.upkeep.finding import Finding, fail, ok, warn
from ranker.vectors.group import EntitySchema, Format
from ranker.vectors.keyed_group import KeyedGroup
from ranker.vectors.rows import ANYBODY
from ranker.vectors.schema import FeatureSchema
from ranker.vectors.stored.encoding import HEADER
from ranker.vectors.stored.formats import Decoder, decoder_for

SAMPLE = 5000
"""Vectors of each entity that are read at most."""
PAGE_KEYS = 250

BINARY = ("binary record", "binary float32", "binary float16")
"""By dtype code, which is 0 in version 2."""
JSON = ("JSON", "JSON in JSON")
USABLE = frozenset((*BINARY, *JSON, *get_args(Format)))


@dataclass(slots=True)
class EntitySample:
    """The vectors of one entity that were read.

    Attributes:
        name: `user`, `product`, or that of a group under keys of its own.
        total: How many there are in all, as in `Keyspace`.
        keys: Of those read, usable or not.
        ids: Of the usable ones.
        kinds: How many were of which encoding, or unusable for which reason.
        sizes: Bytes of each; of a hash, those of the fields' values.
    """

    name: str
    entity: EntitySchema
    total: int | None
    keys: list[bytes] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    sizes: list[int] = field(default_factory=list)

    def add(self, key: bytes, value: Any, kind: str) -> None:
        """Note a vector."""
        self.keys.append(key)
        self.kinds[kind] += 1
        if kind in USABLE:
            self.sizes.append(sum(map(len, filter(None, value))) if isinstance(value, list) else len(value))
        entity_id = self.entity.id_in(key)
        if kind in USABLE and entity_id is not None:
            self.ids.append(entity_id)


@dataclass(frozen=True, slots=True)
class Sample:
    """Sampled vectors of users, products and groups, and where they were looked for."""

    user: EntitySample
    product: EntitySample
    keyspace: Keyspace
    groups: dict[str, EntitySample] = field(default_factory=dict)

    @property
    def entities(self) -> list[EntitySample]:
        """Those that have features."""
        return [one for one in (self.user, self.product, *self.groups.values()) if one.entity.features]


def take_sample(nodes: Nodes, schema: FeatureSchema) -> Sample:
    """Read some vectors of each entity.

    Raises:
        NoPermissionError: the user may not SCAN, or not read the keys.
        RedisError: Redis does not answer.
    """
    keyspace = look(nodes.clients, schema, SAMPLE)
    groups = {name: _sample_group(nodes, schema, name, keyspace) for name in schema.keyed}
    user = EntitySample("user", schema.user, keyspace.totals.get("user"))
    product = EntitySample("product", schema.product, keyspace.totals["product"])
    users, products = (
        decoder_for(side.entity, schema.fingerprint, schema.older_vectors(side.name)) for side in (user, product)
    )
    if not schema.has_user:
        user.ids.append(ANYBODY)
    if schema.user.key != schema.product.key or not schema.has_user:
        for side, decoder in ((user, users), (product, products)):
            for key, value in _values(nodes, side.entity, keyspace.keys.get(side.name, [])[:SAMPLE]):
                side.add(key, value, _kind(value, side.entity, decoder))
        return Sample(user, product, keyspace, groups)
    # One template for both: a vector is the user's if it can be read as one.
    keys = keyspace.keys["product"][: 2 * SAMPLE]
    as_users, as_products = (_values(nodes, side.entity, keys) for side in (user, product))
    alike = user.entity.width == product.entity.width and user.entity.format == product.entity.format
    alike = alike and not user.entity.is_hash
    for (key, as_user), (_, as_product) in zip(as_users, as_products, strict=True):
        kind = _kind(as_user, user.entity, users)
        if kind in USABLE:
            user.add(key, as_user, kind)
        if kind not in USABLE or alike:
            product.add(key, as_product, _kind(as_product, product.entity, products))
    for side in (user, product):
        side.total = side.total and round(side.total * len(side.keys) / len(keys))
    return Sample(user, product, keyspace, groups)


def _sample_group(nodes: Nodes, schema: FeatureSchema, name: str, keyspace: Keyspace) -> EntitySample:
    group = schema.keyed[name]
    sample = EntitySample(name, group, keyspace.totals[name])
    decoder = decoder_for(group, schema.fingerprint_of(group))
    for key, value in _values(nodes, group, keyspace.keys[name][:SAMPLE]):
        sample.add(key, value, _kind(value, group, decoder))
    return sample


def check_stored(side: EntitySample, keyspace: Keyspace) -> Finding:
    """Say how an entity's features are stored."""
    check, read, template = f"{side.name} features", len(side.keys), side.entity.key
    if not read:
        seen = f"no key like {template} among the {keyspace.scanned:,} keys seen"
        remedy = f"Load them as {template}, or import the model with the key template that your store uses."
        if isinstance(side.entity, KeyedGroup):
            return warn(check, seen, f"{remedy} Until then its features take their defaults.", total=side.total)
        if keyspace.whole:
            return fail(check, f"{seen}, which are all of this database", remedy, total=0)
        return warn(check, f"{seen}; there are more keys in this database", remedy, total=None)
    total = "an unknown number" if side.total is None else f"{'' if keyspace.whole else 'about '}{side.total:,}"
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in side.kinds.most_common())
    size = round(float(np.mean(side.sizes))) if side.sizes else 0
    seen = f"{total} like {template}; of {read:,} read: {kinds}; {size:,} bytes each"
    data = {"total": side.total, "exact": keyspace.whole, "read": read, "kinds": dict(side.kinds), "bytes": size}
    unusable = read - sum(side.kinds[kind] for kind in USABLE)
    if unusable:
        remedy = (
            "Write these vectors again for this model (`ranker model show` prints its features and fingerprint), or "
            "serve the model they were written for; until then they count as missing."
        )
        return (fail if unusable == read else warn)(check, seen, remedy, **data)
    if any(side.kinds[kind] for kind in JSON):
        remedy = "Rewrite them as binary vectors (`ranker features migrate`): JSON costs many times as much to decode."
        return warn(check, seen, remedy, **data)
    return ok(check, seen, **data)


def read_page(nodes: Nodes, entity: EntitySchema, keys: Sequence[bytes]) -> list[Any]:
    """Read some of an entity's keys, as the service does: by MGET, or the fields of hashes by HMGET.

    Returns:
        For each key its value, None when it is no string; for a hash the fields' values, none when it is no hash.
    """
    values: list[Any] = [None] * len(keys)
    for client, groups in nodes.split(keys):
        with client.pipeline(transaction=False) as pipeline:
            for positions in groups:
                if entity.is_hash:
                    for i in positions:
                        pipeline.hmget(keys[i], list(entity.fields))
                else:
                    # Untyped in redis-py.
                    pipeline.execute_command("MGET", *(keys[i] for i in positions))  # type: ignore[no-untyped-call]  # redis-py's is untyped
            answers = pipeline.execute(raise_on_error=False)
        for answer in answers:
            if isinstance(answer, Exception) and (not entity.is_hash or not _is_wrong_type(answer)):
                raise answer
        if entity.is_hash:
            answers = [[[] if isinstance(answer, Exception) else answer] for answer in answers]
            groups = [[i] for positions in groups for i in positions]
        for positions, answer in zip(groups, answers, strict=True):
            for i, value in zip(positions, answer, strict=True):
                values[i] = value
    return values


def _values(nodes: Nodes, entity: EntitySchema, keys: Sequence[bytes]) -> Iterator[tuple[bytes, Any]]:
    for start in range(0, len(keys), PAGE_KEYS):
        page = keys[start : start + PAGE_KEYS]
        yield from zip(page, read_page(nodes, entity, page), strict=True)


def _is_wrong_type(err: Exception) -> bool:
    return isinstance(err, ResponseError) and str(err).startswith("WRONGTYPE")


def _kind(value: Any, entity: EntitySchema, decoder: Decoder) -> str:
    """Name a vector's encoding, or why it is unusable."""
    if entity.is_hash and not any(field is not None for field in value):
        return "without any of the hash fields"
    if value is None:
        return "not a string"
    try:
        decoder.decode_one(value)
    except WrongFingerprint:
        return "of another schema (wrong fingerprint)"
    except WrongWidth:
        return "of a wrong width"
    except ExpiredRow:
        return "expired"
    except FeatureError:
        return "corrupt"
    if entity.format != "ranker":
        return entity.format
    if value[:1] == b"R":
        return BINARY[HEADER.unpack_from(value)[2]]
    return JSON[value[:1] == b'"']
