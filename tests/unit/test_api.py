import json
import math
from contextlib import suppress

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranker import api
from ranker.errors import (
    DuplicateProducts,
    EmptyBody,
    InvalidJson,
    InvalidRequest,
    RequestError,
    TooManyProducts,
)

GOOD = {"requestId": "r1", "userId": "u1", "productIds": ["a", "b"]}


def parse(**changes: object) -> api.PredictRequest:
    return api.parse(orjson.dumps(GOOD | changes), max_products=5)


def test_shape_that_callers_send_today_is_accepted() -> None:
    request = parse(zipCode="10115", topK=None)
    assert (request.requestId, request.userId, request.productIds) == ("r1", "u1", ["a", "b"])
    assert (request.zipCode, request.topK) == ("10115", None)
    assert parse(topK=3, somethingNew=True).topK == 3


@pytest.mark.parametrize("identifier", ["with space", "nul\0byte", "путь/../..", "*3\r\n$3\r\nGET", "🛒" * 256, "{id}"])
def test_ids_are_opaque(identifier: str) -> None:
    assert parse(userId=identifier, productIds=[identifier]).productIds == [identifier]


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"productIds": []}, InvalidRequest, "productIds"),
        ({"productIds": ["a"] * 2}, DuplicateProducts, "'a'"),
        ({"productIds": list("abcdef")}, TooManyProducts, "6 entries; at most 5"),
        ({"productIds": "abc"}, InvalidRequest, "productIds"),
        ({"productIds": [1, 2]}, InvalidRequest, "productIds.0"),
        ({"productIds": [None]}, InvalidRequest, "productIds.0"),
        ({"productIds": ["x" * 10_240]}, InvalidRequest, "productIds.0"),
        ({"productIds": [""]}, InvalidRequest, "productIds.0"),
        ({"userId": ""}, InvalidRequest, "userId"),
        ({"userId": 5}, InvalidRequest, "userId"),
        ({"userId": None}, InvalidRequest, "userId"),
        ({"topK": 0}, InvalidRequest, "topK"),
        ({"topK": "3"}, InvalidRequest, "topK"),
        ({"topK": True}, InvalidRequest, "topK"),
        ({"topK": 1.5}, InvalidRequest, "topK"),
        ({"zipCode": 10115}, InvalidRequest, "zipCode"),
        ({"context": [14]}, InvalidRequest, "context"),
        ({"productContext": {"price": 1}}, InvalidRequest, "productContext.price"),
        ({"productContext": {"price": None}}, InvalidRequest, "productContext.price"),
    ],
)
def test_bad_field_is_named_and_the_request_id_kept(
    changes: dict[str, object], error: type[RequestError], said: str
) -> None:
    with pytest.raises(error, match=said) as caught:
        parse(**changes)
    assert caught.value.request_id == "r1"


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", EmptyBody),
        (b"{", InvalidJson),
        (b"\xff\xfe", InvalidJson),
        (b"[" * 100_000, InvalidJson),
        (b'{"requestId": "\\ud800", "userId": "u", "productIds": ["a"]}', InvalidJson),
        (b"null", InvalidRequest),
        (b"[]", InvalidRequest),
        (b'"x"', InvalidRequest),
        (b"{}", InvalidRequest),
    ],
)
def test_body_that_is_no_request_says_so(body: bytes, error: type[RequestError]) -> None:
    with pytest.raises(error):
        api.parse(body, max_products=5)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_a_request_error(body: bytes) -> None:
    with suppress(RequestError):
        api.parse(body, max_products=5)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)


@given(
    st.fixed_dictionaries(
        {}, optional={k: json_values for k in [*GOOD, "zipCode", "topK", "context", "productContext"]}
    )
)
def test_any_json_object_is_a_request_or_a_request_error(data: dict[str, object]) -> None:
    with suppress(RequestError):
        api.parse(json.dumps(data).encode(), max_products=5)


def test_answer_has_the_contracts_shape() -> None:
    scores = np.array([0.1, math.nan], dtype=np.float32)
    body = orjson.loads(api.render(parse(zipCode="1"), ["b", "a"], scores, ["a"], None))
    assert body == {
        "requestId": "r1",
        "ranking": ["b", "a"],
        "scores": [0.1, None],
        "zipCode": "1",
        "missing": ["a"],
        "degraded": False,
        "degradedReason": None,
    }
    assert api.PredictResponse.model_validate(body).ranking == ["b", "a"]
    assert np.float32(body["scores"][0]) == scores[0]


def test_error_names_at_most_a_handful_of_problems() -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(productIds=[1] * 1000)
    assert len(str(caught.value)) < 1000
    assert caught.value.problems[-1] == "and 995 more"
