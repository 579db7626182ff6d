"""Migration of stored vectors to another form, in place, while the service reads them and others write them.

A value is replaced only if it is still the one that was read (compare and set, by a script in Redis), so a vector that
is written in between is never lost; its time to live stays. What is migrated already is passed by, so a second run goes
on where one was interrupted, and finds what was written meanwhile.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from redis import Redis
from redis.exceptions import ResponseError, WatchError

from ranker.errors import FeatureError, StoreUnavailable
from ranker.ingest.files.survey import OnProgress
from ranker.ingest.pace import Pace
from ranker.ingest.read_back import ask, read_values
from ranker.redis.clients import Client, translate_errors
from ranker.upkeep.forms import Converter, form_of
from ranker.upkeep.scan import key_count, scan

BATCH = 100
"""Keys written at a time, so that nobody waits behind more than some 0.5 ms of scripts."""
EXAMPLES = 5

SWAP = """
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
  return 1
end
return 0
"""

Swap = tuple[bytes, bytes, bytes]
"""Key, the value that was read, the value to put in its place."""


@dataclass(slots=True)
class Migrated:
    """Outcome of a migration.

    Attributes:
        seen: Keys that match.
        done: Keys rewritten.
        already: Keys that had the form wanted.
        changed: Keys written by somebody else in between, and left as those wrote them; the next run looks again.
        gone: Keys that vanished, or hold no string.
        refused: Keys left alone, by the reason.
        examples: The first of those.
        forms: How many keys had each form.
        bytes_before: Length of the values rewritten.
        bytes_after: Their length afterwards.
    """

    seen: int = 0
    done: int = 0
    already: int = 0
    changed: int = 0
    gone: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    forms: Counter[str] = field(default_factory=Counter)
    bytes_before: int = 0
    bytes_after: int = 0

    def refuse(self, key: bytes, reason: str) -> None:
        self.refused[reason] += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(f"{key[:100].decode(errors='replace')}: {reason}")


def migrate(
    client: Client, pattern: str, converter: Converter, max_rate: float | None, began: Callable[[int], OnProgress]
) -> Migrated:
    """Rewrite every matching key.

    Args:
        client: Where.
        pattern: Which keys, as SCAN takes it.
        converter: To which form.
        max_rate: Keys rewritten per second, at most.
        began: Told how many keys there are of any name; returns whom to tell how many of those that match are seen.

    Raises:
        StoreUnavailable: Redis does not answer, or refuses. What was rewritten stays so; run again to go on.
    """
    result = Migrated()
    pace = Pace(max_rate)
    batch = pace.batch_rows(BATCH)
    on_progress = began(key_count(client))
    swappers: dict[Redis, _Swapper] = {}
    for server, keys in scan(client, pattern, wanted=converter.belongs):
        swap = swappers[server] = swappers.get(server) or _Swapper(server)
        for start in range(0, len(keys), batch):
            part = keys[start : start + batch]
            swaps = _conversions(part, read_values(server, part), converter, result)
            for (key, old, new), answer in zip(swaps, swap(swaps) if swaps else (), strict=True):
                if isinstance(answer, Exception):  # such as MOVED, while a Cluster moves slots
                    result.refuse(key, f"Redis refused: {str(answer)[:80]}")
                elif answer:
                    result.done += 1
                    result.bytes_before += len(old)
                    result.bytes_after += len(new)
                else:
                    result.changed += 1
            pace.wait(len(swaps))
            result.seen += len(part)
            on_progress(result.seen)
    return result


def _conversions(
    keys: Sequence[bytes], found: Sequence[bytes | None], converter: Converter, result: Migrated
) -> list[Swap]:
    swaps: list[Swap] = []
    for key, value in zip(keys, found, strict=True):
        if value is None:
            result.gone += 1
            continue
        result.forms[form_of(value) or "unknown"] += 1
        if not converter.needs(value):
            result.already += 1
            continue
        try:
            swaps.append((key, value, converter.convert(value)))
        except FeatureError as err:
            result.refuse(key, str(err))
    return swaps


class _Swapper:
    """Replaces values of one server that are still what they were."""

    def __init__(self, server: Redis) -> None:
        self._server = server
        try:
            with translate_errors():
                self._sha: str | None = server.script_load(SWAP)
        except StoreUnavailable as err:
            if not isinstance(err.__cause__, ResponseError):
                raise
            self._sha = None  # scripts are switched off, or this user may not run them

    def __call__(self, swaps: Sequence[Swap]) -> list[object]:
        """Return for each 1, 0 (it has changed) or the error."""
        if self._sha is not None:
            return ask(self._server, [("EVALSHA", self._sha, 1, *swap) for swap in swaps])
        return [self._watch(*swap) for swap in swaps]

    def _watch(self, key: bytes, old: bytes, new: bytes) -> object:
        """Do what the script does with WATCH: four round trips for each key."""
        with translate_errors(), self._server.pipeline() as pipeline:
            try:
                pipeline.watch(key)  # type: ignore[no-untyped-call]  # untyped in redis-py
                if pipeline.get(key) != old:
                    return 0
                pipeline.multi()
                pipeline.set(key, new, keepttl=True)
                pipeline.execute()
            except WatchError:
                return 0
            except ResponseError as err:
                return err
        return 1
