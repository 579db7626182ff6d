"""Which models are refused beside one another."""

from __future__ import annotations

from pathlib import Path

import pytest

from ranker.errors import ModelUnusable
from ranker.scoring.registry import store_model
from ranker.serving import startup
from ranker.vectors.schema import FeatureSchema
from tests.support.models import mlp_onnx, temporary_model_store

ROLES = ("RANKER_MODEL", "RANKER_CANARY_MODEL", "RANKER_SHADOW_MODEL")


def schema(prefix: str, feature: str) -> FeatureSchema:
    return FeatureSchema.from_mapping(
        {name: {"key": f"{prefix}{name}:{{id}}", "features": [feature]} for name in ("user", "product")}
    )


@pytest.mark.parametrize(
    "same", [("RANKER_MODEL", "RANKER_CANARY_MODEL"), ("RANKER_MODEL", "RANKER_SHADOW_MODEL"), ROLES[1:]]
)
def test_two_models_with_other_features_under_the_same_keys_are_refused_in_any_two_roles(
    tmp_path: Path, same: tuple[str, str]
) -> None:
    with temporary_model_store(tmp_path):
        schemas = {role: schema("same:" if role in same else "own:", role.lower()) for role in ROLES}
        environ = {role: store_model(mlp_onnx(2), made, role.lower())[0] for role, made in schemas.items()}
        with pytest.raises(ModelUnusable) as caught:
            startup.read(environ, tmp_path / "none" / "src")
        first, second = (environ[role] for role in same)
        assert str(caught.value).startswith(
            f"Model {second} cannot be served: beside {first}, it reads other user features"
        )
        alike = {role: store_model(mlp_onnx(2), schemas[same[0]], f"alike-{role.lower()}")[0] for role in ROLES}
        assert str(startup.read(alike, tmp_path / "none" / "src")[1].main.tag) == alike["RANKER_MODEL"]
