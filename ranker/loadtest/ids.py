"""Ids to ask for: users and products of the demo that is being served, or of the caller's files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ranker.errors import InvalidIds, TooFewProducts, UnknownIds
from ranker.loadtest.bodies import PRODUCTS_PER_REQUEST, bodies
from ranker.loadtest.target import Target

MAX_BYTES = 256 << 20
"""Bytes of a file of ids."""


@dataclass(frozen=True, slots=True)
class Ids:
    """Users and products that can be asked for."""

    users: list[str]
    products: list[str]


def bodies_for(
    target: Target, user_ids: Path | None, product_ids: Path | None, directory: Path, products_per_request: int | None
) -> list[bytes]:
    """Return the seeded bodies to send, after one request that shows they can be answered.

    Args:
        target: The service.
        user_ids: File with the ids of users, or None to take those of the demo that the service serves.
        product_ids: The same of products; both files or none.
        directory: Where `ranker demo` keeps its record.
        products_per_request: Distinct products of a request; None for 100, or all where there are fewer.

    Raises:
        LoadTestError: the service does not answer, or which ids to ask for cannot be found out.
    """
    if user_ids and product_ids:
        ids = Ids(read_ids(user_ids), read_ids(product_ids))
    else:
        ids = demo_ids(directory, target.probe())
    wanted = products_per_request or min(PRODUCTS_PER_REQUEST, len(ids.products))
    if wanted > len(ids.products):
        raise TooFewProducts(len(ids.products), wanted)
    made = bodies(ids.users, ids.products, products_per_request=wanted)
    first = json.loads(made[0])
    target.probe(first["userId"], first["productIds"])
    return [body.encode() for body in made]


def read_ids(path: Path) -> list[str]:
    """Read a file of ids, one a line, each once.

    Raises:
        InvalidIds: it cannot be read, has none, or repeats one.
    """
    try:
        with path.open("rb") as file:  # which may be a pipe, and have no end
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise InvalidIds(str(path), f"it is larger than {MAX_BYTES >> 20} MiB")
        ids = [line.strip() for line in content.decode("utf-8-sig").splitlines() if line.strip()]
    except OSError as err:
        raise InvalidIds(str(path), err.strerror or str(err)) from None
    except UnicodeDecodeError as err:
        raise InvalidIds(str(path), f"it is not UTF-8 ({err.reason})") from None
    if not ids:
        raise InvalidIds(str(path), "it is empty")
    if len(set(ids)) < len(ids):
        raise InvalidIds(str(path), "it repeats some")
    return ids


def demo_ids(directory: Path, model: str) -> Ids:
    """Return the ids of the demo that made a model, by its record.

    Raises:
        UnknownIds: there is no such record.
    """
    # Imported late: a Bento does not carry the demo.
    try:
        from ranker.demo.build import read_record
        from ranker.demo.catalogue import ShopDemo, SyntheticDemo
    except ModuleNotFoundError:
        raise UnknownIds(model, str(directory)) from None
    for name, done in read_record(directory).items():
        if done.model == model:
            demo = SyntheticDemo(done.products) if name == SyntheticDemo.name else ShopDemo()
            return Ids(demo.user_ids(done.users), demo.product_ids(done.products))
    raise UnknownIds(model or "a model it does not name", str(directory))
