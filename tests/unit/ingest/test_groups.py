"""Groups under keys of their own, written and looked at by the tools."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from redis import Redis

from ranker import FeatureWriter
from ranker.cli.features.group import features
from ranker.errors import InvalidRows, UnknownGroup
from ranker.vectors.schema import FeatureSchema
from tests.support.groups import DATA, SCHEMA, fill


@pytest.fixture
def project(tmp_path: Path, redis_url: str, redis_client: Redis, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RANKER_REDIS_URL", redis_url)
    strings = {name: group for name, group in DATA["groups"].items() if name != "stock"}
    (tmp_path / "schema.yaml").write_text(yaml.safe_dump(DATA | {"groups": strings}, sort_keys=False))
    fill(redis_client, redis_url)
    return tmp_path


def call(*arguments: str) -> Result:
    return CliRunner().invoke(features, [*arguments, "--model", "schema.yaml"])


def load_sellers(project: Path, **more: Any) -> Result:
    rows = [{"id": 7, "rating": 3.5, "tier": "b"}, {"id": 8, "rating": 2.5, "tier": "a"}]
    (project / "sellers.jsonl").write_text("".join(json.dumps(row | more) + "\n" for row in rows))
    return call("load", "sellers.jsonl", "--group", "seller")


def test_group_is_loaded_inspected_and_verified_by_its_name(project: Path, redis_client: Redis) -> None:
    assert load_sellers(project).exit_code == 0
    stored = redis_client.get("seller:7")
    assert isinstance(stored, bytes)
    assert stored[:3] == b"RV\x02"  # tier is a category
    assert int.from_bytes(stored[4:8], "little") == SCHEMA.fingerprint_of(SCHEMA.keyed["seller"])
    shown = call("inspect", "7", "--group", "seller", "--json")
    assert shown.exit_code == 0, shown.output
    assert '"rating": 3.5' in shown.output
    verified = call("verify", "--group", "seller")
    assert verified.exit_code == 0, verified.output
    assert "seller load" in verified.output


def test_row_of_a_group_that_cannot_be_loaded_is_told(project: Path) -> None:
    refused = load_sellers(project, tier="z")
    assert refused.exit_code == 1
    assert "'z' is not in the vocabulary" in refused.output


def test_keys_of_a_group_are_not_taken_for_users(project: Path) -> None:
    """`user:live:u` begins as users' keys do, and is no vector of a user."""
    verified = call("verify", "--entity", "user")
    assert verified.exit_code == 0, verified.output
    assert "1 looked at, all usable" in verified.output


def test_group_is_migrated_from_json(project: Path, redis_client: Redis) -> None:
    redis_client.set("user:live:v", b"[3, 4]")
    redis_client.set("user:w", b'[3, "vip"]')
    done = call("migrate", "--group", "user_live")
    assert done.exit_code == 0, done.output
    migrated, other = redis_client.get("user:live:v"), redis_client.get("user:w")
    assert isinstance(migrated, bytes)
    assert migrated[:2] == b"RV"
    assert other == b'[3, "vip"]'
    assert call("migrate", "--entity", "user").exit_code == 0
    assert redis_client.get("user:live:v") == migrated


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--group", "sellers"], "The schema has no group sellers: its groups are user_live, seller, affinity, shop"),
        ([], "Give --entity user, --entity product, or --group with the name of a group."),
        (["--group", "seller", "--entity", "user"], "Give either --entity or --group."),
    ],
)
def test_group_that_is_not_there_is_told_with_those_that_are(project: Path, options: list[str], told: str) -> None:
    (project / "rows.jsonl").write_text("{}\n")
    refused = call("load", "rows.jsonl", *options)
    assert refused.exit_code != 0
    assert told in " ".join((refused.output + str(refused.exception)).split())


def test_writer_knows_no_other_group(redis_url: str) -> None:
    with FeatureWriter(redis_url, SCHEMA) as writer, pytest.raises(UnknownGroup, match="no group sellers"):
        writer.write_group("sellers", ["7"], [[1.0]])


KEYED = FeatureSchema.from_mapping(
    {
        "user": {"features": ["age"]},
        "product": {
            "features": [{"name": "seller", "type": "int64"}, {"name": "kind", "type": "text", "length": 5}, "price"]
        },
        "context": {"features": [{"name": "shop", "type": "category", "vocabulary": ["berlin"]}]},
        "groups": {
            "seller": {"per": "product", "key": "seller:{product.seller}", "features": ["rating"]},
            "kinds": {"per": "product", "key": "kind:{userId}:{product.kind}:{product.seller}", "features": ["ctr"]},
            "beside": {"per": "product", "key": "beside:{product.seller}{product.kind}", "features": ["ctr"]},
            "shop": {"per": "user", "key": "shop:{context.shop}", "features": ["open"]},
        },
    }
)
LOST = [
    *(("seller", text) for text in ("007", "+7", "7.0", "x", "-", " 7", "-0", "\u0667", "9223372036854775808")),
    *(("kinds", text) for text in ("u", "u:shoe", ":shoe:7", "u::7", "u:shoe:", "u:shoes!:7", "u:shoe:x")),
    *(("beside", text) for text in ("shoe", "7", "7shoes!")),
]
KEPT = [
    ("seller", "-7"),
    ("seller", "9223372036854775807"),
    ("kinds", "u:shoe:7"),
    ("kinds", "a:b:shoe:7"),
    ("kinds", "u:a:b:7"),
    ("beside", "77"),
    ("beside", "7shoe"),
    ("shop", "rome"),  # of another model's vocabulary
]


@pytest.mark.parametrize(("group", "identifier"), LOST)
def test_id_that_makes_no_key_of_its_group_is_refused(
    project: Path, redis_url: str, redis_client: Redis, group: str, identifier: str
) -> None:
    (project / "keyed.yaml").write_text(
        yaml.safe_dump(KEYED.model_dump(by_alias=True, exclude_unset=True, mode="json"))
    )
    (project / "rows.jsonl").write_text(json.dumps({"id": identifier, **dict.fromkeys(KEYED.keyed[group].names, 1)}))
    before = redis_client.dbsize()
    result = CliRunner().invoke(features, ["load", "rows.jsonl", "--group", group, "--model", "keyed.yaml"])
    assert result.exit_code == 1, result.output
    assert f"the id makes no key that a request asks for ({KEYED.keyed[group].key})" in result.output
    with FeatureWriter(redis_url, KEYED) as writer, pytest.raises(InvalidRows, match="makes no key"):
        writer.write_group(group, [identifier], [[1]])
    assert redis_client.dbsize() == before


@pytest.mark.parametrize(("group", "identifier"), KEPT)
def test_id_that_may_make_a_key_of_its_group_is_written(
    redis_url: str, redis_client: Redis, group: str, identifier: str
) -> None:
    with FeatureWriter(redis_url, KEYED) as writer:
        writer.write_group(group, [identifier], [[1]])
    assert redis_client.exists(KEYED.keyed[group].template.before + identifier)
