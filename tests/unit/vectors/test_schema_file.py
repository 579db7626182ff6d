"""What a schema.yaml of today may not leave open, and that the line which each refusal names answers it."""

import json
import math
import os
import re
from pathlib import Path

import numpy as np
import pytest

from ranker.errors import InvalidSchema
from ranker.vectors.schema import FeatureSchema
from ranker.vectors.schema_file import read_schema

PRODUCT = "product: {features: [price]}\n"


def read(folder: Path, text: str) -> FeatureSchema:
    path = folder / "schema.yaml"
    path.write_text(text)
    return read_schema(path)


@pytest.mark.parametrize("nan", [".nan", ".NaN", "nan"])
@pytest.mark.parametrize("group", ["user", "context", "productContext"])
def test_a_nan_default_is_refused_with_the_line_that_says_it(tmp_path: Path, group: str, nan: str) -> None:
    rest = PRODUCT if group == "user" else PRODUCT + "user: {features: [u]}\n"
    with pytest.raises(InvalidSchema, match=rf"{group}\.features\.1: .*\{{name: age, missing: nan\}} instead"):
        read(tmp_path, f"{rest}{group}: {{features: [id, {{name: age, default: {nan}}}]}}")
    schema = read(tmp_path, f"{rest}{group}: {{features: [id, {{name: age, missing: nan}}]}}")
    assert np.isnan(schema.groups[group].defaults).tolist() == [False, True]


@pytest.mark.parametrize("default", [".inf", "-.inf", "1.0e+300", "-3.5e+38"])
def test_a_default_beyond_float32_is_refused(tmp_path: Path, default: str) -> None:
    with pytest.raises(InvalidSchema, match=r"user\.features\.0: the default .* beyond float32: give a finite one"):
        read(tmp_path, f"user: {{features: [{{name: age, default: {default}}}]}}\n{PRODUCT}")


@pytest.mark.parametrize("key", ["{id}", "e:{id}"])
def test_one_key_for_users_and_products_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(InvalidSchema, match="a user and a product of the same id would be one key"):
        read(tmp_path, f'user: {{key: "{key}", features: [age]}}\nproduct: {{key: "{key}", features: [price]}}')


def test_a_key_that_stands_twice_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(InvalidSchema, match=r"the key features stands twice .*line 4"):
        read(tmp_path, f"{PRODUCT}user:\n  features: [age]\n  features: [income]\n")


@pytest.mark.parametrize("text", ["[" * 5000, "{a: " * 5000, "- " * 5000 + "x"], ids=["lists", "mappings", "blocks"])
def test_a_schema_nested_5000_deep_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidSchema, match="nested deeper than any schema"):
        read(tmp_path, text)


def test_a_date_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSchema, match=r"is not valid YAML: .*month must be in 1\.\.12\): put quotes"):
        read(tmp_path, f"user: {{features: [2024-13-45]}}\n{PRODUCT}")


UNQUOTED = [
    *((word, "on, yes and true as a boolean") for word in ("on", "yes", "True", "ON")),
    *((word, "off, no and false as a boolean") for word in ("off", "no", "false", "No")),
    ("1", "it as the number 1"),
    ("010", "it as the number 8"),
    ("1_000", "it as the number 1000"),
    ("1:30", "it as the number 90"),
    ("1.50", "it as the number 1.5"),
    (".inf", "it as the number inf"),
    ("2024-01-31", "it as the date 2024-01-31"),
    ("2024-01-31 10:00:00", "it as the date 2024-01-31 10:00:00"),
    ("null", "null, ~ and nothing at all as no value"),
    ("~", "null, ~ and nothing at all as no value"),
]


@pytest.mark.parametrize(("word", "reading"), UNQUOTED)
@pytest.mark.parametrize("group", ["user", "product", "context", "productContext"])
@pytest.mark.parametrize("feature", ["WORD", "{name: WORD}"])
def test_a_name_that_is_no_text_to_yaml_is_refused_and_taken_in_quotes(
    tmp_path: Path, word: str, reading: str, group: str, feature: str
) -> None:
    groups = {"user": "u", "product": "p"} | {group: f"a, {feature}"}
    text = "".join(f"{name}: {{features: [{features}]}}\n" for name, features in groups.items())
    refusal = rf"{group}\.features\.1\.name: .*put quotes round it, for YAML reads {re.escape(reading)}$"
    with pytest.raises(InvalidSchema, match=refusal):
        read(tmp_path, text.replace("WORD", word))
    assert read(tmp_path, text.replace("WORD", f'"{word}"')).groups[group].names == ("a", word)


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("context.features.0.categories", "context: {features: [{name: c, default: 0, categories: {WORD: 1}}]}"),
        ("context.features.0.prefixes", "context: {features: [{name: c, default: 0, prefixes: {WORD: 1}}]}"),
        ("inputs", "inputs: {WORD: user}"),
    ],
)
@pytest.mark.parametrize(("word", "reading"), UNQUOTED)
def test_a_key_that_is_no_text_to_yaml_is_refused_and_taken_in_quotes(
    tmp_path: Path, place: str, text: str, word: str, reading: str
) -> None:
    text = f"user: {{features: [u]}}\n{PRODUCT}{text}\n"
    refusal = rf"{re.escape(place)}: .*quotes round each key, for YAML reads {re.escape(reading)}$"
    with pytest.raises(InvalidSchema, match=refusal):
        read(tmp_path, text.replace("WORD", word))
    read(tmp_path, text.replace("WORD", f'"{word}"'))


@pytest.mark.parametrize("endless", ["fifo", "/dev/zero"])
def test_what_may_have_no_end_is_refused(tmp_path: Path, endless: str) -> None:
    path = Path(endless)
    if endless == "fifo":
        path = tmp_path / "schema.yaml"
        os.mkfifo(path)
    with pytest.raises(InvalidSchema, match="a pipe or a device, which may have no end; copy it to a file"):
        read_schema(path)


def test_missing_nan_of_a_group_is_for_features_that_say_nothing_else(tmp_path: Path) -> None:
    features = "[a, {name: b, default: 5}, {name: c, missing: default}, {name: d, missing: nan}]"
    schema = read(tmp_path, f"user: {{missing: nan, format: hash, features: {features}}}\n{PRODUCT}")
    assert [f.missing for f in schema.user.features] == ["nan", None, "default", "nan"]
    assert [f.may_lack for f in schema.user.features] == [True, True, True, True]
    np.testing.assert_array_equal(schema.user.defaults, np.float32([math.nan, 5, 0, math.nan]))


def test_missing_nan_comes_back_from_metadata_that_json_can_hold(tmp_path: Path) -> None:
    schema = read(tmp_path, f"user: {{missing: nan, features: [a, {{name: b, default: 5}}]}}\n{PRODUCT}")
    metadata = schema.to_metadata()
    copy = FeatureSchema.from_mapping(json.loads(json.dumps(metadata, allow_nan=False)))
    assert copy.to_metadata() == metadata
    np.testing.assert_array_equal(copy.user.defaults, schema.user.defaults)
    assert copy.fingerprint == read(tmp_path, f"user: {{features: [a, b]}}\n{PRODUCT}").fingerprint


@pytest.mark.parametrize(
    ("user", "said"),
    [
        ("{features: [{name: a, missing: nan, default: 5}]}", "`missing: nan` and `default: 5` contradict each other"),
        ("{missing: zero, features: [a]}", r"user\.missing: write 'default', 'nan' or 'refuse', not 'zero'"),
    ],
)
def test_a_missing_that_says_nothing_or_two_things_is_refused(tmp_path: Path, user: str, said: str) -> None:
    with pytest.raises(InvalidSchema, match=said):
        read(tmp_path, f"user: {user}\n{PRODUCT}")


def test_a_model_stored_with_nan_defaults_or_one_key_keeps_its_meaning() -> None:
    stored = {
        "user": {"key": "{id}", "features": [{"name": "a", "default": math.nan}]},
        "product": {"key": "{id}", "features": [{"name": "b", "default": 0.0}]},
    }
    schema = FeatureSchema.from_mapping(stored)
    assert math.isnan(schema.user.features[0].default)
    assert json.dumps(schema.to_metadata(), sort_keys=True) == json.dumps(stored, sort_keys=True)


BRAND = "product: {features: [{name: brand, type: category, vocabulary: brands.txt}]}"


def test_vocabulary_is_read_from_a_file_beside_the_schema(tmp_path: Path) -> None:
    (tmp_path / "brands.txt").write_text("nike\nadidas\ngrün\n")
    schema = read(tmp_path, f"user: {{features: [age]}}\n{BRAND}")
    assert schema.product.features[0].vocabulary == ("nike", "adidas", "grün")


def test_vocabulary_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidSchema, match=r"the vocabulary .*brands.txt cannot be read: No such file"):
        read(tmp_path, f"user: {{features: [age]}}\n{BRAND}")
    (tmp_path / "brands.txt").write_bytes(b"\xff")
    with pytest.raises(InvalidSchema, match=r"the vocabulary .*brands.txt is not written in UTF-8"):
        read(tmp_path, f"user: {{features: [age]}}\n{BRAND}")


def test_older_schema_is_read_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "before.yaml").write_text(f"user: {{missing: nan, format: hash, features: [age]}}\n{PRODUCT}")
    before = read_schema(tmp_path / "before.yaml")
    schema = read(tmp_path, f"user: {{features: [age, {{name: b, default: 2}}]}}\n{PRODUCT}\nolder: [before.yaml]")
    (older,) = schema.older_vectors("user")
    assert (older.fingerprint, older.group.names) == (before.fingerprint, ("age",))


def test_older_schema_may_stand_in_the_file(tmp_path: Path) -> None:
    older = "older: [{user: {features: [{name: age, default: 7}]}}]"
    schema = read(tmp_path, f"user: {{features: [age, {{name: b, missing: nan}}]}}\n{PRODUCT}\n{older}")
    assert [one.group.names for one in schema.older_vectors("user")] == [("age",)]


def test_what_older_vectors_lack_needs_a_stand_in(tmp_path: Path) -> None:
    with pytest.raises(InvalidSchema, match=r"user\.b is in no vector of an `older` schema: say what stands in"):
        read(tmp_path, f"user: {{features: [age, b]}}\n{PRODUCT}\nolder: [{{user: {{features: [age]}}}}]")


def test_vocabulary_of_an_older_schema_that_stands_in_the_file_is_read_from_beside_it(tmp_path: Path) -> None:
    (tmp_path / "brands.txt").write_text("nike\nadidas\n")
    brand = "{name: brand, type: category, vocabulary: brands.txt}"
    schema = read(tmp_path, f"product: {{features: [{brand}, b]}}\nolder: [{{product: {{features: [{brand}, b, c]}}}}]")
    (older,) = schema.older_vectors("product")
    assert older.group.features[0].vocabulary == ("nike", "adidas")


def test_line_and_column_of_what_is_no_yaml_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidSchema) as refused:
        read(tmp_path, "product: {features: [price}\n")
    said = str(refused.value)
    assert "is not valid YAML: while parsing a flow sequence in line 1, column 21: product" in said
    assert "expected ',' or ']', but got '}' in line 1, column 27: product" in said


@pytest.mark.parametrize("node", ["!!map x", "!!map [a]"])
def test_what_is_called_a_mapping_and_is_none_is_refused(tmp_path: Path, node: str) -> None:
    with pytest.raises(InvalidSchema, match="is not valid YAML: expected a mapping node, but found"):
        read(tmp_path, f"product: {node}\n")


def test_older_schema_without_features_is_refused_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(InvalidSchema, match=r"older\.0\.product\.features: it must not be empty"):
        read(tmp_path, f"{PRODUCT}older: [{{product: {{missing: nan}}}}]")


def test_older_schema_in_the_file_comes_back_from_metadata(tmp_path: Path) -> None:
    older = "older: [{product: {features: [{name: price, default: 7, missing: default}]}}]"
    schema = read(tmp_path, f"product: {{features: [price, {{name: b, missing: nan}}]}}\n{older}")
    assert FeatureSchema.from_mapping(schema.to_metadata()).older == schema.older


def test_what_older_vectors_of_products_lack_is_named_as_theirs(tmp_path: Path) -> None:
    with pytest.raises(InvalidSchema, match=r"product\.b is in no vector of an `older` schema"):
        read(tmp_path, "product: {features: [price, b]}\nolder: [{product: {features: [price]}}]")


def test_largest_float32_may_be_a_default(tmp_path: Path) -> None:
    largest = float(np.finfo(np.float32).max)
    for default in (largest, -largest):
        schema = read(tmp_path, f"product: {{features: [{{name: price, default: {default!r}}}]}}")
        assert schema.defaults.tolist() == [default]


USERS = "user: {features: [age]}\n"
SHOP = '{per: product, key: "shop:{productId}", features: [open]}'


@pytest.mark.parametrize("user", ["", USERS], ids=["no user", "user"])
@pytest.mark.parametrize(
    ("groups", "said"),
    [
        (
            '{a: {per: product, key: "product:{productId}", features: [x]}}',
            "groups.a: .* may be those of product, product:",
        ),
        (
            f'{{shop: {SHOP}, b: {{per: product, key: "shop:{{productId}}", features: [x]}}}}',
            "groups.b: .* of shop, shop:",
        ),
        (f"{{shop: {SHOP}, b: {SHOP}}}", None),
        (f"{{shop: {SHOP}}}", None),
    ],
)
def test_group_under_the_keys_of_another_is_refused_whether_there_are_users_or_not(
    tmp_path: Path, user: str, groups: str, said: str | None
) -> None:
    text = f"{user}{PRODUCT}groups: {groups}\n"
    if said is None:
        assert read(tmp_path, text).keyed
    else:
        with pytest.raises(InvalidSchema, match=said):
            read(tmp_path, text)
