"""Forms of a body: what callers name in Content-Type and Content-Encoding, and its JSON text.

Owns which forms are taken, and that no body is larger decoded than it may be as it is. What the JSON says is the
endpoint's.
"""

from __future__ import annotations

import zlib
from functools import lru_cache
from math import isfinite
from typing import Any, NamedTuple

import msgpack
import orjson

from ranker import errors
from ranker.api.headers import Headers

JSON_TYPE = b"application/json"
MSGPACK_TYPES = frozenset({b"application/msgpack", b"application/x-msgpack", b"application/vnd.msgpack"})
UNTOLD_TYPES = frozenset(
    {b"text/plain", b"text/json", b"application/x-www-form-urlencoded", b"application/octet-stream", b""}
)
"""Types that libraries name when nobody told them one: fetch, curl -d, urllib, aiohttp. Taken as JSON."""
CODINGS = frozenset({b"gzip", b"x-gzip", b"deflate"})
MAX_MEMBERS = 16
"""Compressed streams, one after another, of one gzip body (RFC 1952, 2.2); each takes 32 KiB to begin."""
GZIP, ZLIB, RAW = 31, 15, -15
"""Window bits that tell zlib which of its formats is read."""
Part = list[Any] | dict[str, Any]
BYTES_PER_VALUE = 10
"""Divisor of the bytes that a MessagePack body may have, for the values that it may have. A value may be a single byte
there, and 1 MiB of such would hold the loop for 50 ms."""


class Form(NamedTuple):
    """Way from a body's bytes to JSON text.

    Attributes:
        coding: How it is compressed; empty where it is not.
        is_msgpack: Whether it is MessagePack.
    """

    coding: bytes
    is_msgpack: bool

    def json(self, body: bytes, max_bytes: int) -> bytes:
        """Return the JSON text of a body.

        Raises:
            BodyTooLarge: it has more bytes decompressed than it may.
            InvalidCoding, InvalidMsgpack: it is not what its headers say.
        """
        if self.coding and body:
            body = decompress(body, self.coding, max_bytes)
        return from_msgpack(body, max_bytes // BYTES_PER_VALUE) if self.is_msgpack and body else body


def form_of(headers: Headers) -> Form | None:
    """Return the form that a request's headers name; None for JSON as it is.

    Raises:
        UnsupportedType, UnsupportedCoding: it is not taken.
    """
    coding, kind = headers.get(b"content-encoding"), headers.get(b"content-type")
    if coding is None and (kind is None or kind == JSON_TYPE):
        return None
    return _form(kind or b"", coding or b"")


def wants_msgpack(headers: Headers) -> bool:
    """Say whether the answer is to be MessagePack: what Accept names, or else what the request is."""
    accepted = headers.get(b"accept")
    if accepted is not None and accepted != b"*/*":
        if b"msgpack" in accepted:
            return True
        if b"json" in accepted:
            return False
    return b"msgpack" in headers.get(b"content-type", b"")


def decompress(body: bytes, coding: bytes, max_bytes: int) -> bytes:
    """Decompress a body, and no more of it than it may have.

    Raises:
        BodyTooLarge, InvalidCoding: it has more bytes, or is not compressed so.
    """
    is_zlib = body[0] & 0x0F == zlib.DEFLATED and int.from_bytes(body[:2], "big") % 31 == 0
    # "deflate" is zlib's format (RFC 9110, 8.4.1.2); some send the bare stream.
    bits = (ZLIB if is_zlib else RAW) if coding == b"deflate" else GZIP
    text = bytearray()
    for _ in range(MAX_MEMBERS if bits == GZIP else 1):
        stream = zlib.decompressobj(wbits=bits)
        try:
            text += stream.decompress(body, max_bytes + 1 - len(text))
        except zlib.error as err:
            raise errors.InvalidCoding(coding.decode(), str(err)) from None
        if len(text) > max_bytes:
            raise errors.BodyTooLarge(max_bytes)
        if not stream.eof:
            raise errors.InvalidCoding(coding.decode(), "it is cut off")
        body = stream.unused_data
        if not body:
            return bytes(text)
    raise errors.InvalidCoding(coding.decode(), "more follows it")


def from_msgpack(body: bytes, max_values: int) -> bytes:
    """Return the JSON text of a MessagePack body.

    Args:
        body: One object.
        max_values: Of all arrays and maps in it; each counts as one itself.

    Raises:
        InvalidMsgpack: it is none, or has what JSON has not: bytes, NaN, infinities.
    """
    try:
        counted = _Counted(max_values)
        unpacked = msgpack.unpackb(
            body, list_hook=counted, object_hook=counted, max_array_len=max_values, max_map_len=max_values
        )
        return orjson.dumps(unpacked)
    except (ValueError, TypeError) as err:
        raise errors.InvalidMsgpack(" ".join(str(err).split()).rstrip(".") or type(err).__name__) from None


def to_msgpack(json: bytes) -> bytes:
    """Return JSON text as MessagePack."""
    packed: bytes = msgpack.packb(orjson.loads(json))
    return packed


class _Counted:
    """Hook of the unpacker that lets arrays and maps through, of so many values, and of finite numbers."""

    def __init__(self, most: int) -> None:
        self._left = most

    def __call__(self, part: Part) -> Part:
        self._left -= 1 + len(part)
        if self._left < 0:
            raise ValueError("it has too many values")
        values = part.values() if isinstance(part, dict) else part
        if not all(map(isfinite, [value for value in values if type(value) is float])):  # orjson would write null
            raise ValueError("it has a number that is NaN or infinite; send nil for an absent value")
        return part


@lru_cache(maxsize=128)
def _form(kind: bytes, coding: bytes) -> Form | None:
    given = coding.strip().lower()
    if given not in CODINGS and given not in (b"", b"identity"):
        raise errors.UnsupportedCoding(coding.decode("latin-1"))
    media = kind.partition(b";")[0].strip().lower()
    is_msgpack = media in MSGPACK_TYPES
    is_json = media == JSON_TYPE or media in UNTOLD_TYPES
    is_json = is_json or (media.startswith(b"application/") and media.endswith(b"+json"))
    if not is_msgpack and not is_json:
        raise errors.UnsupportedType(media.decode("latin-1"))
    compressed = given if given in CODINGS else b""
    return Form(compressed, is_msgpack) if compressed or is_msgpack else None
