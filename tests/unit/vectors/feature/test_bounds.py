"""A value beyond its bounds makes its own row unusable, wherever it comes from, and no other."""

from typing import Any

import msgpack
import numpy as np
import pytest

from ranker.errors import CorruptVector, InvalidRequest, InvalidRows, InvalidSchema
from ranker.ingest.files.rows import Block, Columns
from ranker.ingest.validation import check_rows
from ranker.ranking.context.reader import ContextReader
from ranker.vectors.feature import Feature
from ranker.vectors.feature.bounds import limits_of
from ranker.vectors.feature.draws import draw
from ranker.vectors.group import ProductSchema
from ranker.vectors.rows import RowStatus
from ranker.vectors.schema import FeatureSchema
from ranker.vectors.stored.encoding import Encoder
from ranker.vectors.stored.formats import decoder_for

FOUND, MISSING, CORRUPT = RowStatus.FOUND, RowStatus.MISSING, RowStatus.CORRUPT
PLAIN = ["price", {"name": "item_id", "min": 1, "max": 499, "default": 1}]
TYPED = [
    {"name": "id", "type": "int64", "max": 1 << 40},
    {"name": "ids", "type": "int32", "shape": [2], "max": [9, 19]},
    {"name": "viewed", "type": "product", "length": 2, "min": 1, "max": 5},
    {"name": "taste", "shape": [2], "min": -1, "max": 1},
]


def product(features: list[Any], stored: str = "ranker") -> ProductSchema:
    return ProductSchema.model_validate({"features": features, "format": stored})


def test_stored_id_beyond_its_bounds_costs_its_own_product_alone() -> None:
    entity = product(PLAIN)
    values = Encoder(entity, 7).encode(np.array([[1, 499], [2, 500], [3, 0], [4, 1]], np.float32))
    rows = decoder_for(entity, 7).decode([*values, None])
    assert rows.statuses.tolist() == [FOUND, CORRUPT, CORRUPT, FOUND, MISSING]
    assert not rows.complete
    with pytest.raises(CorruptVector, match="of item_id, 500 is beyond 1 to 499"):
        decoder_for(entity, 7).decode_one(values[1])


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ([1 << 40, [9, 19], [5], [1.0, -1.0]], None),
        ([0, [0, 0], [], [0, 0]], None),
        ([(1 << 40) + 1, [0, 0], [], [0, 0]], "of id, 1099511627777 is beyond -9223372036854775808 to 1099511627776"),
        ([0, [9, 20], [], [0, 0]], "of ids, 20 is beyond"),
        ([0, [10, 0], [], [0, 0]], "of ids, 10 is beyond"),
        ([0, [0, 0], [1, 6], [0, 0]], "of viewed, 6 is beyond 1 to 5"),
        ([0, [0, 0], [0], [0, 0]], "of viewed, 0 is beyond 1 to 5"),
        ([0, [0, 0], [], [0, 1.5]], "of taste, 1.5 is beyond -1 to 1"),
    ],
)
def test_typed_value_beyond_its_bounds_is_named(row: list[Any], said: str | None) -> None:
    decoder = decoder_for(product(TYPED, "msgpack"), 7)
    stored = msgpack.packb(row)
    assert decoder.decode([stored, stored]).complete == (said is None)
    if said is not None:
        with pytest.raises(CorruptVector, match=said):
            decoder.decode_one(stored)


def test_nan_is_within_all_bounds() -> None:
    entity = product([{"name": "a", "missing": "nan", "max": 5}])
    rows = decoder_for(entity, 7).decode(Encoder(entity, 7).encode(np.array([[np.nan], [6]], np.float32)))
    assert rows.statuses.tolist() == [FOUND, CORRUPT]


def test_file_and_frame_with_a_value_beyond_are_refused_with_the_row() -> None:
    entity = product(PLAIN)
    block = Block(np.array([1, 2]), ["a", "b"], np.array([[1.0, 499], [1, 500]]))
    good, _, faults = block.validate(Columns.of(entity, "id", allow_rounding=False))
    assert good.tolist() == [0]
    assert faults[1] == ("a value is beyond its bounds (500 is beyond 1 to 499)", "item_id")
    with pytest.raises(InvalidRows, match="row 1: of item_id, 500 is beyond 1 to 499"):
        check_rows(["a", "b"], [[1, 2], [1, 500]], entity)


def test_request_with_a_value_beyond_is_refused_by_name() -> None:
    schema = FeatureSchema.from_mapping(
        {
            "user": {"features": ["age"]},
            "product": {"features": ["price"]},
            "context": {"features": [{"name": "store", "type": "int64", "max": 3}]},
            "productContext": {"features": ["boost", {"name": "slot", "min": 0, "max": 9}]},
        }
    )
    reader = ContextReader(schema)
    assert reader.read({"store": 3}, {"slot": [0, 9]}, "", 2) is not None
    with pytest.raises(InvalidRequest, match=r"context\.store: 4 is beyond"):
        reader.read({"store": 4}, {}, "", 2)
    with pytest.raises(InvalidRequest, match=r"productContext\.slot\.1: 10 is beyond 0 to 9"):
        reader.read({"store": 1}, {"slot": [0, 10]}, "", 2)


@pytest.mark.parametrize(
    ("feature", "said"),
    [
        ({"min": 1}, "the default of a is beyond its `min` and `max`: 0 is beyond 1 to inf"),
        ({"type": "bool", "max": 1}, "`min` and `max` are those of numbers"),
        ({"shape": [2], "max": [1, 2, 3]}, "`min` and `max` of a have another shape than its values"),
        ({"shape": [2], "max": [[1, 2]]}, "`min` and `max` of a have another shape than its values"),
        ({"max": [1]}, "`min` and `max` of a have another shape than its values"),
    ],
)
def test_bounds_that_make_no_sense_are_refused(feature: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidSchema, match=said):
        FeatureSchema.from_mapping({"user": {"features": ["age"]}, "product": {"features": [{"name": "a", **feature}]}})


def test_bounds_change_no_fingerprint_and_survive_metadata() -> None:
    given = {"user": {"features": ["age"]}, "product": {"features": [*PLAIN, *TYPED]}}
    schema = FeatureSchema.from_mapping(given)
    copy = FeatureSchema.from_mapping(schema.to_metadata())
    assert copy == schema
    stripped = [
        {key: value for key, value in f.items() if key not in ("min", "max")} if isinstance(f, dict) else f
        for f in given["product"]["features"]
    ]
    without = FeatureSchema.from_mapping(given | {"product": {"features": stripped}})
    assert without.fingerprint == schema.fingerprint
    assert not without.product.bounds


def test_drawn_values_are_within_their_bounds() -> None:
    entity = product([*PLAIN, *TYPED, {"name": "small", "type": "int64", "min": 3, "max": 5, "default": 4}])
    rows = np.hstack([draw(feature, 200, np.random.default_rng(0)) for feature in entity.features])
    assert not entity.bounds.find_beyond(rows).any()


@pytest.mark.parametrize(
    ("said", "least", "largest", "dtype"),
    [
        ({"type": "int64", "min": 0}, [0], [(1 << 63) - 1], np.int64),
        ({"type": "int32", "max": 7}, [-(1 << 63)], [7], np.int64),
        ({"max": 5}, [-np.inf], [5], np.float64),
        ({"min": 5, "default": 5}, [5], [np.inf], np.float64),
        ({"shape": [2], "min": -1, "max": [1, 2]}, [-1, -1], [1, 2], np.float64),
        ({"length": 2, "max": 1}, [-np.inf] * 2, [1, 1], np.float64),
    ],
)
def test_bound_that_is_not_said_is_the_types_own_end(
    said: dict[str, Any], least: list[float], largest: list[float], dtype: type
) -> None:
    limits = limits_of(Feature(name="a", **said))
    assert limits is not None
    assert [one.tolist() for one in limits] == [least, largest]
    assert {one.dtype for one in limits} == {np.dtype(dtype)}


def test_rows_of_typed_features_are_told_apart_and_padding_has_no_bounds() -> None:
    entity = product(
        [
            {"name": "id", "type": "int64", "max": 9},
            {"name": "ratings", "length": 3, "min": 1, "max": 5},
            {"name": "pairs", "length": 2, "shape": [2], "min": 1, "max": 5},
        ],
        "msgpack",
    )
    rows = [
        [1, [1, 5], [[1, 2]]],
        [10, [], []],
        [1, [1, 6], []],
        [1, [0.5], []],
        [1, [], [[1, 2], [1, 0]]],
        [1, [], []],
    ]
    decoded = decoder_for(entity, 7).decode([msgpack.packb(row) for row in rows])
    assert decoded.statuses.tolist() == [FOUND, CORRUPT, CORRUPT, CORRUPT, CORRUPT, FOUND]
    assert decoded.values[0].tolist() == [1, 0, 0, 2, 1, 5, 0, 1, 1, 2, 0, 0]


def test_rows_that_were_not_found_are_looked_at_without_a_warning_whatever_they_hold() -> None:
    entity = product(TYPED)
    for anything in (np.nan, np.inf, -np.inf, 1e30):
        assert len(entity.bounds.find_beyond(np.full((2, entity.width), anything, np.float32))) == 2
