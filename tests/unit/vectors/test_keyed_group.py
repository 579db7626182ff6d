"""Groups under keys of their own in a schema: what each mistake is told, and what leaves other schemas as they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ranker.errors import InvalidSchema
from ranker.vectors.group import EntitySchema
from ranker.vectors.keyed_group import KeyedGroup
from ranker.vectors.keys.template import KeyTemplate, Place
from ranker.vectors.schema import FeatureSchema
from ranker.vectors.schema_file import read_schema
from tests.support.groups import DATA, SCHEMA

SELLER = DATA["groups"]["seller"]


def with_group(**said: Any) -> dict[str, Any]:
    group = {name: value for name, value in (SELLER | said).items() if value is not None}
    return DATA | {"groups": {"seller": group}}


def test_columns_of_a_request_stand_before_those_of_its_products() -> None:
    assert list(SCHEMA.groups) == [
        "user",
        "product",
        "context",
        "user_live",
        "shop",
        "productContext",
        "seller",
        "affinity",
        "stock",
    ]
    assert SCHEMA.request_side == {"user", "context", "user_live", "shop"}
    assert SCHEMA.once_width == 3 + 1 + 2 + 1
    ends = [SCHEMA.columns_of(name)[-1][1].stop for name in SCHEMA.groups]
    assert ends == sorted(ends)
    assert ends[-1] == SCHEMA.width


def test_groups_come_back_from_a_models_metadata() -> None:
    data = SCHEMA.to_metadata()
    assert FeatureSchema.from_mapping(data) == SCHEMA
    assert data["groups"]["user_live"] == {
        "per": "user",
        "key": "user:live:{userId}",
        "ttl_s": 30.0,
        "features": [{"name": "clicks_1h", "default": 0.0}, {"name": "carts_1h", "default": 0.0}],
    }


def test_groups_leave_the_fingerprint_of_users_and_products_as_it_was() -> None:
    without = FeatureSchema.from_mapping({name: part for name, part in DATA.items() if name != "groups"})
    assert SCHEMA.fingerprint == without.fingerprint
    assert "groups" not in without.to_metadata()
    prints = {name: SCHEMA.fingerprint_of(entity) for name, entity in SCHEMA.entities.items()}
    assert prints.pop("user") == prints.pop("product") == SCHEMA.fingerprint
    assert len({*prints.values(), SCHEMA.fingerprint}) == len(prints) + 1
    alone = SCHEMA.keyed["seller"].model_copy(update={"key": "s:{productId}"})
    assert SCHEMA.fingerprint_of(alone) == prints["seller"]


def test_id_is_what_stands_between_the_first_value_and_the_last() -> None:
    template = KeyTemplate.parse("aff:{userId}:{product.category}:v1")
    assert (template.before, template.after) == ("aff:", ":v1")
    assert template.ids([["u", "u", None], ["a", None, "b"]], 3) == ["u:a", None, None]
    assert KeyTemplate.parse("{userId}{context.store}").ids([["u"], ["s"]], 1) == ["us"]
    alone = KeyTemplate.parse("seller:{product.seller}")
    assert (alone.before, alone.between, alone.after) == ("seller:", (), "")
    assert alone.ids([["a", None, "b"]], 3) == ["a", None, "b"]
    three = KeyTemplate.parse("{userId}/{context.a}{context.b}-{productId}")
    assert three.ids([["u", "u"], ["a", "a"], ["b", "c"], ["1", "2"]], 2) == ["u/ab-1", "u/ac-2"]


@pytest.mark.parametrize(
    ("key", "is_late", "of_product"),
    [
        ("a:{userId}", False, [False]),
        ("a:{context.x}:{productId}", False, [False, True]),
        ("a:{userId}:{product.x}", True, [False, True]),
        ("a:{user.x}:{context.y}", True, [False, False]),
        ("{product.x}{user.y}", True, [True, False]),
    ],
)
def test_key_with_a_stored_value_in_it_is_known_late(key: str, is_late: bool, of_product: list[bool]) -> None:
    template = KeyTemplate.parse(key)
    assert template.is_asked_late is is_late
    assert [place.is_of_product for place in template.places] == of_product
    assert "".join(map(str, template.places)) in key.replace(":", "")


@pytest.mark.parametrize("key", ["a:{}", "a:{userId}}", "a:{{userId}", "a}:{userId}", "a:{userId}{", "a:"])
def test_braces_that_hold_no_value_are_refused(key: str) -> None:
    with pytest.raises(ValueError, match="the key of a group"):
        KeyTemplate.parse(key)


def test_name_of_a_feature_may_hold_anything_but_braces() -> None:
    assert KeyTemplate.parse("a:{context.b.c\nd}").places == (Place("context", "b.c\nd"),)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"key": "seller:"}, "the key of a group names at least one value in braces"),
        ({"key": "seller:{product.seller_id"}, "the key of a group names at least one value in braces"),
        ({"key": "seller:{id}"}, "say {userId} or {productId}"),
        ({"key": "seller:{seller_id}"}, "{seller_id} is no value that the key of a group can have: it has {userId}"),
        ({"key": "x:{user_live.clicks_1h}"}, "is no value that the key of a group can have"),
        ({"key": "x:{productContext.position}"}, "is no value that the key of a group can have"),
        ({"key": "seller:{product.seller}"}, "{product.seller} is no feature of `product`: name one of its features"),
        ({"key": "x:{productId}:{product.seller}"}, "{product.seller} is no feature of `product`"),
        ({"key": "x:{context.hour}:{productId}"}, "{context.hour} is float32, which is not written in one way"),
        ({"key": "seller:{product.price}"}, "give price `type: int64`, `type: text` with a length"),
        ({"key": "x:{context.hour}", "per": "user"}, "give hour `type: int64`"),
        ({"key": None}, "groups.seller.key: it is missing"),
        ({"per": None}, "groups.seller.per: it is missing"),
        ({"per": "user"}, "differs between the products of a request: say `per: product`"),
        ({"key": "x:{userId}"}, "the same for all products of a request: say `per: user`"),
        ({"ttl_s": -1}, "greater than or equal to 0"),
        ({"ttl": 30}, "groups.seller.ttl: there is no such field here: did you mean `ttl_s`"),
        ({"format": "float32"}, "`format: float32` has floats alone, and tier is category"),
        ({"key": "user:{userId}", "per": "user"}, "may be those of user, user:{id}, and a key holds one vector"),
    ],
)
def test_each_mistake_is_one_sentence_with_its_remedy(tmp_path: Path, said: dict[str, Any], told: str) -> None:
    path = tmp_path / "schema.yaml"
    path.write_text(yaml.safe_dump(with_group(**said)))
    with pytest.raises(InvalidSchema) as caught:
        read_schema(path)
    assert told in str(caught.value)
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize(
    ("groups", "told"),
    [
        ({"user": SELLER}, "user is a group that every schema may have: give this one another name"),
        ({"my-group": SELLER}, "'my-group' is no name of a group: letters, digits and _"),
        ({1: SELLER}, "put quotes round each key"),
        ([SELLER], "groups have names: write `groups: {NAME:"),
    ],
)
def test_name_that_no_group_can_have_is_refused(groups: Any, told: str) -> None:
    with pytest.raises(InvalidSchema) as caught:
        FeatureSchema.from_mapping(DATA | {"groups": groups})
    assert told in str(caught.value)


def test_two_groups_may_read_the_same_vectors_and_hashes_by_name(tmp_path: Path) -> None:
    path = tmp_path / "schema.yaml"
    own = SELLER | {"key": "seller:{context.store}", "per": "user"}
    hashed = {"per": "user", "key": "user:{userId}", "format": "hash", "features": ["clicks"]}
    user = DATA["user"] | {"format": "hash"}
    path.write_text(yaml.safe_dump(DATA | {"user": user, "groups": {"seller": SELLER, "own": own, "live": hashed}}))
    assert set(read_schema(path).keyed) == {"seller", "own", "live"}


def test_vocabulary_of_a_group_is_read_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "tiers.txt").write_text("a\nb\n")
    tier = {"name": "tier", "type": "category", "vocabulary": "tiers.txt"}
    path = tmp_path / "schema.yaml"
    path.write_text(yaml.safe_dump(with_group(features=[tier])))
    assert read_schema(path).keyed["seller"].features[0].vocabulary == ("a", "b")


def test_two_models_with_other_features_under_a_groups_keys_are_not_served_together() -> None:
    other = FeatureSchema.from_mapping(with_group(features=["rating"]))
    told = SCHEMA.shared_keys(other)
    assert told is not None
    assert "it reads other seller features under the same keys seller:{product.seller_id}" in told
    assert SCHEMA.shared_keys(SCHEMA) is None
    assert all(isinstance(entity, EntitySchema) for entity in SCHEMA.entities.values())


@pytest.mark.parametrize(
    ("user", "store", "entity_id"),
    [
        ("u", "s", "u,store=s"),
        ("a,store=b", "c", None),
        ("a", "b,store=c", None),
        ("u", "a,b", "u,store=a,b"),
    ],
)
def test_values_whose_id_would_be_split_otherwise_have_none(user: str, store: str, entity_id: str | None) -> None:
    view = {"project": "p", "view": "v", "join_keys": {"user": "string", "store": "string"}}
    said = {"per": "user", "format": "feast", "feast": view, "key": "user={userId},store={context.store}"}
    group = KeyedGroup.model_validate(said | {"features": ["clicks"]})
    assert group.joined_id((store, user)) == entity_id  # in the order of the names
    if entity_id is not None:
        assert group.join_values(entity_id) == (store, user)


@pytest.mark.parametrize(
    ("name", "is_one"), [("Seller_2", True), ("_s", True), ("é", False), ("aé", False), ("2s", False), ("a-b", False)]
)
def test_group_is_named_with_ascii_letters(name: str, is_one: bool) -> None:
    named = DATA | {"groups": {name: SELLER}}
    if is_one:
        assert name in FeatureSchema.from_mapping(named).keyed
    else:
        with pytest.raises(InvalidSchema, match="is no name of a group: letters, digits and _, no digit first"):
            FeatureSchema.from_mapping(named)


def test_key_of_a_context_that_the_schema_lacks_is_refused() -> None:
    lacking = {name: part for name, part in DATA.items() if name not in ("context", "groups")}
    group = SELLER | {"key": "shop:{context.store}", "per": "user"}
    with pytest.raises(InvalidSchema, match=r"groups\.shop\.key: \{context\.store\} is no feature of `context`"):
        FeatureSchema.from_mapping(lacking | {"groups": {"shop": group}})
