"""Bodies in the forms that callers send: compressed, MessagePack, and named by libraries that nobody told a type."""

from __future__ import annotations

import gzip
import math
import tracemalloc
import zlib
from contextlib import suppress

import msgpack
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranker import errors
from ranker.http.bodies import MAX_MEMBERS, decompress, form_of, from_msgpack, to_msgpack, wants_msgpack

TEXT = orjson.dumps({"userId": "u", "productIds": [f"p{i}" for i in range(100)]})
LIMIT = len(TEXT)


def bare(text: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(text) + compressor.flush()


FORMS = [(b"gzip", gzip.compress), (b"x-gzip", gzip.compress), (b"deflate", zlib.compress), (b"deflate", bare)]


@pytest.mark.parametrize(("coding", "compress"), FORMS)
def test_compressed_body_is_its_text_up_to_the_limit_and_no_more(coding: bytes, compress: object) -> None:
    assert callable(compress)
    assert decompress(compress(TEXT), coding, LIMIT) == TEXT
    with pytest.raises(errors.BodyTooLarge):
        decompress(compress(TEXT), coding, LIMIT - 1)
    for broken in (compress(TEXT)[:-9], b"no such thing", compress(TEXT) + b"more"):
        with pytest.raises(errors.InvalidCoding):
            decompress(broken, coding, LIMIT)


def test_bomb_is_not_unpacked_beyond_the_limit() -> None:
    bomb = gzip.compress(bytes(200 << 20))
    nested = gzip.compress(gzip.compress(bytes(64 << 20)))
    tracemalloc.start()
    with pytest.raises(errors.BodyTooLarge):
        decompress(bomb, b"gzip", 1 << 20)
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()
    assert len(decompress(nested, b"gzip", 1 << 20)) < 1 << 20


def test_gzip_of_several_members_is_one_text_and_of_very_many_is_refused() -> None:
    half = LIMIT // 2
    assert decompress(gzip.compress(TEXT[:half]) + gzip.compress(TEXT[half:]), b"gzip", LIMIT) == TEXT
    with pytest.raises(errors.BodyTooLarge):
        decompress(gzip.compress(TEXT) * 2, b"gzip", LIMIT)
    with pytest.raises(errors.InvalidCoding):
        decompress(gzip.compress(b"") * (MAX_MEMBERS + 1), b"gzip", LIMIT)


@given(st.binary(min_size=1, max_size=60), st.sampled_from([b"gzip", b"deflate"]))
def test_any_bytes_are_decompressed_or_refused(body: bytes, coding: bytes) -> None:
    with suppress(errors.InvalidCoding, errors.BodyTooLarge):
        assert len(decompress(body, coding, 100)) <= 100


@pytest.mark.parametrize(
    "kind",
    [
        None,
        b"application/json",
        b"Application/JSON; charset=utf-8",
        b"application/vnd.shop+json",
        b"text/plain;charset=UTF-8",
        b"application/x-www-form-urlencoded",
        b"application/octet-stream",
        b"",
    ],
)
def test_json_is_taken_under_every_name_that_libraries_give_it(kind: bytes | None) -> None:
    headers = {} if kind is None else {b"content-type": kind}
    assert form_of(headers) is None
    assert form_of(headers | {b"content-encoding": b"identity"}) is None
    form = form_of(headers | {b"content-encoding": b"GZIP"})
    assert form is not None
    assert form.json(gzip.compress(TEXT), LIMIT) == TEXT
    assert form.json(b"", LIMIT) == b""
    assert not wants_msgpack(headers)


@pytest.mark.parametrize("kind", [b"application/xml", b"multipart/form-data; boundary=x", b"application/cbor", b"json"])
def test_other_types_are_refused_with_what_is_taken(kind: bytes) -> None:
    with pytest.raises(errors.UnsupportedType, match="application/json or application/msgpack"):
        form_of({b"content-type": kind})


def test_composing_callers_are_told_how() -> None:
    with pytest.raises(errors.UnsupportedType, match=r"bentoml.depends\(url="):
        form_of({b"content-type": b"application/vnd.bentoml+pickle"})


@pytest.mark.parametrize("coding", [b"br", b"zstd", b"gzip, gzip", b"\xff"])
def test_other_codings_are_refused_with_what_is_taken(coding: bytes) -> None:
    with pytest.raises(errors.UnsupportedCoding, match="gzip, deflate"):
        form_of({b"content-encoding": coding})


def test_messagepack_is_the_same_as_its_json() -> None:
    given = {"userId": "ü", "productIds": ["a", 7], "topK": None, "context": {"x": 0.1, "y": True, "z": -(2**63)}}
    form = form_of({b"content-type": b"application/x-msgpack", b"content-encoding": b"gzip"})
    assert form is not None
    assert orjson.loads(form.json(gzip.compress(msgpack.packb(given)), 1000)) == given
    assert msgpack.unpackb(to_msgpack(orjson.dumps(given))) == given


@pytest.mark.parametrize(
    "body",
    [
        b"\xc1",
        msgpack.packb({"a": 1}) + b"\x00",
        msgpack.packb({"a": 1})[:-1],
        msgpack.packb({"a": b"bytes"}),
        msgpack.packb({"a": math.nan}),
        msgpack.packb({"a": [[1.0, -math.inf]]}),
        msgpack.packb({"a": {"b": math.inf}}, use_single_float=True),
        msgpack.packb({b"a": 1}),
        msgpack.packb({1: 1}),
        msgpack.packb(msgpack.Timestamp(1)),
        msgpack.packb(msgpack.ExtType(5, b"x")),
        b"\xa1\xff",
        b"\x91" * 2000 + b"\x90",
        b"\xdd\x00\x00\x20\x00" + b"\x90" * 0x2000,
        b"\x92" + 2 * (b"\xdd\x00\x00\x20\x00" + b"\x01" * 0x2000),
        b"\xdd\x00\x01\x00\x00" + b"\x01" * 65_536,
        b"\xdd\xff\xff\xff\xff",
    ],
)
def test_messagepack_that_json_has_not_is_refused(body: bytes) -> None:
    with pytest.raises(errors.InvalidMsgpack):
        from_msgpack(body, 10_000)


@given(st.binary(max_size=60))
def test_any_bytes_are_messagepack_or_refused(body: bytes) -> None:
    with suppress(errors.InvalidMsgpack):
        orjson.loads(from_msgpack(body, 10_000))


def test_answer_has_the_form_that_is_accepted_or_else_the_requests() -> None:
    packed = {b"content-type": b"application/msgpack"}
    assert wants_msgpack(packed)
    assert wants_msgpack(packed | {b"accept": b"*/*"})
    assert wants_msgpack({b"accept": b"application/msgpack"})
    assert not wants_msgpack(packed | {b"accept": b"application/json"})
    assert not wants_msgpack({b"accept": b"text/html, */*"})
