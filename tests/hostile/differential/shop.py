"""Random shops: a schema, what lies in Redis in each stored form, and the numbers that a request's rows are to be.

Values are kept as they are written. What they become is an own reading of the reference; see `slots`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from redis import Redis

from ranker import FeatureWriter
from ranker.vectors.schema import FeatureSchema
from tests.hostile.differential.feast_rows import draw_field, draw_view
from tests.hostile.differential.row_bytes import as_bytes, as_field
from tests.hostile.differential.slots import TEXTS, WHOLE, Slot, draw_slot, draw_value

PLAIN = ("float32", "float16", "bool", "category", "vector")
KINDS = (*PLAIN, "matrix", "halves", "int32", "int64", "prices", "tags", "history")
USERS = [f"u{i}" for i in range(6)]
PRODUCTS = [str(i) for i in range(100, 130)]
NOBODY = "nobody"
KEYS = {
    "user": "user:{id}",
    "product": "product:{id}",
    "live": "live:{userId}",
    "shop": "shop:{context.store}:{user.town}",
    "seller": "seller:{product.seller}",
    "affinity": "affinity:{userId}:{product.brand}",
    "stock": "stock:{productId}",
}
"""The key of each group."""
SENT_KINDS = {"context": ("codes", "codes", "area"), "productContext": ("codes", "codes")}
"""Kinds of features that requests alone have."""
PER_PRODUCT = ("product", "productContext", "seller", "affinity", "stock")
Row = dict[str, Any]
"""Values by the features' names; None for an absent one."""


class Shop:
    """A schema of random features, and the rows of each of its groups.

    Args:
        random: Draws it.
    """

    def __init__(self, random: np.random.Generator) -> None:
        self._random = random
        self.plain = random.random() < 0.3
        kinds = PLAIN if self.plain else KINDS
        groups = ["user", "product"]
        groups += ["context"] if random.random() < 0.7 else []
        keyed = [name for name in KEYS if name not in groups and random.random() < 0.4]
        if "shop" in keyed and "context" not in groups:
            groups.append("context")
        groups += [name for name in keyed if name not in PER_PRODUCT]
        groups += ["productContext"] if random.random() < 0.4 else []
        groups += [name for name in keyed if name in PER_PRODUCT]
        self.slots: dict[str, list[Slot]] = {}
        self._policies: dict[str, tuple[str, set[str]]] = {}
        for group in groups:
            side = "product" if group in PER_PRODUCT else "request"
            count, sent = int(random.integers(1, 5)), SENT_KINDS.get(group, ())
            drawn = [draw_slot(random, group, side, f"{group[0]}{i}", (*kinds, *sent)) for i in range(count)]
            self.slots[group] = drawn
        self._add_parts_of_keys()
        self.slots = {group: self._of_group(group, slots) for group, slots in self.slots.items()}
        self.forms = {group: str(random.choice(self._forms(group))) for group in groups if group in KEYS}
        feast = [group for group, form in self.forms.items() if form == "feast"]
        self._views = {group: draw_view(random, group, self.slots) for group in feast}
        self.sides = self._side_information()
        self.rows: dict[str, dict[str, Row | None]] = {group: {} for group in self.forms}
        """What lies under each id; None for bytes that are no row."""

    def _of_group(self, group: str, slots: list[Slot]) -> list[Slot]:
        """Say now and then for a group what becomes of absent values of the features that do not say it themselves."""
        mute = [slot for slot in slots if not {"missing", "default"} & slot.said.keys()]
        if not mute or self._random.random() < 0.6:
            return slots
        whole = any(
            slot.is_sequence or slot.type in (*WHOLE, "text") or slot.name in ("brand", "town") for slot in mute
        )
        policy = str(self._random.choice(["default", "refuse", "refuse" if whole else "nan"]))
        self._policies[group] = policy, {slot.name for slot in mute}
        return [replace(slot, said=slot.said | {"missing": policy}) if slot in mute else slot for slot in slots]

    def _add_parts_of_keys(self) -> None:
        """Give users, products and the context what other keys are made of."""
        random = self._random
        category = {"type": "category", "vocabulary": [*TEXTS]}
        town = category if self.plain or random.random() < 0.5 else {"type": "text", "length": 5}
        brand = category if self.plain or random.random() < 0.5 else {"type": "text", "length": 5}
        parts = {"user": {"name": "town"} | town, "product": {"name": "brand"} | brand}
        for group, said in parts.items():
            policy: dict[str, Any] = {"missing": "default"} if random.random() < 0.5 else {}
            self.slots[group].append(Slot(group, "product" if group == "product" else "request", said | policy))
        seller = category if self.plain else {"type": str(random.choice(["int64", "int32"]))}
        self.slots["product"].append(Slot("product", "product", {"name": "seller"} | seller))
        if "context" in self.slots:
            store = {"name": "store", "default": "a"} | category
            self.slots["context"].append(
                Slot("context", "request", store | ({"unknown": 1} if random.random() < 0.5 else {}))
            )

    def _forms(self, group: str) -> list[str]:
        forms = ["ranker", "ranker", "array", "json", "hash", "msgpack"]
        floats = all(slot.type in ("float32", "float16") and not slot.is_sequence for slot in self.slots[group])
        nested = any(len(slot.shape) > 1 for slot in self.slots[group])
        return [*forms, *(["float32", "float64"] if floats else []), *([] if nested else ["feast", "feast"])]

    def _side_information(self) -> list[Slot]:
        """Return what is looked up for the products of histories."""
        histories = [slot for group in ("user", "context", "live") for slot in self.slots.get(group, ())]
        histories = [slot for slot in histories if slot.type == "product" and slot.is_sequence]
        of = [slot for slot in self.slots["product"] if slot.type != "text" and not slot.is_sequence]
        made = []
        for history in histories:
            for slot in of:
                if self._random.random() < 0.4:
                    kept = {key: history.said[key] for key in ("length", "order", "padding") if key in history.said}
                    said = {key: given for key, given in slot.said.items() if key != "default"}
                    made.append(Slot(history.name, "request", said | kept, history.reference))
        return made

    @property
    def graph_slots(self) -> list[Slot]:
        """All that a graph can take, in the order of a matrix's columns where it is plain."""
        return [*(slot for slots in self.slots.values() for slot in slots if slot.type != "text"), *self.sides]

    def mapping(self, *, shuffled: bool = False) -> dict[str, Any]:
        """Return the schema, as YAML would have it, without what a graph adds.

        Args:
            shuffled: Whether features that are found by their names come in another order than they are stored.
        """
        said: dict[str, Any] = {}
        for group, slots in self.slots.items():
            policy, mute = self._policies.get(group, ("", set()))
            silent = {slot.name: {"missing"} if slot.name in mute else set() for slot in slots}
            features = [{k: v for k, v in slot.said.items() if k not in silent[slot.name]} for slot in slots]
            stored = {self.forms[one] for one in _of_one_fingerprint(group) if one in self.forms}
            if shuffled and "ranker" not in stored and self.forms.get(group, "json") in ("json", "hash", "feast"):
                self._random.shuffle(features)
            described: dict[str, Any] = {"features": features} | ({"missing": policy} if policy else {})
            if group in KEYS:
                described["key"] = KEYS[group]
                form = self.forms[group]
                described |= {} if form in ("ranker", "array") else {"format": form}
                if form == "feast":
                    del described["key"]
                    described |= self._views[group].said()
            if group in ("user", "product", "context", "productContext"):
                said[group] = described
            else:
                per = "product" if group in PER_PRODUCT else "user"
                said.setdefault("groups", {})[group] = described | {"per": per}
        return said

    def write(self, url: str, ids: dict[str, Sequence[str]]) -> None:
        """Write new rows of these ids, some of which lack a value, or are gone, or no rows."""
        with Redis.from_url(url) as client, FeatureWriter(url, FeatureSchema.from_mapping(self.mapping())) as writer:
            for group, which in ids.items():
                for entity in which:
                    self._write_one(client, writer, group, entity)

    def everything(self) -> dict[str, Sequence[str]]:
        """Return the ids of each group."""
        texts: dict[str, Sequence[str]] = {"category": TEXTS, "text": [*TEXTS, "x", "y", "né", "z:1"]}
        texts["int32"] = ["0", "1", "2", "-5", "2147483647"]
        texts["int64"] = [*texts["int32"], str((1 << 53) + 1), str((1 << 63) - 1)]
        kinds = {slot.reference: slot.type for slots in self.slots.values() for slot in slots}
        ids: dict[str, Sequence[str]] = {"user": USERS, "product": PRODUCTS, "live": USERS, "stock": PRODUCTS[::2]}
        ids["shop"] = [f"{store}:{town}" for store in TEXTS for town in texts[kinds["user.town"]]]
        ids["seller"] = texts[kinds["product.seller"]]
        ids["affinity"] = [f"{user}:{brand}" for user in USERS for brand in texts[kinds["product.brand"]]]
        return {group: ids[group] for group in self.forms}

    def _write_one(self, client: Redis, writer: FeatureWriter, group: str, entity: str) -> None:
        random, form, slots = self._random, self.forms[group], self.slots[group]
        view, chance = self._views.get(group), random.random()
        key = _key(group, entity) if view is None else view.key(entity)
        self.rows[group].pop(entity, None)
        if key is None:
            return
        client.delete(key)
        if chance < 0.08:
            return
        if chance < 0.12:
            client.set(key, b"RV\x01\x01no row") if form != "hash" else client.hset(key, slots[0].name, "no value")
            self.rows[group][entity] = None
            if form == "hash" and (slots[0].type == "text" or "unknown" in slots[0].said):  # it is a value of these
                client.delete(key)
            return
        row: Row = {slot.name: draw_value(random, slot) for slot in slots}
        for slot in slots:
            lacks = form not in ("float32", "float64") and (form != "ranker" or slot.stands_in(form))
            if lacks and random.random() < 0.15:
                row[slot.name] = None
        self.rows[group][entity] = row
        if view is not None:
            fields, expired = view.stamp(random)
            kept = {name: value for name, value in row.items() if value is not None or random.random() < 0.5}
            named = {slot.name: slot for slot in slots}
            fields |= {view.field(name): draw_field(random, named[name], value) for name, value in kept.items()}
            if expired or not kept:
                del self.rows[group][entity]
            if fields:
                client.hset(key, mapping=fields)  # type: ignore[arg-type]  # bytes are fields, too
        elif form == "ranker":
            frame = pd.DataFrame({name: pd.Series([value], dtype=object) for name, value in row.items()})
            writer.write_frame(frame.assign(id=entity), entity=group)
            writer.flush()
        elif form == "hash":
            fields = {slot.name: as_field(random, slot, row[slot.name]) for slot in slots if row[slot.name] is not None}
            if fields:
                client.hset(key, mapping=fields)
        else:
            client.set(key, as_bytes(random, form, row))

    def found(self, group: str, entity: str | None) -> Row | None:
        """Return the row that a request can use; None where there is none."""
        row = None if entity is None else self.rows[group].get(entity)
        if row is None or (self.forms[group] == "hash" and all(value is None for value in row.values())):
            return None
        lacking = [slot for slot in self.slots[group] if row[slot.name] is None]
        return row if all(slot.stands_in(self.forms[group]) for slot in lacking) else None


def _key(group: str, entity: str) -> str:
    before = KEYS[group].partition("{")[0]
    return before + entity


def _of_one_fingerprint(group: str) -> tuple[str, ...]:
    return ("user", "product") if group in ("user", "product") else (group,)
