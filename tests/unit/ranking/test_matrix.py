import numpy as np

from ranker.ranking.matrix import Assembler, GroupColumns
from ranker.vectors.rows import Features, Rows
from ranker.vectors.schema import FeatureSchema
from ranker.vectors.stored.decoding import RowDecoder
from ranker.vectors.stored.encoding import encode

SCHEMA = FeatureSchema.from_mapping(
    {
        "user": {"features": [{"name": "age", "default": 40}]},
        "product": {"features": ["price", {"name": "stock", "default": 7}]},
    }
)


def products(*values: bytes | None) -> Rows:
    return RowDecoder(2, SCHEMA.fingerprint).decode(values)


def user(age: float | None) -> Rows:
    values = [None] if age is None else encode([[age]], SCHEMA.fingerprint)
    return RowDecoder(1, SCHEMA.fingerprint).decode(values)


def test_row_is_user_then_product() -> None:
    matrix = Assembler(SCHEMA).matrix(Features(user(30), products(*encode([[1, 2], [3, 4]], SCHEMA.fingerprint))))
    assert matrix.tolist() == [[30, 1, 2], [30, 3, 4]]
    assert matrix.dtype == np.float32
    assert matrix.flags.c_contiguous


def test_missing_product_gets_default_row_and_neighbours_keep_theirs() -> None:
    stored = encode([[1, 2]], SCHEMA.fingerprint)[0]
    matrix = Assembler(SCHEMA).matrix(Features(user(30), products(None, stored, b"junk")))
    assert matrix.tolist() == [[30, 0, 7], [30, 1, 2], [30, 0, 7]]


def test_missing_user_gets_default_row() -> None:
    matrix = Assembler(SCHEMA).matrix(Features(user(None), Rows.missing(1, 2)))
    assert matrix.tolist() == [[40, 0, 7]]


def test_what_the_request_brings_follows_the_stored_features() -> None:
    schema = FeatureSchema.from_mapping(
        SCHEMA.to_metadata()
        | {"context": {"features": [{"name": "hour", "default": 12}]}, "productContext": {"features": ["price"]}}
    )
    features = Features(user(30), products(*encode([[1, 2], [3, 4]], SCHEMA.fingerprint)))
    context = np.array([[14, 8], [14, 9]], dtype=np.float32)
    matrix = Assembler(schema).matrix(features, context)
    assert matrix.tolist() == [[30, 1, 2, 14, 8], [30, 3, 4, 14, 9]]
    assert matrix.flags.c_contiguous
    assert Assembler(schema).matrix(features).tolist() == [[30, 1, 2, 12, 0], [30, 3, 4, 12, 0]]
    missing = Assembler(schema).matrix(Features(user(None), Rows.missing(2, 2)), context)
    assert missing.tolist() == [[40, 0, 7, 14, 8], [40, 0, 7, 14, 9]]


def test_rows_of_groups_stand_in_their_own_columns_alone() -> None:
    schema = FeatureSchema.from_mapping(
        SCHEMA.to_metadata()
        | {
            "context": {"features": [{"name": "hour", "default": 12}]},
            "groups": {
                "live": {
                    "per": "user",
                    "key": "live:{userId}",
                    "features": ["clicks", {"name": "carts", "default": 9}],
                },
                "seller": {
                    "per": "product",
                    "key": "seller:{productId}",
                    "features": [{"name": "rating", "default": 3}],
                },
            },
        }
    )
    features = Features(user(30), products(*encode([[1, 2], [3, 4]], SCHEMA.fingerprint)))
    assert GroupColumns(schema).fill(None, features) is None  # without groups there is nothing to do
    features.groups = {
        "live": Rows.known(np.array([[5, 6]], np.float32)),
        "seller": Rows(np.array([[4], [-1]], np.float32), np.array([0, 1], np.uint8), complete=False),
    }
    context = np.array([[14, 0, 0, 0], [14, 0, 0, 0]], np.float32)
    assert GroupColumns(schema).fill(context, features) is context
    assert context.tolist() == [[14, 5, 6, 4], [14, 5, 6, 3]]
    features.groups["live"] = Rows.missing(1, 2)
    filled = GroupColumns(schema).fill(None, features)
    assert filled is not None
    assert filled.tolist() == [[12, 0, 9, 4], [12, 0, 9, 3]]
