import json
import math
from contextlib import suppress

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranker.api import predict as api
from ranker.errors import (
    DuplicateProducts,
    EmptyBody,
    InvalidJson,
    InvalidRequest,
    RequestError,
    TooManyProducts,
)
from tests.hostile.slow import MOST_TIMES, search

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
        ({"productIds": [1.5]}, InvalidRequest, "productIds.0"),
        ({"productIds": [True]}, InvalidRequest, "productIds.0"),
        ({"productIds": [1, "1"]}, DuplicateProducts, "'1'"),
        ({"productIds": [*range(6)]}, TooManyProducts, "6 entries; at most 5"),
        ({"productIds": [None]}, InvalidRequest, "productIds.0"),
        ({"productIds": ["x" * 10_240]}, InvalidRequest, "productIds.0"),
        ({"productIds": [""]}, InvalidRequest, "productIds.0"),
        ({"userId": ""}, InvalidRequest, "userId"),
        ({"userId": 5.0}, InvalidRequest, "userId"),
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
        (b"[" * 5000, InvalidJson),
        (b"[" * 100_000, InvalidRequest),
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
    body = orjson.loads(api.render(parse(zipCode="1"), ["b", "a"], scores, ["a"], True, None))
    assert body == {
        "requestId": "r1",
        "ranking": ["b", "a"],
        "scores": [0.1, None],
        "zipCode": "1",
        "missing": ["a"],
        "missingUser": True,
        "degraded": False,
        "degradedReason": None,
    }
    assert api.PredictResponse.model_validate(body).ranking == ["b", "a"]
    assert np.float32(body["scores"][0]) == scores[0]


def test_error_names_at_most_a_handful_of_problems() -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(**dict.fromkeys(("userId", "productIds", "zipCode", "topK", "context", "productContext"), "x" * 300))
    assert len(str(caught.value)) < 1000
    assert caught.value.problems[-1] == "and 1 more"


def test_list_of_wrong_ids_is_an_error_for_its_first() -> None:
    with pytest.raises(InvalidRequest) as caught:
        api.parse(orjson.dumps({**GOOD, "productIds": ["a", *[1.5] * 1000]}), max_products=2000)
    assert caught.value.problems == ("productIds.1: Input should be a valid string",)


def test_more_arrays_objects_and_names_than_any_request_needs_are_refused() -> None:
    most = api.PARTS_PER_PRODUCT * (5 + api.MAX_NAMES)
    assert parse(more=[[]] * (most - 10)).userId == "u1"
    assert parse(userId="u" * 200, more="[{:" * most).userId == "u" * 200
    for more in ([[]] * most, [{}] * most, dict.fromkeys(map(str, range(most)), 0)):
        with pytest.raises(InvalidRequest, match=f"at most {most} arrays, objects and names"):
            parse(more=more)


def test_more_names_of_context_than_any_model_takes_are_refused() -> None:
    names = dict.fromkeys(map(str, range(api.MAX_NAMES + 1)))
    for field, values in (("context", names), ("productContext", {name: [] for name in names})):
        with pytest.raises(InvalidRequest, match=f"{field}: Dictionary should have at most {api.MAX_NAMES} items"):
            parse(**{field: values})


@pytest.mark.alone
def test_no_body_takes_much_longer_to_refuse_than_a_list_of_ids_takes_to_parse() -> None:
    (times, recipe), *_ = search(1 << 20, tries=100, seconds=60, seed=0)
    assert times < MOST_TIMES, recipe
