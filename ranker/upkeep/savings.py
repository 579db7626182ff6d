"""Savings of a migration, measured on a sample without writing anything."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from ranker.errors import FeatureError
from ranker.ingest.read_back import ask, read_values
from ranker.redis.clients import Client
from ranker.upkeep.forms import Converter, form_of
from ranker.upkeep.scan import key_count, scan
from ranker.vectors.stored.formats import Decoder

REQUEST_ROWS = 100
"""Vectors of the request whose decoding is timed."""
ROUNDS = 20


@dataclass(slots=True)
class Savings:
    """Estimate of savings, from a sample of the matching keys.

    Attributes:
        keys: Keys of any name in the store.
        sampled: Matching keys looked at.
        to_rewrite: How many of them would be rewritten.
        refused: How many of them cannot be, by reason.
        forms: How many of them have each form.
        bytes_before: Mean memory of a key that would be rewritten (MEMORY USAGE); None where Redis refuses to tell.
        bytes_after: The same afterwards, by the difference in length; allocators round it up a little.
        decode_before_us: Microseconds to decode 100 of these vectors in one request.
        decode_after_us: The same afterwards.
        read_us: Microseconds to read 100 of them from here, as they are now; sending less takes less.
    """

    keys: int
    sampled: int = 0
    to_rewrite: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    forms: Counter[str] = field(default_factory=Counter)
    bytes_before: float | None = None
    bytes_after: float | None = None
    decode_before_us: float = 0.0
    decode_after_us: float = 0.0
    read_us: float = 0.0


def measure(client: Client, pattern: str, converter: Converter, sample: int) -> Savings:
    """Look at up to `sample` matching keys.

    Raises:
        StoreUnavailable: Redis does not answer, or refuses.
    """
    result = Savings(key_count(client))
    usages: list[int] = []
    before: list[bytes] = []
    after: list[bytes] = []
    for server, batch in scan(client, pattern, REQUEST_ROWS, converter.belongs):
        keys = batch[: sample - result.sampled]
        if not keys:
            break
        began = time.perf_counter()
        found = read_values(server, keys)
        elapsed_us = (time.perf_counter() - began) * 1e6 * REQUEST_ROWS / len(keys)
        result.read_us = min(result.read_us, elapsed_us) if result.sampled else elapsed_us
        result.sampled += len(keys)
        rewritten: list[bytes] = []
        for key, value in zip(keys, found, strict=True):
            result.forms["none" if value is None else form_of(value) or "unknown"] += 1
            if value is None or not converter.needs(value):
                continue
            try:
                after.append(converter.convert(value))
            except FeatureError as err:
                result.refused[str(err)] += 1
                continue
            before.append(value)
            rewritten.append(key)
        answers = ask(server, [("MEMORY", "USAGE", key) for key in rewritten])
        usages += [usage for usage in answers if isinstance(usage, int)]  # not where it is refused, or the key is gone
    result.to_rewrite = len(before)
    if before:
        if usages:
            saved = (sum(map(len, before)) - sum(map(len, after))) / len(before)
            result.bytes_before = sum(usages) / len(usages)
            result.bytes_after = result.bytes_before - saved
        result.decode_before_us = _decode_us(converter.decoder, before)
        result.decode_after_us = _decode_us(converter.decoder, after)
    return result


def _decode_us(decoder: Decoder, vectors: Sequence[bytes]) -> float:
    """Return the least microseconds of some rounds, for 100 vectors."""
    request = [vectors[i % len(vectors)] for i in range(REQUEST_ROWS)]
    times: list[float] = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        decoder.decode(request)
        times.append(time.perf_counter() - began)
    return min(times) * 1e6
