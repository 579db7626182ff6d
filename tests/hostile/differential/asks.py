"""Random requests of a shop, and what is wrong with the answers to them."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.hostile.differential.graphs import Graph
from tests.hostile.differential.shop import NOBODY, PER_PRODUCT, PRODUCTS, USERS, Row, Shop
from tests.hostile.differential.slots import SENT, TEXTS, UNKNOWN, Slot, draw_value

TOLERANCE = 1e-5
"""Of a score, as a share of the largest of its list."""
Body = dict[str, Any]


def draw_body(random: np.random.Generator, shop: Shop) -> Body:
    """Return a request, now and then of an unknown user, without one, or of products that are not there."""
    products = [str(i) for i in random.permutation([*map(int, PRODUCTS), 130, 131, 132])]
    body: Body = {"requestId": "r", "productIds": products[: int(random.choice([1, 2, 7, 20, 33]))]}
    user = str(random.choice([*USERS, NOBODY, ""]))
    if user:
        body["userId"] = user
    sent = [slot for slot in shop.slots.get("context", ()) if "from" not in slot.said]
    context = {slot.name: _value(random, slot) for slot in sent if _is_sent(random, slot)}
    if random.random() < 0.7:
        body["zipCode"] = str(random.choice(SENT))
    if context:
        body["context"] = {name: value for name, value in context.items()}
    each = {
        slot.name: [_value(random, slot) for _ in body["productIds"]]
        for slot in shop.slots.get("productContext", ())
        if _is_sent(random, slot)
    }
    if each:
        body["productContext"] = each
    if random.random() < 0.3:
        body["topK"] = int(random.integers(1, 30))
    return body


def _is_sent(random: np.random.Generator, slot: Slot) -> bool:
    return slot.said.get("missing") == "refuse" or random.random() < 0.8


def _value(random: np.random.Generator, slot: Slot) -> Any:
    if slot.said.get("missing") != "refuse" and random.random() < 0.1:
        return None
    return draw_value(random, slot)


class Expected:
    """What a request is to be answered with.

    Attributes:
        numbers: What a graph gets, by the slots' references.
        missing: Which products have no usable features, shape (n,).
        missing_user: Whether the user has none.
    """

    def __init__(self, shop: Shop, body: Body) -> None:
        self._shop, self._body = shop, body
        self.ids: list[str] = body["productIds"]
        user, n = body.get("userId"), len(self.ids)
        users, products = shop.found("user", user), [shop.found("product", product) for product in self.ids]
        rows: dict[str, list[Row | None]] = {}
        for group in shop.forms:
            if group not in ("user", "product"):
                keys = [_text_of_key(shop, group, body, users, at, products[at]) for at in range(n)]
                rows[group] = [shop.found(group, key) for key in keys]
        refused = np.zeros(n, np.bool_)
        for group, found in rows.items():
            if any(slot.said.get("missing") == "refuse" for slot in shop.slots[group]):
                lacks = np.array([row is None for row in found])
                if group in PER_PRODUCT:
                    refused |= lacks
                elif user is not None and lacks.any():
                    users = None
        self.missing = refused | np.array([row is None for row in products])
        self.missing_user = user is not None and users is None
        rows["user"] = [users] * n
        rows["product"] = [None if lacks else row for lacks, row in zip(self.missing, products, strict=True)]
        areas = {slot.name: body.get("zipCode") for slot in shop.slots.get("context", ()) if "from" in slot.said}
        rows["context"] = [areas | body.get("context", {})] * n
        each = body.get("productContext", {})
        rows["productContext"] = [{name: values[at] for name, values in each.items()} for at in range(n)]
        self.numbers: dict[str, np.ndarray] = {}
        for group, slots in shop.slots.items():
            for slot in slots:
                if slot.type != "text":
                    self._add(slot, rows[group])
        for slot in shop.sides:
            of, _, name = (slot.history or "").partition(".")
            self.numbers[slot.reference] = np.stack([self._looked_up(slot, of, name, row) for row in rows[of]])

    def _add(self, slot: Slot, rows: list[Row | None]) -> None:
        values = [None if row is None else row.get(slot.name) for row in rows]
        if slot.type == "category" and slot.group in ("context", "productContext") and "unknown" not in slot.said:
            values = [None if value == UNKNOWN else value for value in values]
        self.numbers[slot.reference] = np.stack([slot.numbers(value) for value in values])
        if slot.is_sequence:
            filled = np.stack([slot.filled(value) for value in values])
            self.numbers[f"mask {slot.reference}"] = filled
            self.numbers[f"length {slot.reference}"] = filled.sum(axis=1)

    def _looked_up(self, slot: Slot, of: str, name: str, row: Row | None) -> np.ndarray:
        """Return a product's feature for each product of a history, placed as the history is."""
        (history,) = [one for one in self._shop.slots[of] if one.name == name]
        (feature,) = [one for one in self._shop.slots["product"] if one.name == slot.name]
        ids = (row or {}).get(name)
        if ids is None:  # in a row, what stands in; without a row, no product
            has_row = row is not None or of == "context"
            ids = history.said.get("default", []) if has_row else []
        ids = ids[: history.shape[0]]
        found = [self._shop.found("product", str(one)) for one in ids]
        items = [feature.numbers(None if one is None else one[slot.name]) for one in found]
        made = np.zeros(slot.shape, feature.default().dtype)
        if slot.said.get("order") == "oldest_first":
            items.reverse()
        first = slot.shape[0] - len(items) if slot.said.get("padding") == "front" else 0
        for place, item in enumerate(items):
            made[first + place] = item
        return made

    def problems(self, answer: dict[str, Any], graph: Graph, missing_product: str) -> list[str]:
        """Return what is wrong with an answer."""
        scores = graph.score(self.numbers)
        place = {product: at for at, product in enumerate(self.ids)}
        served = [place[product] for product in answer["ranking"]]
        absent = self.missing & (missing_product != "default")
        count = len(self.ids) if missing_product != "drop" else int((~absent).sum())
        most = self._body.get("topK") or count
        found = []
        if len(set(served)) != len(served) or len(served) != min(count, most):
            found.append(f"{len(served)} products")
        nan = np.float64([np.nan if score is None else score for score in answer["scores"]])
        tolerance = TOLERANCE * max(1e-2, float(np.nanmax(np.abs(scores))))
        if not np.allclose(nan, scores[served], rtol=0, atol=tolerance, equal_nan=True):
            worst = int(np.nanargmax(np.abs(nan - scores[served])))
            found.append(f"score {nan[worst]} of {answer['ranking'][worst]} for {scores[served][worst]}")
        for better, worse in zip(range(len(served)), range(1, len(served)), strict=False):
            one, other = served[better], served[worse]
            tie = nan[better] == nan[worse] or (absent[one] and absent[other])
            if absent[one] > absent[other] or (
                absent[one] == absent[other] and not absent[one] and nan[better] < nan[worse]
            ):
                found.append(f"{answer['ranking'][better]} stands before {answer['ranking'][worse]}")
            elif tie and absent[one] == absent[other] and one > other:
                found.append(f"{answer['ranking'][better]} and {answer['ranking'][worse]} changed places")
        left = [at for at in range(len(self.ids)) if at not in set(served) and not absent[at]]
        if left and len(served) and scores[left].max() > nan[~absent[served]].min(initial=np.inf) + tolerance:
            found.append("a better one was left out")
        missing = [product for product, lacks in zip(self.ids, self.missing, strict=True) if lacks]
        if answer["missing"] != missing:
            found.append(f"missing {answer['missing']} for {missing}")
        if answer["missingUser"] != self.missing_user:
            found.append(f"missingUser {answer['missingUser']}")
        if answer["degradedReason"] not in (None, "no_features"):
            found.append(f"degraded: {answer['degradedReason']}")
        return found

    def shown_problems(self, explained: dict[str, Any]) -> list[str]:
        """Return which features an explanation shows with other values."""
        place = {product: at for at, product in enumerate(self.ids)}
        shown = [(0, explained["user"]["features"], "user"), (0, explained["context"] or {}, "context")]
        shown += [(0, group["features"], name) for name, group in (explained["groups"] or {}).items()]
        for product in explained["products"]:
            at = place[product["id"]]
            shown += [(at, product["features"], "product"), (at, product["productContext"] or {}, "productContext")]
            shown += [(at, group["features"], name) for name, group in (product["groups"] or {}).items()]
        return [
            f"{slot.reference} of {self.ids[at]} shown as {features[slot.name]}"
            for at, features, group in shown
            for slot in self._shop.slots.get(group, ())
            if slot.type != "text" and not slot.shows(features[slot.name], self.numbers[slot.reference][at])
        ]


def _text_of_key(shop: Shop, group: str, body: Body, user: Row | None, at: int, product: Row | None) -> str | None:
    """Return what a group's key has between its first value and its last; None where one is absent."""

    def stored(entity: str, name: str, row: Row | None) -> str | None:
        if row is None or (entity == "user" and "userId" not in body):
            return None
        (slot,) = [one for one in shop.slots[entity] if one.name == name]
        value = row[name]
        if value is None:
            value = slot.said.get("default", {"category": TEXTS[0], "text": ""}.get(slot.type, 0))
        return str(value) or None

    user_id = body.get("userId")
    if group == "live":
        return user_id
    if group == "stock":
        return str(body["productIds"][at])
    if group == "shop":
        sent = body.get("context", {}).get("store")
        store = "a" if sent is None else sent if sent in TEXTS else None
        parts = [store, stored("user", "town", user)]
    elif group == "seller":
        return stored("product", "seller", product)
    else:
        parts = [user_id, stored("product", "brand", product)]
    return None if None in parts else ":".join(map(str, parts))
