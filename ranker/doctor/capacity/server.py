"""Cost of a key in Redis: CPU by INFO, memory by MEMORY USAGE, bytes on the wire by the protocol. Reads only.

Where a user may not ask, or other clients were busy meanwhile, there is no figure rather than a guess.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import fmean

from redis.exceptions import RedisError

from ranker.doctor.nodes import Nodes
from ranker.doctor.sample import EntitySample, read_page
from ranker.vectors.group import EntitySchema

INFOS = 2
"""Commands that reading the counters adds to those of each server."""
ASKED = 50
"""Keys of each entity whose memory is asked."""
OTHERS = 0.1
"""The share of other clients' commands from which on the server's CPU is not only ours."""


def measure_key_us(nodes: Nodes, reads: Sequence[tuple[EntitySchema, list[bytes]]], budget_s: float) -> float | None:
    """Return the server's CPU microseconds for one key, read as the service reads these; None when it cannot be told.

    Args:
        nodes: The servers, whose CPU counts together.
        reads: The keys of one request by entity, each read in one round trip to each server.
        budget_s: For how long, in seconds.
    """
    keys = sum(len(page) for _, page in reads)
    commands = sum(
        len(page) if entity.is_hash else sum(len(groups) for _, groups in nodes.split(page)) for entity, page in reads
    )
    calls = 0
    try:
        before_s, before_commands = _used(nodes)
        deadline = time.perf_counter() + budget_s
        while time.perf_counter() < deadline:
            for entity, page in reads:
                read_page(nodes, entity, page)
            calls += 1
        after_s, after_commands = _used(nodes)
    except (RedisError, KeyError):
        return None
    others = after_commands - before_commands - calls * commands - INFOS * len(nodes.nodes)
    if others > OTHERS * calls * commands or after_s <= before_s:
        return None
    return (after_s - before_s) / (calls * keys) * 1e6


def measure_redis_bytes(nodes: Nodes, side: EntitySample) -> float | None:
    """Return what one of an entity's keys takes in Redis; None when the user may not ask."""
    try:
        answers = [nodes.owner(key).memory_usage(key, samples=0) for key in side.keys[:ASKED]]
    except RedisError:
        return None
    known = [int(size) for size in answers if size is not None]
    return fmean(known) if known else None


def wire_bytes(side: EntitySample) -> float:
    """Return the bytes that a key and its value take, both ways (RESP2 bulk strings)."""
    key = fmean(_bulk(len(key)) for key in side.keys) if side.keys else _bulk(len(side.entity.key))
    size = fmean(side.sizes) if side.sizes else 0.0
    if not side.entity.is_hash:
        return key + _bulk(round(size))
    fields = side.entity.fields  # each goes out, and a value comes back
    per_field = size / len(fields)
    names = sum(_bulk(len(field.encode() if isinstance(field, str) else field)) for field in fields)
    return key + names + len(fields) * _bulk(round(per_field))


def _bulk(size: int) -> int:
    """Return the bytes of a bulk string: a dollar sign, the size, the content, and two ends of line."""
    return size + len(str(size)) + 5


def _used(nodes: Nodes) -> tuple[float, int]:
    """Return the servers' CPU seconds and commands so far; their main threads' where they say."""
    used_s, commands = 0.0, 0
    for client in nodes.clients:
        cpu, stats = client.info("cpu"), client.info("stats")
        suffix = "_main_thread" if "used_cpu_user_main_thread" in cpu else ""
        used_s += cpu[f"used_cpu_user{suffix}"] + cpu[f"used_cpu_sys{suffix}"]
        commands += stats["total_commands_processed"]
    return used_s, commands
