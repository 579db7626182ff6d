"""Search for bodies that take long to refuse: whatever they hold, none may cost much more than a list of ids as long.

    python -m tests.hostile.slow [--seconds 60] [--bytes 1048576] [--seed 0]

A body is a piece of JSON, or of what looks like it, repeated at some place of a request until it has its length. The
slowest so far are changed a little and tried again. Prints the slowest as one line of JSON each, and ends with an error
if one took more than `MOST_TIMES` the time of a list of ids, in CPU time of the thread.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from ranker.api.explain import ExplainRequest
from ranker.api.predict import PredictRequest, parse_as
from ranker.errors import RequestError
from ranker.ranking.context.reader import ContextReader
from ranker.ranking.explain.ablation import read_edits
from tests.support.models import schema_of_width

MOST_TIMES = 2.5
"""A list of ids, were it allowed, would take 13 ms for 1 MB, so nothing takes more than 33 on the same machine."""
KEPT = 5
"""So many of the slowest are tried again, changed."""
ALIKE = b'{"requestId":"r","userId":"u","productIds":["1","2"]'
PLACES = {
    "productIds": (b'{"requestId":"r","userId":"u","productIds":[', b"]}"),
    "nested productIds": (b'{"requestId":"r","userId":"u","productIds":[[', b"]]}"),
    "id": (b'{"requestId":"r","userId":"u","productIds":["', b'"]}'),
    "requestId": (b'{"requestId":"', b'"}'),
    "userId": (b'{"requestId":"r","userId":[', b"]}"),
    "zipCode": (ALIKE + b',"zipCode":"', b'"}'),
    "topK": (ALIKE + b',"topK":[', b"]}"),
    "context": (ALIKE + b',"context":{', b"}}"),
    "context value": (ALIKE + b',"context":{"x":[', b"]}}"),
    "productContext": (ALIKE + b',"productContext":{', b"}}"),
    "productContext value": (ALIKE + b',"productContext":{"x":[', b"]}}"),
    "overrides": (ALIKE + b',"overrides":{', b"}}"),
    "overrides.user": (ALIKE + b',"overrides":{"user":{', b"}}}"),
    "overrides.products": (ALIKE + b',"overrides":{"products":{', b"}}}"),
    "overrides of a product": (ALIKE + b',"overrides":{"products":{"1":{', b"}}}}"),
    "unknown name": (ALIKE + b',"x":[', b"]}"),
    "top level": (ALIKE + b",", b"}"),
    "array": (b"[", b"]"),
    "nothing": (b"", b""),
    "unfinished": (ALIKE + b',"x":[', b""),
}
UNITS = (
    *(b"0", b"1.5", b"null", b"true", b'""', b'"a"', b'"%d"', b'"%d":1', b'"%d":[]', b'"%d":{}', b'"%d":[null]'),
    *(b'"a":1', b'"":""', b"[]", b"{}", b"[[]]", b'{"":0}', b'{"a":{}}', b"[" * 150 + b"]" * 150, b"[", b'{"a":'),
    *(b"9" * 25, b"9" * 4000, b"1e308", b"1.7976931348623157e308", b"0." + b"1" * 400, b"-0.0", b"NaN", b" ", b"\xff"),
    *(b'"\\u00e9"', b'"\\ud83d\\ude00"', b'"\\ud83d"', b'"\\\\"', b'\\"', b"\\", b'"', "é".encode()),
    *(b'"' + b"a" * length + b'"' for length in (255, 257)),
)
SEPARATORS = (b",", b"", b" ", b", ")
SCHEMA = schema_of_width(6, 9)


@dataclass(frozen=True)
class Recipe:
    """What a body is made of: units repeated, `%d` in them counted up, at one place of a request."""

    place: str
    units: tuple[bytes, ...]
    separator: bytes

    def body(self, size: int) -> bytes:
        """Return the body, of about so many bytes."""
        before, after = PLACES[self.place]
        block = self.separator.join(self.units)
        left = size - len(before) - len(after)
        if b"%d" not in block:
            return before + self.separator.join([block] * (left // (len(block + self.separator) or 1))) + after
        blocks: list[bytes] = []
        while left > 0:
            blocks.append(block.replace(b"%d", b"%x" % len(blocks)))
            left -= len(blocks[-1]) + len(self.separator)
        return before + self.separator.join(blocks[:-1]) + after

    def changed(self, chance: random.Random) -> Recipe:
        """Return one that is a little different."""
        match chance.randrange(4):
            case 0:
                return replace(self, place=chance.choice([*PLACES]))
            case 1:
                return replace(self, separator=chance.choice(SEPARATORS))
            case 2:
                return replace(self, units=(*self.units, chance.choice(UNITS)))
            case _:
                return replace(self, units=(*self.units[1:], chance.choice(UNITS)))


def refuse(body: bytes, max_products: int = 1000) -> None:
    """Do what an API worker does with a body before it ranks or explains; most are refused."""
    for request_type in (PredictRequest, ExplainRequest):
        with suppress(RequestError):
            request = parse_as(request_type, body, max_products)
            ids = request.productIds
            if isinstance(request, ExplainRequest) and request.overrides:
                read_edits(SCHEMA, request.overrides.user, request.overrides.products, ids)
            ContextReader(SCHEMA).read(request.context, request.productContext, request.zipCode, len(ids))


def cpu_s(work: Callable[[bytes], None], body: bytes, enough_s: float = 0.0) -> float:
    """Return the least CPU time of three tries, for a cold cache says nothing; of one that is below `enough_s`."""
    least = float("inf")
    for _ in range(3):
        began = time.thread_time()
        work(body)
        least = min(least, time.thread_time() - began)
        if least < enough_s:
            break
    return least


def search(size: int, tries: int | None, seconds: float, seed: int) -> list[tuple[float, Recipe]]:
    """Return the slowest bodies first, each with its time as a multiple of that of a list of ids.

    Ends after so many tries, every plain recipe among them, or so many seconds.
    """
    chance = random.Random(seed)
    usual_s = cpu_s(lambda body: refuse(body, max_products=size), Recipe("productIds", (b'"%d"',), b",").body(size))
    plain = [Recipe(place, (unit,), b",") for place in PLACES for unit in UNITS]
    chance.shuffle(plain)
    slowest: list[tuple[float, Recipe]] = []
    ends = time.monotonic() + seconds
    tried = 0
    while time.monotonic() < ends and (tries is None or tried < tries):
        recipe = plain[tried] if tried < len(plain) else chance.choice(slowest)[1].changed(chance)
        tried += 1
        if len(recipe.units) <= 8 and all(recipe != known for _, known in slowest):
            times = cpu_s(refuse, recipe.body(size), enough_s=usual_s) / usual_s
            slowest = sorted([*slowest, (times, recipe)], key=lambda found: -found[0])[:KEPT]
    return slowest


def main(arguments: Sequence[str] | None = None) -> None:
    """Search, and say what was slowest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--bytes", type=int, default=1 << 20)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    slowest = search(given.bytes, None, given.seconds, given.seed)
    for times, recipe in slowest:
        shown = [unit[:40].decode("latin-1") for unit in recipe.units]
        print(json.dumps({"times": round(times, 2), "place": recipe.place, "units": shown}))
    sys.exit(slowest[0][0] > MOST_TIMES)


if __name__ == "__main__":
    main()
