"""The OpenAPI document, for models of every kind of request: valid, and its examples too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from ranker import __version__
from ranker.api.explain import ExplainRequest
from ranker.api.predict import PredictRequest, check_fields
from ranker.errors import RequestError
from ranker.http import statuses
from ranker.http.pages.openapi.components import reference
from ranker.http.pages.openapi.document import make_document
from ranker.ranking.context.reader import ContextReader
from ranker.ranking.explain.ablation import read_edits
from ranker.vectors.schema import FeatureSchema
from tests.support.models import schema_of_width

PLAIN = schema_of_width(2, 3)
RICH = FeatureSchema.from_mapping(
    {
        "user": {"features": ["age", "title"]},
        "product": {"features": ["price"]},
        "context": {
            "features": [
                "title",
                {"name": "device", "categories": {"ios": 1, "android": 2}, "default": 0},
                {"name": "campaign", "prefixes": {"summer-": 3}, "default": 0},
                {"name": "region", "from": "zipCode", "prefixes": {"1": 1}, "default": 0},
            ]
        },
        "productContext": {"features": ["live_price", {"name": "shelf", "categories": {"top": 1}, "default": 0}]},
    }
)
TYPED = FeatureSchema.from_mapping(
    {
        "user": {
            "features": ["age", {"name": "segment", "type": "category", "vocabulary": ["new", "vip"], "default": "new"}]
        },
        "product": {"features": ["price"]},
        "context": {
            "features": [
                {"name": "query", "shape": [2, 2]},
                {"name": "mood", "type": "category", "vocabulary": ["gift", "self"], "default": "self", "unknown": 1},
                {"name": "seen", "type": "product", "length": 5, "missing": "default"},
                {"name": "at", "type": "int64"},
                {"name": "app", "type": "bool"},
            ]
        },
        "productContext": {"features": [{"name": "slot", "type": "int32"}]},
    }
)


def make(schema: FeatureSchema = PLAIN, *, needs_token: bool = False, has_playground: bool = True) -> dict[str, Any]:
    return make_document(
        schema, model="shoes:2", version=__version__, needs_token=needs_token, has_playground=has_playground
    )


def bodies(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield each body of an operation that ranks, or refuses to: its schema and examples."""
    for path in ("/predict", "/explain"):
        operation = document["paths"][path]["post"]
        for part in (operation["requestBody"], *operation["responses"].values()):
            yield from part["content"].values()


@pytest.mark.parametrize("schema", [PLAIN, RICH, TYPED])
@pytest.mark.parametrize("needs_token", [True, False])
def test_document_is_valid_openapi(schema: FeatureSchema, needs_token: bool) -> None:
    document = make(schema, needs_token=needs_token)
    assert document["openapi"].startswith("3.1.")
    OpenAPIV31SpecValidator(document).validate()


@pytest.mark.parametrize("schema", [PLAIN, RICH, TYPED])
def test_every_example_is_what_its_schema_says(schema: FeatureSchema) -> None:
    document = make(schema, needs_token=True)
    seen = 0
    for body in bodies(document):
        values = [body["example"]] if "example" in body else []
        values += [example["value"] for example in body.get("examples", {}).values()]
        whole = {**body["schema"], "components": document["components"]}
        for value in values:
            Draft202012Validator(whole).validate(value)
            seen += 1
    assert seen > 40


def test_each_error_that_a_caller_may_see_has_an_example() -> None:
    responses = make(needs_token=True)["paths"]["/predict"]["post"]["responses"]
    told = {
        (int(status), example["value"]["error_type"])
        for status, response in responses.items()
        for example in response["content"]["application/json"].get("examples", {}).values()
    }
    assert told == set(statuses.list_visible())


def test_bodies_are_named_once_and_in_both_forms() -> None:
    document = make()
    assert {"PredictRequest", "PredictResponse", "ExplainRequest", "Explanation", "Error"} <= set(
        document["components"]["schemas"]
    )
    operation = document["paths"]["/predict"]["post"]
    assert operation["operationId"] == "predict"
    for part, name in (
        (operation["requestBody"], "PredictRequest"),
        (operation["responses"]["200"], "PredictResponse"),
    ):
        assert set(part["content"]) == {"application/json", "application/msgpack"}
        assert {body["schema"]["$ref"] for body in part["content"].values()} == {f"#/components/schemas/{name}"}


def test_what_may_be_absent_may_be_null() -> None:
    validator = Draft202012Validator(make(RICH)["components"]["schemas"]["PredictRequest"])
    request = {"userId": "u", "productIds": ["p", 7]}
    absent = dict.fromkeys(("requestId", "zipCode", "topK", "context", "productContext"))
    validator.validate(request | absent)
    check_fields(PredictRequest, request | absent, max_products=10)
    assert validator.is_valid(request | {"userId": None})
    assert not validator.is_valid(request | {"userId": ""})


IDS = ["", "u", "u" * 256, "u" * 257, 7, -7, 10**30, 7.5, True, [], {}]
VALUES = {
    "requestId": IDS,
    "userId": IDS,
    "productIds": [[], [7, "p"], [""], ["p" * 257], [None], [True], [7.5], "p", 7, None, {}],
    "zipCode": ["", "1" * 64, "1" * 65, 7, True, []],
    "topK": [0, 1, 10**30, -1, 1.5, "1", True],
    "context": [{}, [], "a", 7],
    "productContext": [{}, [], "a", 7],
}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in VALUES.items() for value in values])
def test_the_document_says_of_a_field_what_the_service_takes(field: str, value: Any) -> None:
    request = {"productIds": ["p"], field: value}
    validator = Draft202012Validator(make()["components"]["schemas"]["PredictRequest"])
    try:
        check_fields(PredictRequest, request, max_products=10)
    except RequestError:
        taken = False
    else:
        taken = True
    assert validator.is_valid(request) == taken


NUMBERS = [0, 1, -1, 1.5, 7, 11, 65504, 65505, 2**31, 2**63, True, None, "1", "vip", "?", [], {}]
VECTORS = [[1, 2], [1.5, True], [None, 1], [1], [1, 2, 3], ["a", 1], [0, 70000], 1, None]
FEATURES: list[tuple[dict[str, Any], list[Any]]] = [
    *(
        (said, NUMBERS)
        for said in (
            {},
            {"missing": "refuse"},
            {"min": 0, "max": 10, "default": 5},
            {"categories": {"vip": 1}, "default": 0},
            {"type": "bool"},
            {"type": "float16"},
            {"type": "int32"},
            {"type": "int64", "missing": "refuse"},
            {"type": "int64", "min": 1, "default": 1},
            {"type": "category", "vocabulary": ["new", "vip"], "unknown": 1},
        )
    ),
    *((said, VECTORS) for said in ({"shape": [2]}, {"shape": [2], "missing": "nan"}, {"shape": [2], "max": 10})),
    *((said, VECTORS) for said in ({"length": 2}, {"type": "product", "length": 2, "missing": "refuse"})),
]


@pytest.mark.parametrize(("said", "values"), FEATURES, ids=lambda part: str(part) if isinstance(part, dict) else "")
@pytest.mark.parametrize("field", ["context", "productContext"])
def test_the_document_says_of_a_feature_what_the_service_takes(
    field: str, said: dict[str, Any], values: list[Any]
) -> None:
    groups = {"user": {"features": ["age"]}, "product": {"features": ["price"]}}
    schema = FeatureSchema.from_mapping(groups | {field: {"features": [{"name": "a", **said}]}})
    validator = Draft202012Validator(make(schema)["components"]["schemas"]["PredictRequest"])
    reader = ContextReader(schema)
    given = [{"a": value if field == "context" else [value]} for value in values]
    for brought in (*given, {}, None):
        request = {"productIds": ["p"], field: brought}
        try:
            check_fields(PredictRequest, request, max_products=10)
            reader.read(brought if field == "context" else None, brought if field != "context" else None, "", 1)
        except RequestError:
            taken = False
        else:
            taken = True
        assert validator.is_valid(request) == taken, brought
    assert validator.is_valid({"productIds": ["p"]}) == (said.get("missing") != "refuse")


ODD: list[dict[str, Any]] = [
    {"type": "category", "vocabulary": ["new", "vip"]},
    {"type": "text", "length": 3},
    {"type": "product", "length": 3},
    {"type": "int64", "min": 5, "default": 7},
    {"shape": [2], "missing": "nan"},
    {"missing": "nan"},
    {"min": 5, "max": 9, "default": 6},
    {"max": 0.5},
]


@pytest.mark.parametrize("schema", [PLAIN, RICH, TYPED, *ODD])
def test_examples_of_requests_are_taken(schema: Any) -> None:
    if isinstance(schema, dict):
        group = {"features": [{"name": "a", **schema}]}
        schema = FeatureSchema.from_mapping({name: group for name in ("user", "product", "context", "productContext")})
    for path, wire_type in (("/predict", PredictRequest), ("/explain", ExplainRequest)):
        document = make(schema)
        example = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["example"]
        request = check_fields(wire_type, example, max_products=100)
        n = len(request.productIds)
        ContextReader(schema).read(request.context, request.productContext, request.zipCode, n)
        if isinstance(request, ExplainRequest):
            assert request.overrides is not None
            assert read_edits(schema, request.overrides.user, request.overrides.products, request.productIds)
            validator = Draft202012Validator({"components": document["components"], **reference(ExplainRequest)})
            validator.validate(example)


@pytest.mark.parametrize(("said", "values"), FEATURES, ids=lambda part: str(part) if isinstance(part, dict) else "")
@pytest.mark.parametrize("entity", ["user", "products"])
def test_the_document_says_of_an_override_what_the_service_takes(
    entity: str, said: dict[str, Any], values: list[Any]
) -> None:
    if "categories" in said or "min" in said or "max" in said:
        return  # the first is no stored feature, and bounds of plain ones are not said
    group = {"features": ["b", {"name": "a", **said}]}
    schema = FeatureSchema.from_mapping({"user": group, "product": group})
    validator = Draft202012Validator(make(schema)["components"]["schemas"]["Overrides"])
    for value in values:
        brought = {"a": value, "b": 1.5}
        overrides = {"user": brought} if entity == "user" else {"products": {"p": brought}}
        try:
            read_edits(schema, overrides.get("user"), overrides.get("products"), ["p"])
        except RequestError:
            taken = False
        else:
            taken = True
        assert validator.is_valid(overrides) == taken, value
    assert "properties" not in make(PLAIN)["components"]["schemas"]["Overrides"]["properties"]["user"]["anyOf"][0]


def test_requests_name_the_context_of_the_model_and_no_other() -> None:
    document = make(RICH)
    properties = document["components"]["schemas"]["PredictRequest"]["properties"]
    context, each = properties["context"]["anyOf"][0], properties["productContext"]["anyOf"][0]
    assert set(context["properties"]) == {"title", "device", "campaign"}  # the region comes from zipCode
    assert context["properties"]["device"]["description"] == "Known: ios, android."
    assert context["properties"]["campaign"]["description"] == "Known: summer-…."
    assert set(each["properties"]) == {"live_price", "shelf"}
    assert context["additionalProperties"] is each["additionalProperties"] is False
    validator = Draft202012Validator(document["components"]["schemas"]["PredictRequest"])
    request = {"userId": "u", "productIds": ["p", "q"]}
    assert validator.is_valid(request | {"productContext": {"live_price": [12.5, None]}})
    assert not validator.is_valid(request | {"context": {"colour": 1}})


def test_typed_context_is_described_by_its_type() -> None:
    validator = Draft202012Validator(make(TYPED)["components"]["schemas"]["PredictRequest"])
    request = {"userId": "u", "productIds": ["p", "q"]}
    for context, is_taken in (
        ({"query": [[1, 2], [3, 4.5]], "mood": "gift", "seen": ["1", 2], "at": 1 << 60, "app": True}, True),
        ({"seen": None, "mood": "unknown"}, True),
        ({"query": [1, 2, 3, 4]}, False),
        ({"at": 1.5}, False),
        ({"seen": "1"}, False),
    ):
        assert validator.is_valid(request | {"context": context}) is is_taken, context


def test_token_is_asked_for_where_the_service_asks() -> None:
    open_to_all, guarded = make(needs_token=False), make(needs_token=True)
    assert "securitySchemes" not in open_to_all["components"]
    assert "401" not in open_to_all["paths"]["/predict"]["post"]["responses"]
    assert guarded["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    secured = {
        path: operation["security"]
        for path, operations in guarded["paths"].items()
        for operation in operations.values()
    }
    token = [{"bearer": []}]
    assert secured == {"/predict": token, "/explain": token, "/metrics": token, "/livez": [], "/readyz": []}


def test_document_says_whose_it_is() -> None:
    info = make()["info"]
    assert (info["title"], info["version"], info["license"]["identifier"]) == ("Ranker", __version__, "Apache-2.0")
    assert "shoes:2" in info["description"]
    assert "BentoML" not in info["description"]
    assert "./play" in info["description"]
    assert "./play" not in make(has_playground=False)["info"]["description"]
