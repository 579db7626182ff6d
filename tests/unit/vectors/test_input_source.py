"""What an input of a graph may take, and that everything else is refused in one sentence."""

from __future__ import annotations

from typing import Any

import pytest

from ranker.errors import InvalidSchema
from ranker.vectors.input_source import LengthSource, MaskSource
from ranker.vectors.schema import FeatureSchema

VIEWED = {"name": "viewed", "type": "product", "length": 3}


def schema(source: Any) -> FeatureSchema:
    return FeatureSchema.from_mapping({"product": {"features": ["price", VIEWED]}, "inputs": {"a": source}})


@pytest.mark.parametrize(
    ("source", "read"),
    [
        ("price", "price"),
        (["price", "viewed"], ("price", "viewed")),
        ({"mask": "viewed"}, MaskSource(mask="viewed")),
        ({"length": "viewed"}, LengthSource(length="viewed")),
    ],
)
def test_source_is_a_name_or_names_or_what_is_known_of_a_sequence(source: Any, read: Any) -> None:
    made = schema(source)
    assert made.inputs == {"a": read}
    assert FeatureSchema.from_mapping(made.to_metadata()) == made


BOTH = {"mask": "viewed", "length": "viewed"}


@pytest.mark.parametrize(
    "source",
    ["", [], [""], ["price", ["viewed"]], {}, {"x": "viewed"}, {"mask": ""}, {"length": ["viewed"]}, BOTH],
    ids=str,
)
def test_anything_else_is_refused_in_one_sentence(source: Any) -> None:
    with pytest.raises(InvalidSchema) as refused:
        schema(source)
    (problem,) = refused.value.problems
    assert problem.startswith("inputs.a: an input takes a group, a feature, a list of features, {mask: FEATURE} or ")


@pytest.mark.parametrize("source", [5, ["price", 5], {"mask": 5}, {"length": 5}], ids=str)
def test_name_that_yaml_made_a_number_of_is_told_to_be_put_in_quotes(source: Any) -> None:
    with pytest.raises(InvalidSchema) as refused:
        schema(source)
    assert list(refused.value.problems) == ["inputs.a: put quotes round it, for YAML reads it as the number 5"]
