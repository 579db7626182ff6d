"""Schema file: reads a feature schema from YAML, and refuses what it leaves open.

Owns the file's errors, and what a schema that is written today may no longer say; what a schema is, `schema` says.
A model that was stored earlier keeps the meaning of its schema.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from ranker.errors import InvalidSchema
from ranker.vectors.bounded_file import read_bounded
from ranker.vectors.feature import LARGEST, Feature
from ranker.vectors.group import NAMED_FIELDS
from ranker.vectors.keyed_group import KeyedGroup
from ranker.vectors.older import SAID, find_additions
from ranker.vectors.schema import FeatureSchema
from ranker.vectors.side_information import unclear_sources

MAX_BYTES = 64 << 20
"""Bytes of the longest schema file: room for all the names that a schema may have."""


def read_schema(path: Path) -> FeatureSchema:
    """Read a schema.yaml.

    Raises:
        InvalidSchema: the file cannot be read, is no YAML, or describes no schema, or one that leaves open what is
            meant.
    """
    try:
        data = yaml.load(read_bounded(path, MAX_BYTES), _Loader)  # nosec B506 - it is a SafeLoader
        schema = FeatureSchema.from_mapping(_resolve(data, path.parent))
    except OSError as err:
        raise InvalidSchema([f"{path} cannot be read: {err.strerror}"]) from err
    except yaml.YAMLError as err:
        problem = " ".join(str(err).replace('in "<byte string>", ', "in ").split())
        raise InvalidSchema([f"{path} is not valid YAML: {problem}"]) from err
    except ValueError as err:
        problem = f"{path} is not valid YAML: what looks like a date or a number is none ({err}): put quotes round it"
        raise InvalidSchema([problem]) from err
    except RecursionError:
        raise InvalidSchema([f"{path} is nested deeper than any schema: a group holds features, and no more"]) from None
    if problems := list(_open_questions(schema)):
        raise InvalidSchema(problems)
    return schema


def _resolve(data: Any, folder: Path) -> Any:
    """Return what was parsed with the contents of the files that it names: vocabularies, and older schemas.

    Raises:
        InvalidSchema: such a file cannot be read, or is no schema.
        OSError: the same.
    """
    if not isinstance(data, dict):
        return data
    resolved = _with_vocabularies(data, folder)
    if isinstance(groups := data.get("groups"), dict):
        resolved["groups"] = _with_vocabularies(groups, folder)
    if isinstance(older := data.get("older"), list):
        resolved["older"] = [_older(one, folder) for one in older]
    return resolved


def _with_vocabularies(groups: dict[Any, Any], folder: Path) -> dict[Any, Any]:
    """Return groups by name, and whatever else stands beside them, with the vocabularies that files hold."""
    resolved = dict(groups)
    for name, group in groups.items():
        if isinstance(group, dict) and isinstance(group.get("features"), list):
            resolved[name] = {**group, "features": [_with_vocabulary(one, folder) for one in group["features"]]}
    return resolved


def _with_vocabulary(feature: Any, folder: Path) -> Any:
    """Return a feature with the texts of its vocabulary's file, one a line, in the order of their codes."""
    if not isinstance(feature, dict) or not isinstance(file := feature.get("vocabulary"), str):
        return feature
    try:
        texts = read_bounded(folder / file, MAX_BYTES).decode("utf-8-sig").splitlines()
    except OSError as err:
        raise InvalidSchema([f"the vocabulary {folder / file} cannot be read: {err.strerror}"]) from err
    except UnicodeDecodeError as err:
        raise InvalidSchema([f"the vocabulary {folder / file} is not written in UTF-8"]) from err
    return {**feature, "vocabulary": texts}


def _older(older: Any, folder: Path) -> Any:
    """Return an older schema's features: those that stand there, or in the file that is named."""
    if isinstance(older, str):
        older = read_schema(folder / older).to_metadata()
    elif isinstance(older, dict):
        older = _resolve(older, folder)
    else:
        return older
    groups = {name: older[name] for name in ("user", "product") if isinstance(older.get(name), dict)}
    return {
        name: {"features": [_stored_part(feature) for feature in group.get("features", ())]}
        for name, group in groups.items()
    }


def _stored_part(feature: Any) -> Any:
    return {name: feature[name] for name in SAID if name in feature} if isinstance(feature, dict) else feature


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice in a mapping; YAML forbids it, and PyYAML lets the last one win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        "while reading a mapping", node.start_mark, f"the key {key.value} stands twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _open_questions(schema: FeatureSchema) -> Iterator[str]:
    for name, group in schema.groups.items():
        for i, feature in enumerate(group.features):
            if question := _open_default(feature):
                yield f"{name}.features.{i}: {question}"
    for older in schema.older:
        for name, now, was in (("user", schema.user, older.user), ("product", schema.product, older.product)):
            for feature in find_additions(now, was) if was is not None else ():
                if not feature.may_lack:
                    yield (
                        f"{name}.{feature.name} is in no vector of an `older` schema: say what stands in there, "
                        "`default: 0` or `missing: nan`"
                    )
    if schema.has_user and schema.user.key == schema.product.key:
        yield (
            f"user and product have one key template, {schema.user.key}: a user and a product of the same id would be "
            'one key. Give each its own, such as key: "user:{id}" and key: "product:{id}"'
        )
    for source in unclear_sources(schema.described_groups, schema.inputs, schema.columns):
        yield (
            f"{source} is the name of a feature, and would be a history's side information without it: give one of "
            "them another name"
        )
    yield from _shared_keys(schema)


def _shared_keys(schema: FeatureSchema) -> Iterator[str]:
    """Say which groups have the keys of another one, where one value cannot be the vector of both."""
    entities = list(schema.entities.items())
    first = len(entities) - len(schema.keyed)
    for at, (name, group) in enumerate(entities[first:], start=first):
        for other_name, other in entities[:at]:
            by_name = group.format == other.format and group.format in NAMED_FIELDS
            alike = isinstance(other, KeyedGroup) and (group.format, group.meaning) == (other.format, other.meaning)
            if group.key_parts == other.key_parts and not by_name and not alike:
                yield (
                    f"groups.{name}: its keys {group.key} may be those of {other_name}, {other.key}, and a key holds "
                    f'one vector. Give it its own, such as key: "{name}:…", or let both be hashes or JSON objects, '
                    "which are read by name"
                )


def _open_default(feature: Feature) -> str | None:
    if not isinstance(feature.default, float):
        return None
    if math.isnan(feature.default):
        if feature.missing == "nan":
            return None
        return (
            "`default: .nan` may be a slip. Where the model was trained to know NaN as missing, write "
            f"{{name: {feature.name}, missing: nan}} instead"
        )
    if abs(feature.default) > LARGEST:
        return f"the default {feature.default:g} is beyond float32: give a finite one of at most {LARGEST:.3g}"
    return None
