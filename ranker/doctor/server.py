"""Redis server check: who answers, its version and role, and whether it may drop features.

Asks and reads only. A command that the user may not give makes a warning, not a failure, where serving needs it not.
"""

from __future__ import annotations

import re
from typing import Any

from redis import Redis
from redis.connection import SSLConnection, UnixDomainSocketConnection
from redis.exceptions import AuthenticationError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

from ranker.doctor.attempt import trouble
from ranker.redis.wire.tls import explain_error
from ranker.upkeep.finding import Finding, fail, ok, warn

OLDEST_VERSION = (6, 0)
"""Oldest version of Redis that serves: CLIENT TRACKING and HELLO came with it."""
REFUSED = (ResponseError, AuthenticationError, RedisConnectionError)
"""Refusal without words: the question fails, and a PING is answered, for a proxy may hang up on it."""


def check_reachable(client: Redis) -> Finding:
    """Have Redis answer a PING."""
    pool = client.connection_pool
    kwargs = pool.connection_kwargs
    where = str(kwargs.get("path") or f"{kwargs.get('host', 'localhost')}:{kwargs.get('port', 6379)}")
    kind = {UnixDomainSocketConnection: "unix socket", SSLConnection: "TLS"}.get(pool.connection_class, "tcp")
    try:
        client.ping()
    except (RedisError, OSError) as err:
        found = trouble("redis", err)
        if found.status == "warn":  # the service needs PING, to start and to see whether Redis lives
            return fail("redis", found.seen, "Let the user of RANKER_REDIS_URL use PING (ACL SETUSER ... +ping).")
        seen = explain_error(found.seen, secure=kind == "TLS")
        return Finding("redis", found.status, f"{where} ({kind}): {seen}", found.remedy)
    return ok("redis", f"answers at {where} ({kind})", where=where, transport=kind)


def check_server(client: Redis) -> list[Finding]:
    """Look at version, role and whether a replica is up to date."""
    facts = _facts(client)
    if not facts:
        return [
            warn(
                "server",
                "not permitted: neither HELLO nor INFO",
                "Allow the user +hello; look yourself that what is behind a proxy is Redis 6 or newer, or Valkey.",
            )
        ]
    name, version = facts.get("server", "redis"), facts.get("version", "")
    seen = f"{name} {version}, {facts.get('mode', 'standalone')}, {facts.get('role', 'role unknown')}"
    numbers = tuple(int(n) for n in re.findall(r"\d+", version)[:2])
    if numbers and numbers < OLDEST_VERSION:
        return [fail("server", seen, "Use Redis 6 or newer, or Valkey.", **facts)]
    findings = [ok("server", seen, **facts)]
    if facts.get("role") in ("replica", "slave"):
        link = facts.get("master_link_status", "unknown")
        remedy = "Read from the primary, unless features that lag behind (or stop, when the link is down) are meant."
        findings.append(warn("role", f"a replica, its link to the primary is {link}", remedy))
    return findings


def check_eviction(client: Redis) -> Finding:
    """Look whether Redis may drop features when its memory is full. Managed ones refuse CONFIG; then INFO may tell."""
    policy, limit = None, None
    try:
        answer = client.config_get("maxmemory*")
        policy, limit = answer.get("maxmemory-policy"), answer.get("maxmemory")
    except REFUSED:
        pass
    if policy is None:
        memory = _info(client, "memory")
        policy, limit = memory.get("maxmemory_policy"), memory.get("maxmemory")
    if policy is None:
        remedy = "Look yourself that maxmemory-policy is noeviction: an evicted feature is a missing one."
        return warn("eviction", "not permitted: neither CONFIG GET nor INFO", remedy)
    seen = f"maxmemory-policy {policy}, maxmemory {int(limit or 0):,} bytes" + " (no limit)" * (not int(limit or 0))
    data = {"policy": str(policy), "maxmemory": int(limit or 0)}
    if policy == "noeviction":
        return ok("eviction", seen, **data)
    remedy = "Set maxmemory-policy noeviction: this one drops features when memory is full, and they count as missing."
    return warn("eviction", seen, remedy, **data)


def _facts(client: Redis) -> dict[str, str]:
    """Return server, version, mode and role, as far as HELLO and INFO tell them."""
    facts: dict[str, str] = {}
    try:
        flat: Any = client.execute_command("HELLO")  # type: ignore[no-untyped-call]  # untyped in redis-py
        pairs = flat.items() if isinstance(flat, dict) else zip(flat[::2], flat[1::2], strict=True)
        fields = {_text(key): _text(value) for key, value in pairs if not isinstance(value, list)}
        facts = {key: fields[key] for key in ("server", "version", "mode", "role") if key in fields}
    except REFUSED:
        pass
    if not facts:
        info = _info(client, "server")
        version = info.get("valkey_version") or info.get("redis_version")
        if version:
            facts = {"server": str(info.get("server_name", "redis")), "version": str(version)}
    for key, value in _info(client, "replication").items():
        if key in ("role", "master_link_status"):
            facts.setdefault(key, str(value))
    return facts


def _info(client: Redis, section: str) -> dict[str, Any]:
    """Return a section of INFO, or nothing when it is refused."""
    try:
        return dict(client.info(section))
    except REFUSED:
        return {}


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
