"""Invalidation check: whether Redis announces changed keys to the cache's own connection. Writes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ranker.doctor.attempt import one_line
from ranker.doctor.nodes import Nodes
from ranker.process import background
from ranker.redis.hash_slots import HashSlots
from ranker.redis.invalidation import Tracking
from ranker.redis.url import parse
from ranker.settings.environment import Settings
from ranker.upkeep.finding import Finding, ok, warn
from ranker.vectors.schema import FeatureSchema

CHECK = "tracking"


class _Witness:
    """Listens until announcements began or were refused."""

    def __init__(self) -> None:
        self.heard = asyncio.Event()
        self.refusal: str | None = None

    def tracking_began(self, slots: HashSlots | None = None) -> None:
        self.heard.set()

    def tracking_lost(self, slots: HashSlots | None = None) -> None:
        pass

    def changed(self, keys: Sequence[bytes] | None) -> None:
        pass

    def refused(self, reason: str) -> None:
        self.refusal = reason
        self.heard.set()


def check_tracking(settings: Settings, schema: FeatureSchema, nodes: Nodes, timeout_s: float) -> Finding:
    """Arm CLIENT TRACKING at every server as a worker would."""
    if not settings.cache_mb:
        return ok(CHECK, "not needed without a cache (RANKER_CACHE_MB=0)")
    ages = f"{settings.cache_ttl_s:g} s (products) and {settings.cache_user_ttl_s:g} s (users)"
    if settings.cache_tracking == "off":
        return ok(CHECK, f"off, as set: cached rows may be {ages} old")
    refusal = asyncio.run(_refusals([node.url for node in nodes.nodes], schema, timeout_s))
    if refusal is None:
        everywhere = f" on all {len(nodes.nodes)} primaries" if len(nodes.nodes) > 1 else ""
        return ok(CHECK, f"CLIENT TRACKING works{everywhere}: changed features are announced to the cache", works=True)
    remedy = (
        "Let the user of RANKER_REDIS_URL use CLIENT TRACKING (+client|tracking), on a server and proxy that offer it"
    )
    if settings.cache_tracking == "on":
        seen = f"{refusal}; nothing is cached, as RANKER_CACHE_TRACKING=on asks"
        return warn(CHECK, seen, f"{remedy}, or set RANKER_CACHE_TRACKING=auto.", works=False)
    seen = f"{refusal}; cached rows may be {ages} old"
    return warn(CHECK, seen, f"{remedy}, or choose RANKER_CACHE_TTL_S for how old features may be.", works=False)


async def _refusals(urls: Sequence[str], schema: FeatureSchema, timeout_s: float) -> str | None:
    """Return the first refusal, with who it is of where there are several servers; None when all announce."""
    answers = await asyncio.gather(*(_refusal(url, schema, timeout_s) for url in urls))
    for url, refusal in zip(urls, answers, strict=True):
        if refusal is not None:
            return refusal if len(urls) == 1 else f"{parse(url).where}: {refusal}"
    return None


async def _refusal(url: str, schema: FeatureSchema, timeout_s: float) -> str | None:
    witness = _Witness()
    prefixes = [entity.key_parts[0] for entity in schema.entities.values()]
    tracking = Tracking(url, prefixes, witness, witness.refused, timeout_s=timeout_s)
    task = asyncio.create_task(tracking.run())
    try:
        async with asyncio.timeout(timeout_s):
            await witness.heard.wait()
    except TimeoutError:
        return f"no answer in {timeout_s:g} s"
    finally:
        await background.cancel(task)
    return None if witness.refusal is None else f"refused ({one_line(witness.refusal)})"
