"""Requests as callers write them: integers, nulls, a byte order mark, and names that are nearly right."""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranker.api import predict as api
from ranker.api.explain import ExplainRequest
from ranker.api.spelling import misspelt
from ranker.errors import InvalidRequest, RequestError

GOOD = {"requestId": "r1", "userId": "u1", "productIds": ["a", "b"]}
FIELDS = tuple(api.PredictRequest.model_fields)


def parse(**changes: object) -> api.PredictRequest:
    return api.parse(orjson.dumps({**GOOD, **changes}), max_products=100)


def test_integers_are_ids_by_their_decimal_text() -> None:
    request = parse(requestId=-7, userId=42, productIds=[0, "x", 18446744073709551615])
    assert (request.requestId, request.userId) == ("-7", "42")
    assert request.productIds == ["0", "x", "18446744073709551615"]
    digits = "1" * 24  # more than 64 bits
    body = json.dumps(GOOD | {"userId": int(digits), "context": {"x": 1e300, "y": int(digits)}})
    request = api.parse(body.encode(), max_products=5)
    assert request.userId == digits
    assert request.context == {"x": 1e300, "y": int(digits)}


@given(st.lists(st.integers() | st.text(min_size=1, max_size=9), min_size=1, max_size=9, unique_by=str))
def test_a_mixed_list_is_the_list_of_its_texts(ids: list[int | str]) -> None:
    assert api.parse(json.dumps(GOOD | {"productIds": ids}).encode(), 100).productIds == [*map(str, ids)]


@pytest.mark.parametrize("field", ["userId", "requestId", "productIds"])
def test_number_that_is_no_id_is_refused(field: str) -> None:
    number = b"9" * 5000
    body = b'{"userId": "u", "productIds": ["a"], "%b": %b}' % (field.encode(), number)
    with pytest.raises(RequestError):
        api.parse(body, max_products=5)


def test_null_is_absent() -> None:
    nulls = ("zipCode", "topK", "context", "productContext")
    absent, null = parse(), parse(**dict.fromkeys(nulls))
    assert [getattr(null, name) for name in nulls] == [getattr(absent, name) for name in nulls]


@pytest.mark.parametrize("given", [{}, {"requestId": None}, {"requestId": ""}])
def test_request_without_an_id_is_given_one_of_its_own(given: dict[str, object]) -> None:
    body = orjson.dumps({"userId": "u1", "productIds": ["a"], **given})
    first, second = (api.parse(body, max_products=5).requestId for _ in range(2))
    assert first
    assert first != second


def test_byte_order_mark_is_skipped() -> None:
    assert api.parse(b"\xef\xbb\xbf" + orjson.dumps(GOOD), max_products=5).userId == "u1"


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("topk", "topK"),
        ("top_k", "topK"),
        ("TOPK", "topK"),
        ("topN", "topK"),
        ("zip-code", "zipCode"),
        ("contxt", "context"),
        ("contetx", "context"),
        ("user_ids", "userId"),
        ("product_context", "productContext"),
    ],
)
def test_name_that_is_nearly_a_field_is_refused_by_its_right_name(name: str, field: str) -> None:
    with pytest.raises(InvalidRequest, match=f"{name!r} is no field, but {field} is") as refused:
        parse(**{name: 5})
    assert refused.value.request_id == "r1"


def test_misspelt_field_is_named_where_it_is_missing_under_its_right_name() -> None:
    with pytest.raises(
        InvalidRequest, match="'product_ids' is no field, but productIds is; productIds: Field required"
    ):
        api.parse(b'{"userId": "u", "product_ids": ["a"]}', max_products=5)


@pytest.mark.parametrize("name", ["sessionId", "contextId", "products", "model", "tracking", "kpot", "", "x" * 10_000])
def test_other_names_are_ignored(name: str) -> None:
    assert parse(**{name: {"any": ["thing"]}}) == parse()


@pytest.mark.parametrize("name", ["user", "uid", "UserKey", "customer_id", "memberId", "visitor-id"])
def test_name_of_a_user_in_a_request_without_one_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest, match=f"'{name}' is no field, but userId is; null ranks for nobody"):
        api.parse(orjson.dumps({"productIds": ["a"], name: "u1"}), max_products=5)
    for user in ("u1", None):  # it is said whose the request is
        assert api.parse(orjson.dumps({"productIds": ["a"], "userId": user, name: "u1"}), max_products=5).userId == user


def test_user_may_be_null_or_absent() -> None:
    for body in (b'{"productIds": ["a"]}', b'{"userId": null, "productIds": ["a"], "userAgent": "x"}'):
        assert api.parse(body, max_products=5).userId is None


def test_field_of_explain_alone_is_a_field_there() -> None:
    body = orjson.dumps({**GOOD, "override": {}})
    assert api.parse(body, max_products=5).userId == "u1"
    with pytest.raises(InvalidRequest, match="but overrides is"):
        api.parse_as(ExplainRequest, body, max_products=5)


def test_of_very_many_names_the_first_are_compared() -> None:
    assert misspelt((f"x{i}" for i in range(100_000)), FIELDS) == []
    assert misspelt(["topk", *(f"x{i}" for i in range(1000))], FIELDS) == ["'topk' is no field, but topK is"]
