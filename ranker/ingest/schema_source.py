"""Source of a schema: a file, a model of the store, or the schema itself, for whoever writes and reads features."""

from __future__ import annotations

from pathlib import Path

from ranker.vectors.schema import FeatureSchema


def find_schema(source: FeatureSchema | Path | str) -> FeatureSchema:
    """Return a schema: itself, from a YAML file, or from a model in the Bento model store.

    Raises:
        StartupError: there is none.
    """
    if isinstance(source, FeatureSchema):
        return source
    if isinstance(source, Path) or source.endswith((".yaml", ".yml")):
        from ranker.vectors.schema_file import read_schema

        return read_schema(Path(source))
    # Imported late: bentoml takes seconds.
    from ranker.scoring.registry import find_model, schema_of

    return schema_of(find_model(source))
