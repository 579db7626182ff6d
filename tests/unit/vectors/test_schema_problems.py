"""Every mistake that a schema file can have is told with what to write, and what was told is taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ranker.errors import InvalidSchema
from ranker.vectors.schema import FeatureSchema
from ranker.vectors.schema_file import read_schema

REST = "user: {features: [age]}\nproduct: {features: [price]}\n"
FEAST = "{project: shop, view: items, join_key: id, type: string}"


def with_feature(feature: str) -> str:
    return f"user: {{features: [age]}}\nproduct: {{features: [price, {feature}]}}\n"


def with_context(feature: str) -> str:
    return f"{REST}context: {{features: [{feature}]}}\n"


def with_group(group: str, price: str = "price") -> str:
    stored = f"user: {{features: [age]}}\nproduct: {{features: [{price}]}}\n"
    return f"{stored}groups: {{live: {{{group}, features: [clicks]}}}}"


def with_older(older: str, feature: str = "{name: margin, default: 0}") -> str:
    return f"{with_feature(feature)}older: [{older}]\n"


MENDED = [
    (with_feature("2024-01-01"), "put quotes round it", with_feature('"2024-01-01"')),
    (
        with_feature("{name: m, default: .nan}"),
        "write {name: m, missing: nan}",
        with_feature("{name: m, missing: nan}"),
    ),
    (with_feature("{name: m, default: 1.0e+39}"), "at most 3.4e+38", with_feature("{name: m, default: 3.4e+38}")),
    (with_feature("{name: m, missing: nan, default: 2}"), "leave one out", with_feature("{name: m, default: 2}")),
    (
        with_feature("{name: m, type: category, vocabulary: [a], min: 0}"),
        "and it is category: leave them out",
        with_feature("{name: m, type: category, vocabulary: [a]}"),
    ),
    (
        with_feature("{name: m, vocabulary: [a, b]}"),
        "give it `type: category`",
        with_feature("{name: m, vocabulary: [a, b], type: category}"),
    ),
    (
        with_feature("{name: m, type: category}"),
        "needs a `vocabulary`: its texts, or a file of them",
        with_feature("{name: m, type: category, vocabulary: texts.txt}"),
    ),
    (
        with_feature("{name: m, type: category, vocabulary: [a, b, a]}"),
        "'a' stands twice in the vocabulary, so its code is not clear: leave one out",
        with_feature("{name: m, type: category, vocabulary: [a, b]}"),
    ),
    (
        with_feature("{name: m, type: category, vocabulary: [yes, no]}"),
        "put quotes round each text",
        with_feature('{name: m, type: category, vocabulary: ["yes", "no"]}'),
    ),
    (
        with_feature("{name: m, unknown: 0}"),
        "give it `type: category`",
        with_feature("{name: m, type: category, vocabulary: [a], unknown: 0}"),
    ),
    (with_feature("{name: m, type: text}"), "needs a `length`", with_feature("{name: m, type: text, length: 9}")),
    (
        with_feature("{name: m, type: product, shape: [3]}"),
        "needs a `length`, how many products it remembers, and has no `shape`",
        with_feature("{name: m, type: product, length: 3}"),
    ),
    (
        with_feature("{name: m, order: oldest_first}"),
        "give it a `length`, or leave them out",
        with_feature("{name: m, order: oldest_first, length: 3}"),
    ),
    (
        with_feature("{name: m, type: int64, missing: nan}"),
        "leave `nan` out, and give it a `default`",
        with_feature("{name: m, type: int64, default: -1}"),
    ),
    (
        with_feature("{name: m, length: 3, type: category, vocabulary: [a], unknown: nan}"),
        "of a category, a code for `unknown`",
        with_feature("{name: m, length: 3, type: category, vocabulary: [a], unknown: 0}"),
    ),
    (
        with_feature("{name: m, type: int64, min: 1, max: 5}"),
        "0 is beyond 1 to 5. Give it a `default` within them",
        with_feature("{name: m, type: int64, min: 1, max: 5, default: 1}"),
    ),
    (
        with_feature("{name: m, type: float64}"),
        "type: write 'float32', 'float16', 'int32', 'int64', 'bool', 'category', 'text' or 'product', not 'float64'",
        with_feature("{name: m, type: float32}"),
    ),
    (with_feature("{name: m, typ: int64}"), "did you mean `type`?", with_feature("{name: m, type: int64}")),
    (f"{REST}users: {{features: [a]}}", "users: there is no such field here: did you mean `user`?", REST),
    (f"{REST}rows: listwise", "write 'independent' or 'together', not 'listwise'", f"{REST}rows: together"),
    (f"{REST}columns: age", "columns: write a list, such as [a, b]", f"{REST}columns: [age, price]"),
    (f"{REST}columns: []", "columns: it must not be empty", f"{REST}columns: [age, price]"),
    (f"{REST}inputs: [x]", "names with a value each, such as {NAME: VALUE}", f"{REST}inputs: {{x: price}}"),
    (f"{REST}score: 1", "score: write a text; what is none without quotes is one in them", f'{REST}score: "1"'),
    ("user: {features: [age]}", "product: it is missing", REST),
    ("product:", "product: write its fields below it, such as `features: [a, b]`", "product: {features: [a, b]}"),
    ("", "there is no schema: write `product: {features: [a, b]}`", "product: {features: [a, b]}"),
    (
        "product: {features: [a], key: p}",
        "{id} exactly once, such as 'product:{id}'",
        "product: {features: [a], key: 'product:{id}'}",
    ),
    (
        "user: {key: 'e:{id}', features: [age]}\nproduct: {key: 'e:{id}', features: [price]}",
        'such as key: "user:{id}" and key: "product:{id}"',
        'user: {key: "user:{id}", features: [age]}\nproduct: {key: "product:{id}", features: [price]}',
    ),
    (with_group("key: 'l:{userId}'"), "groups.live.per: it is missing", with_group("key: 'l:{userId}', per: user")),
    (
        with_group("per: user, key: abc"),
        "at least one value in braces: {userId}",
        with_group("per: user, key: 'abc{userId}'"),
    ),
    (with_group("per: user, key: 'l:{id}'"), "say {userId} or {productId}", with_group("per: user, key: 'l:{userId}'")),
    (with_group("per: user, key: 'l:{id_}'"), "it has {userId}", with_group("per: user, key: 'l:{userId}'")),
    (
        with_group("per: user, key: 'l:{productId}'"),
        "say `per: product`",
        with_group("per: product, key: 'l:{productId}'"),
    ),
    (with_group("per: product, key: 'l:{userId}'"), "say `per: user`", with_group("per: user, key: 'l:{userId}'")),
    (
        with_group("per: product, key: 'l:{product.seller}'"),
        "name one of its features, or add it there",
        with_group("per: product, key: 'l:{product.seller}'", "price, {name: seller, type: int64}"),
    ),
    *(
        (
            with_group("per: product, key: 'l:{product.seller}'", "{name: seller}"),
            f"`{said}`",
            with_group("per: product, key: 'l:{product.seller}'", f"{{name: seller, {said}{more}}}"),
        )
        for said, more in (("type: int64", ""), ("type: text", ", length: 9"), ("type: category", ", vocabulary: [a]"))
    ),
    (
        with_group("per: product, key: 'l:{product.ids}'", "{name: ids, type: int64, shape: [2]}"),
        "name a feature that has one",
        with_group("per: product, key: 'l:{product.id}'", "{name: id, type: int64}"),
    ),
    (
        with_group("per: user, key: 'user:{userId}'"),
        'such as key: "live:…"',
        with_group("per: user, key: 'live:{userId}'"),
    ),
    (
        f"{REST}groups: {{product: {{per: user, key: 'l:{{userId}}', features: [c]}}}}",
        "give this one another name",
        with_group("per: user, key: 'l:{userId}'"),
    ),
    (
        "user: {features: [age]}\nproduct: {format: feast, features: [price]}",
        "`format: feast` and `feast: {project: …, view: …, join_key: …, type: string|int32|int64}` go together",
        f"user: {{features: [age]}}\nproduct: {{format: feast, feast: {FEAST}, features: [price]}}",
    ),
    (
        f"product: {{format: feast, feast: {FEAST}, key: 'p:{{id}}', features: [price]}}",
        "leave `key` out",
        f"product: {{format: feast, feast: {FEAST}, features: [price]}}",
    ),
    (
        with_group(f"per: user, key: 'l:{{userId}}', format: feast, feast: {FEAST}"),
        'such as key: "{userId}"',
        with_group(f"per: user, key: '{{userId}}', format: feast, feast: {FEAST}"),
    ),
    (
        "product: {format: float32, features: [{name: viewed, length: 3}]}",
        "`format: float32` has floats alone, and viewed is a sequence",
        "product: {format: float32, features: [{name: viewed, shape: [3]}]}",
    ),
    (
        with_context("{name: device, categories: {ios: 1}}"),
        "needs a default",
        with_context("{name: device, categories: {ios: 1}, default: 0}"),
    ),
    (
        with_context("{name: zip, from: zipCode}"),
        "give categories or prefixes",
        with_context('{name: zip, from: zipCode, prefixes: {"1": 1}, default: 0}'),
    ),
    (
        with_older("product: {features: [{name: price, type: int64}]}"),
        "give the new one another name",
        "product: {features: [{name: cost, default: 0}]}\nolder: [product: {features: [{name: price, type: int64}]}]",
    ),
    (
        with_older("product: {features: [price]}", "margin"),
        "`default: 0`",
        with_older("product: {features: [price]}", "{name: margin, default: 0}"),
    ),
    (
        with_older("product: {features: [price]}, product: {features: [price]}"),
        "stands there twice, or is no other than this one: leave it out",
        with_older("product: {features: [price]}"),
    ),
]


def read(folder: Path, text: str) -> None:
    (folder / "texts.txt").write_text("a\nb\n")
    (folder / "schema.yaml").write_text(text)
    read_schema(folder / "schema.yaml")


@pytest.mark.parametrize(("text", "said", "mended"), MENDED)
def test_a_remedy_followed_to_the_letter_is_taken(tmp_path: Path, text: str, said: str, mended: str) -> None:
    with pytest.raises(InvalidSchema) as refused:
        read(tmp_path, text)
    assert said in str(refused.value)
    read(tmp_path, mended)


def test_one_mistake_is_one_problem_in_the_files_own_words(tmp_path: Path) -> None:
    with pytest.raises(InvalidSchema) as refused:
        read(tmp_path, with_context("{name: device, categories: {ios: 1}}"))
    said = "context.features.0: a feature with categories needs a default, for those it does not know"
    assert refused.value.problems == (said,)


def test_a_field_of_another_place_is_none_here_and_nothing_is_guessed(tmp_path: Path) -> None:
    with pytest.raises(InvalidSchema) as refused:
        read(tmp_path, f"{REST}vocabulary: [a]\n")
    assert refused.value.problems == ("vocabulary: there is no such field here",)


GROUP = {"per": "user", "key": "x:{userId}", "features": ["b"]}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (None, "there is no schema: write `product: {features: [a, b]}`, and what else the model takes"),
        ({"product": {"features": ["a"], "join_key": "x"}}, "product.join_key: there is no such field here"),
        ({"product": {"features": ["a"], "vocab": "x"}}, "product.vocab: there is no such field here"),
        (
            {"product": {"features": ["a"], "keys": "x"}},
            "product.keys: there is no such field here: did you mean `key`?",
        ),
        (
            {"product": {"features": ["a"]}, "groups": {"s": {**GROUP, "ttl_s": -1}}},
            "groups.s.ttl_s: It should be greater than or equal to 0",
        ),
        (
            {"product": {"features": ["a"]}, "rows": "x" * 60},
            f"rows: write 'independent' or 'together', not '{'x' * 40}'",
        ),
    ],
)
def test_problem_is_told_in_one_sentence(data: Any, said: str) -> None:
    with pytest.raises(InvalidSchema) as refused:
        FeatureSchema.from_mapping(data)
    assert list(refused.value.problems) == [said]
