"""Redis nodes that hold keys: one server, the primary that Sentinels name, or a Cluster's primaries.

Says which of them a key belongs to, and what Sentinels or a Cluster say of themselves.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np
import numpy.typing as npt
from redis import ConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.exceptions import RedisError
from redis.retry import Retry

from ranker.doctor.attempt import one_line, trouble
from ranker.redis.clients import of_sentinels
from ranker.redis.hash_slots import SLOTS, View, key_slot, read_view
from ranker.redis.url import Address, Host, format_host, parse
from ranker.redis.wire.entra import make_login
from ranker.redis.wire.url_options import leave_unnamed
from ranker.upkeep.finding import Finding, fail, ok, warn

T = TypeVar("T")

TIMEOUT_S = 2.0
"""The bound on one answer, and on connecting."""


class Node(NamedTuple):
    """A server that holds keys, and its URL."""

    client: Redis
    url: str


@dataclass(frozen=True, slots=True)
class Nodes:
    """All servers that hold keys. A context manager, which closes the connections to them.

    Attributes:
        nodes: The servers.
        owners: By hash slot, the place in `nodes` of who owns it, shape (16384,), -1 for nobody; None where one server
            holds all keys.
    """

    nodes: list[Node]
    owners: npt.NDArray[np.int16] | None = None

    @property
    def clients(self) -> list[Redis]:
        return [node.client for node in self.nodes]

    def owner(self, key: bytes) -> Redis:
        """Return who holds a key; of a slot that nobody owns, anybody, who will say so."""
        return self.nodes[0 if self.owners is None else max(0, int(self.owners[key_slot(key)]))].client

    def split(self, keys: Sequence[bytes]) -> list[tuple[Redis, list[list[int]]]]:
        """Return each server's share of keys as lists of their positions, each of which one MGET may read."""
        if self.owners is None:
            return [(self.nodes[0].client, [list(range(len(keys)))])]
        by_slot: defaultdict[int, list[int]] = defaultdict(list)
        for position, key in enumerate(keys):
            by_slot[key_slot(key)].append(position)
        shares: defaultdict[Redis, list[list[int]]] = defaultdict(list)
        for positions in by_slot.values():
            shares[self.owner(keys[positions[0]])].append(positions)
        return list(shares.items())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        with ExitStack() as stack:
            for client in self.clients:
                stack.callback(client.close)


def connect(url: str) -> Redis:
    """Return a client of one server for the doctor's own questions; connects on first use.

    Raises:
        ValueError: redis-py cannot read the URL. Its message may hold a part of the password.
        EntraPackageMissing: it asks for what is not installed.
    """
    address = parse(url)
    auth: dict[str, Any] = {} if address.auth is None else {"credential_provider": make_login(address.auth)}
    parsed: dict[str, Any] = dict(parse_url(address.url))  # type: ignore[no-untyped-call]  # untyped in redis-py
    return Redis.from_pool(ConnectionPool(**leave_unnamed(parsed | auth | _options())))


def find_nodes(url: str) -> tuple[Nodes | None, list[Finding]]:
    """Return the servers that hold keys, None where that cannot be found out, and what was found on the way.

    Raises:
        ValueError, EntraPackageMissing: as `connect`.
    """
    address = parse(url)
    if address.kind == "single":
        return Nodes([Node(connect(url), url)]), []
    return _through_sentinels(address) if address.kind == "sentinel" else _of_cluster(address)


def _through_sentinels(address: Address) -> tuple[Nodes | None, list[Finding]]:
    """Ask every Sentinel; take the newest of what they say, as the service does."""

    def ask(host: Host) -> dict[str, Any]:
        with Redis(host=host[0], port=host[1], **of_sentinels(address) | _options()) as client:
            facts: dict[str, Any] = client.sentinel_master(address.service or "")
            return facts

    masters, silent, reasons = _ask_each(address.hosts, ask)
    if not masters:
        found = trouble("sentinels", reasons[0])
        remedy = (
            f"Start the Sentinels, or correct their hosts, the service ({address.service}), sentinel_username and "
            f"sentinel_password in RANKER_REDIS_URL."
        )
        return None, [fail("sentinels", f"{address.where}: {found.seen}", remedy)]
    newest = max(masters.values(), key=lambda facts: int(facts["config-epoch"]))
    primary = (str(newest["ip"]), int(newest["port"]))
    others = [format_host(host) for host, facts in masters.items() if (facts["ip"], facts["port"]) != primary]
    replicas, quorum = int(newest["num-slaves"]), int(newest["quorum"])
    seen = (
        f"{len(masters) - len(others)} of {len(address.hosts)} name {format_host(primary)} as {address.service}; "
        f"quorum {quorum}, {replicas} replica(s)"
    )
    data = {"primary": format_host(primary), "silent": silent, "others": others, "quorum": quorum, "replicas": replicas}
    url = address.at(address.reached(primary))
    nodes = Nodes([Node(connect(url), url)])
    if silent:
        remedy = f"Look after {', '.join(silent)} ({one_line(str(reasons[0]))}): a failover needs most of them."
        return nodes, [warn("sentinels", seen, remedy, **data)]
    if others:
        remedy = f"Look what {', '.join(others)} missed; they may lead other clients to a former primary."
        return nodes, [warn("sentinels", seen, remedy, **data)]
    if not replicas:
        return nodes, [warn("sentinels", seen, "Add a replica, for there is nothing to fail over to.", **data)]
    return nodes, [ok("sentinels", seen, **data)]


def _of_cluster(address: Address) -> tuple[Nodes | None, list[Finding]]:
    """Ask every node that the URL names; take the newest of what they say, as the service does."""

    def ask(host: Host) -> tuple[View, str]:
        with connect(address.at(host)) as client:
            info, ranges = (client.execute_command("CLUSTER", what) for what in ("INFO", "SLOTS"))
        return read_view(info, ranges, host), "ok" if b"cluster_state:ok" in info else "fail"

    seen_by, silent, reasons = _ask_each(address.hosts, ask)
    if not seen_by:
        found = trouble("cluster", reasons[0])
        return None, [Finding("cluster", "fail", f"{address.where}: {found.seen}", found.remedy)]
    seen, state = max(seen_by.values(), key=lambda each: each[0].epoch)
    urls = [address.at(address.reached(host)) for host in seen.primaries]
    nodes = Nodes([Node(connect(url), url) for url in urls], seen.owners)
    shares = Counter(seen.owners.tolist())
    data = {"primaries": len(urls), "owned": SLOTS - shares[-1], "state": state, "silent": silent}
    summary = f"{len(urls)} primaries, {data['owned']:,} of {SLOTS:,} slots owned, state {state}"
    if shares[-1] or not urls or state != "ok":
        remedy = "Give each slot an owner that lives (redis-cli --cluster check): what is in the others is missing."
        return nodes if urls else None, [fail("cluster", summary, remedy, **data)]
    if silent:
        remedy = f"Take {', '.join(silent)} out of RANKER_REDIS_URL, or start it ({one_line(str(reasons[0]))})."
        return nodes, [warn("cluster", summary, remedy, **data)]
    return nodes, [ok("cluster", summary, **data)]


def _ask_each(hosts: Iterable[Host], ask: Callable[[Host], T]) -> tuple[dict[Host, T], list[str], list[Exception]]:
    """Return what each host says; and those that said nothing, as they are written, with why."""
    answers: dict[Host, T] = {}
    silent: list[str] = []
    reasons: list[Exception] = []
    for host in hosts:
        try:
            answers[host] = ask(host)
        except (RedisError, OSError, ValueError) as err:
            silent.append(format_host(host))
            reasons.append(err)
    return answers, silent, reasons


def _options() -> dict[str, Any]:
    return {
        "protocol": 2,
        "socket_timeout": TIMEOUT_S,
        "socket_connect_timeout": TIMEOUT_S,
        "retry": Retry(NoBackoff(), 0),
    }
