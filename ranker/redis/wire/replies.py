"""Reply checks: which replies came together, and whether one can be the answer to a command at all."""

from __future__ import annotations

from typing import Any, NamedTuple

from redis._parsers.hiredis import NOT_ENOUGH_DATA
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, ResponseError

from ranker.vectors.rows import Key

Command = tuple[Key, ...]


class HashKey(NamedTuple):
    """A hash, and the fields of it that are wanted."""

    key: Key
    fields: tuple[Key, ...]


VALUE_TYPES = frozenset((bytes, type(None)))
BEFORE_VALUES: dict[Key, int] = {"MGET": 1, "HMGET": 2}
"""The words of a command before those that are each answered with a value."""


def take_replies(connection: AbstractConnection, most: int) -> list[Any]:
    """Return the replies that came with the last one, errors among them, past redis-py: it takes 5 us for each.

    Raises:
        ConnectionError: redis-py's; one of them is such an error, for instance LOADING.
    """
    take = connection._parser._reader.gets  # type: ignore[attr-defined]  # hiredis', to which there is no other way
    replies: list[Any] = []
    while len(replies) < most and (reply := take()) is not NOT_ENOUGH_DATA:
        if isinstance(reply, RedisConnectionError):
            raise reply
        replies.append(reply)
    return replies


def check_reply(command: Command, reply: object) -> None:
    """Check that bytes that are well-formed can be the answer; else the conversation is out of step.

    Raises:
        InvalidResponse: redis-py's; they cannot.
    """
    before = BEFORE_VALUES.get(command[0])
    if before is None:
        return
    wanted = len(command) - before
    if isinstance(reply, list) and len(reply) == wanted and VALUE_TYPES.issuperset(map(type, reply)):
        return
    name = command[0]
    if isinstance(reply, ResponseError) and (name == "HMGET" or not str(reply).startswith("WRONGTYPE")):
        return
    raise InvalidResponse(f"{name!s} of {wanted} values was answered with another kind of reply")
