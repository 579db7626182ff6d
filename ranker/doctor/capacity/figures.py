"""Figures of the scaling law: what a request costs, what is stored and served, and what the cache does not have.

Owns what follows from each of them alone. What they mean together, `law` says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Per = Literal["user", "product"]
State = Literal["all cached", "user read", "all read"]
STATES: tuple[State, ...] = ("all cached", "user read", "all read")
"""States of the cache: it has everything; the products; nothing."""


@dataclass(frozen=True, slots=True)
class Costs:
    """CPU microseconds of one request of `products` products.

    Attributes:
        api_us: Of the API worker, in each state of the cache; only `all read` when there is no cache.
        runner_us: Of the runner; None where the API worker scores.
        redis_key_us: Of Redis, for one key; None when not measured.
        looked_up: Products at most of the user's histories that a request looks up beside its own.
    """

    products: int
    api_us: Mapping[State, float]
    runner_us: float | None
    redis_key_us: float | None
    looked_up: int = 0

    def api_demand_us(self, misses: Misses) -> float:
        """Return D_api, as the law has it. What is negative by noise counts as 0."""
        all_read = self.api_us["all read"]
        cached = self.api_us.get("all cached", all_read)
        user_read = self.api_us.get("user read", all_read)
        held = (1 - misses.user) * (1 - misses.product) ** self.rows_of("product", "product")
        for name, (per, missed) in misses.groups.items():
            held *= (1 - missed) ** self.rows_of(name, per)
        reading = 1 - held
        return cached + reading * max(0.0, user_read - cached) + misses.product * max(0.0, all_read - user_read)

    def rows_of(self, name: str, per: Per) -> int:
        """Return how many rows of an entity a request has, at most."""
        if name == "product":
            return self.products + self.looked_up
        return self.products if per == "product" else 1


@dataclass(frozen=True, slots=True)
class Entity:
    """Users, products or a group's rows: how many there are, and what each takes.

    Attributes:
        count: In Redis; None when not known.
        entry_bytes: In the cache.
        redis_bytes: In Redis; None when not measured.
        wire_bytes: Of its key and value, both ways.
        ttl_s: How long the cache uses a row; 0 keeps none.
        cache_share: The part of the cache's memory that they have.
        per: Whether a request has one, or one for each product.
    """

    count: int | None
    entry_bytes: int
    redis_bytes: float | None
    wire_bytes: float
    ttl_s: float
    cache_share: float
    per: Per

    @property
    def stored_bytes(self) -> float | None:
        """Bytes in Redis; None when not known."""
        if self.count == 0:
            return 0.0
        return None if self.count is None or self.redis_bytes is None else self.count * self.redis_bytes


@dataclass(frozen=True, slots=True)
class Shop:
    """A service: what is stored, and the processes that serve it.

    Attributes:
        http_bytes: Bodies of one exchange, both ways.
        cache_bytes: Of one worker's cache.
        process_bytes: Of one process, without a cache.
        node_bytes: Redis' maxmemory; None when it has none.
        groups: Those under keys of their own, by name.
    """

    user: Entity
    product: Entity
    http_bytes: int
    cache_bytes: int
    process_bytes: int
    node_bytes: int | None
    groups: Mapping[str, Entity] = field(default_factory=dict)

    @property
    def entities(self) -> Mapping[str, Entity]:
        """All that is stored, by name."""
        return {"user": self.user, "product": self.product, **self.groups}

    @property
    def stored_bytes(self) -> float | None:
        """Bytes in Redis; None when not known."""
        each = [entity.stored_bytes for entity in self.entities.values()]
        return None if None in each else sum(size for size in each if size is not None)

    @property
    def held_bytes(self) -> int | None:
        """Bytes of the cache that would hold every row; None when not known."""
        counts = [(entity.count, entity.entry_bytes) for entity in self.entities.values()]
        return None if any(n is None for n, _ in counts) else sum(n * size for n, size in counts if n is not None)


@dataclass(frozen=True, slots=True)
class Misses:
    """The shares of rows that the cache does not have, 0 to 1.

    Attributes:
        user, product: Of users' and products'.
        groups: What each group's rows are per, and their share, by name; where a group is not named, that of what it
            is per.
    """

    user: float
    product: float
    groups: Mapping[str, tuple[Per, float]] = field(default_factory=dict)

    def of_groups(self, groups: Mapping[str, Entity]) -> Misses:
        """Return these shares with each group's."""
        usual: dict[Per, float] = {"user": self.user, "product": self.product}
        return Misses(self.user, self.product, {n: (g.per, usual[g.per]) for n, g in groups.items()} | {**self.groups})

    def of(self, name: str) -> float:
        """Return the share of an entity, by its name."""
        named = {"user": self.user, "product": self.product}
        return named[name] if name in named else self.groups[name][1]


COLD = Misses(1.0, 1.0)
"""Misses after a start, or when Redis has announced that everything changed."""
