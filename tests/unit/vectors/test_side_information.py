"""What a schema may ask for of the products in a history, and what is said of the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from ranker.errors import InvalidSchema
from ranker.vectors.schema import FeatureSchema
from ranker.vectors.schema_file import read_schema

VIEWED = {"name": "viewed", "type": "product", "length": 3}


def data(**more: Any) -> dict[str, Any]:
    tags = {"name": "tags", "type": "category", "vocabulary": ["a"], "length": 2}
    of_product = ["price", {"name": "style", "shape": [2]}, tags, {"name": "title", "type": "text", "length": 9}]
    groups: dict[str, Any] = {"user": {"features": ["age", VIEWED]}, "product": {"features": of_product}}
    return groups | {"inputs": {"a": "viewed.style"}} | more


def schema(**more: Any) -> FeatureSchema:
    return FeatureSchema.from_mapping(data(**more))


def test_columns_lie_behind_the_contexts_and_before_those_of_pairs() -> None:
    found = schema(
        context={"features": ["hour"]},
        productContext={"features": ["position"]},
        groups={"live": {"per": "user", "key": "l:{userId}", "features": ["clicks"]}},
    )
    assert [*found.groups] == ["user", "product", "context", "live", "viewed", "productContext"]
    assert found.groups["viewed"].column_names == tuple(f"style[{i}]" for i in range(7))
    assert found.once_width == 1 + 1 + 7
    assert "viewed" in found.request_side
    assert [*found.entities] == ["user", "product", "live"]


def test_neither_stored_bytes_nor_what_is_stored_of_a_schema_change() -> None:
    plain = schema(inputs={"a": "style"})
    assert schema().fingerprint == plain.fingerprint
    assert schema().to_metadata() == plain.to_metadata() | {"inputs": {"a": "viewed.style"}}
    assert FeatureSchema.from_mapping(schema().to_metadata()) == schema()


@pytest.mark.parametrize(
    "more",
    [
        {"inputs": {"a": ["price", "viewed.style", "viewed.price"]}},
        {"inputs": None, "columns": ["user.viewed.style", "viewed.price"]},
    ],
)
def test_side_information_is_found_wherever_sources_stand(more: dict[str, Any]) -> None:
    assert schema(**more).side_information["viewed"].names == ("style", "price")


def test_a_schema_that_asks_for_none_has_none() -> None:
    assert not schema(inputs=None).side_information
    assert not schema(inputs={"a": "viewed", "b": {"mask": "viewed"}, "c": "user.age", "d": "product"}).reads_more


def test_histories_of_one_name_are_told_apart_by_their_groups() -> None:
    live = {"per": "user", "key": "l:{userId}", "features": [VIEWED]}
    found = schema(groups={"live": live}, inputs={"a": "live.viewed.style", "b": "user.viewed.price"})
    assert {name: side.names for name, side in found.side_information.items()} == {
        "live.viewed": ("style",),
        "user.viewed": ("price",),
    }


LATE = {"per": "user", "key": "l:{user.age_group}", "features": [{**VIEWED, "name": "seen"}]}
GROUPED = {"name": "age_group", "type": "int64"}
EACH = {"per": "product", "key": "l:{productId}", "features": [{**VIEWED, "name": "seen"}]}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"inputs": {"a": "viewed.colour"}}, "viewed.colour: colour is no feature of `product`: name one of its"),
        ({"inputs": {"a": "age.style"}}, "age.style: age is float32, and only a history of products has side"),
        ({"inputs": {"a": "viewed.tags"}}, "viewed.tags: tags is a sequence, and so of another length for each"),
        ({"inputs": {"a": "viewed.title"}}, "viewed.title: title is text, which no graph takes: give it"),
        (
            {"groups": {"live": LATE}, "user": {"features": [GROUPED]}, "inputs": {"a": "seen.style"}},
            "seen.style: the keys of live are made of stored features, so its products would be known after two",
        ),
        (
            {"groups": {"live": EACH}, "inputs": {"a": "seen.style"}},
            "seen.style: seen is another history for each product, and only those of a request are looked up",
        ),
        (
            {"product": {"features": ["price", {**VIEWED, "name": "alike"}]}, "inputs": {"a": "alike.price"}},
            "alike.price: alike is another history for each product",
        ),
        (
            {"productContext": {"features": [{**VIEWED, "name": "seen"}]}, "inputs": {"a": "seen.style"}},
            "seen.style: seen is another history for each product, and only those of a request are looked up",
        ),
        (
            {"user": {"features": [{**VIEWED, "default": [0]}]}},
            "viewed.style: viewed has a default with products in it, and none of them is looked up: leave `default`",
        ),
        (
            {"user": {"features": [{**VIEWED, "default": [1]}]}},
            "viewed.style: viewed has a default with products in it, and none of them is looked up: leave `default`",
        ),
        (
            {
                "user": {"features": [{**VIEWED, "length": 20_000}]},
                "product": {"features": [{"name": "style", "shape": [4]}]},
            },
            "viewed.style would take 80,001 columns, and 65,536 are the most: make viewed or style shorter",
        ),
        (
            {"context": {"features": [VIEWED]}},
            "viewed.style: 2 groups have a history viewed: say user.viewed.style or context.viewed.style",
        ),
    ],
)  # fmt: skip
def test_what_a_history_or_a_product_does_not_have_is_refused(more: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidSchema) as refused:
        schema(**more)
    assert said in str(refused.value)


@pytest.mark.parametrize("feature", ["viewed.price", {"name": "viewed.price", "shape": [2]}])
def test_a_name_that_is_a_features_and_may_be_side_information_is_refused_in_a_file(
    feature: Any, tmp_path: Path
) -> None:
    clash = data(user={"features": ["age", VIEWED, feature]}, inputs={"a": "viewed.price"})
    assert not FeatureSchema.from_mapping(clash).side_information  # a model that was stored keeps its meaning
    path = tmp_path / "schema.yaml"
    path.write_text(yaml.safe_dump(clash))
    with pytest.raises(InvalidSchema, match=r"viewed\.price is the name of a feature, and would be a history's side"):
        read_schema(path)
    path.write_text(yaml.safe_dump(clash | {"inputs": None, "columns": ["age", "viewed.price"]}))
    with pytest.raises(InvalidSchema, match=r"viewed\.price is the name of a feature, and would be a history's side"):
        read_schema(path)
    path.write_text(yaml.safe_dump(data()))
    assert read_schema(path).side_information


def test_default_is_an_empty_history() -> None:
    (side,) = schema().side_information.values()
    assert not np.any(side.defaults)


def test_side_information_may_be_asked_for_by_its_full_name() -> None:
    (side,) = schema().side_information.values()
    assert [side.source_of(feature) for feature in side.features] == ["user.viewed.style"]
    assert schema(inputs={"a": "user.viewed.style"}).side_information.keys() == {"viewed"}


def test_side_information_is_ordered_and_padded_as_its_history_is() -> None:
    viewed = {**VIEWED, "order": "oldest_first", "padding": "front"}
    (feature,) = schema(user={"features": [viewed]}).side_information["viewed"].features
    assert (feature.length, feature.order, feature.padding) == (3, "oldest_first", "front")


def test_side_information_may_take_as_many_columns_as_any_feature() -> None:
    wide = {"user": {"features": [{**VIEWED, "length": 13_107}]}}
    found = schema(**wide, product={"features": [{"name": "style", "shape": [5]}]})
    assert found.side_information["viewed"].width == 65_536
    with pytest.raises(InvalidSchema, match=r"viewed\.style would take 78,643 columns, and 65,536 are the most"):
        schema(**wide, product={"features": [{"name": "style", "shape": [6]}]})


@pytest.mark.parametrize("name", ["b.price", "viewed.colour", "user.price"])
def test_a_name_with_a_dot_is_clear_where_it_is_no_history_with_a_products_feature(name: str, tmp_path: Path) -> None:
    path = tmp_path / "schema.yaml"
    path.write_text(yaml.safe_dump(data(user={"features": ["age", VIEWED, name]}, inputs={"a": name, "b": "viewed"})))
    assert not read_schema(path).reads_more
