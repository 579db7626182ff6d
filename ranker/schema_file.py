"""Reads a feature schema from a YAML file. Owns the file's errors; what a schema is, `schema.py` says."""

from __future__ import annotations

from pathlib import Path

import yaml

from ranker.errors import InvalidSchema
from ranker.schema import FeatureSchema


def read_schema(path: Path) -> FeatureSchema:
    """Read a schema.yaml.

    Raises:
        InvalidSchema: the file cannot be read, is no YAML, or describes no schema.
    """
    try:
        return FeatureSchema.from_mapping(yaml.safe_load(path.read_bytes()))
    except OSError as err:
        raise InvalidSchema([f"{path} cannot be read: {err.strerror}"]) from err
    except yaml.YAMLError as err:
        raise InvalidSchema([f"{path} is not valid YAML: {' '.join(str(err).split())}"]) from err
