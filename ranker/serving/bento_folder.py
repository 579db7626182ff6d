"""Bento: what the folder of one says to the service that runs in it, its labels and the models that it carries.

Owns how such a folder is known. Knows nothing of settings.
"""

from __future__ import annotations

from pathlib import Path

import bentoml
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models.model import ModelStore


def labels_of(bento: Path) -> dict[str, str]:
    """Return the labels of the Bento in this folder; none when the folder is no Bento."""
    if not (bento / "bento.yaml").exists():
        return {}
    return dict(bentoml.Bento.from_path(str(bento)).info.labels)


def use_models_of(bento: Path) -> None:
    """Look for models where a containerised or exported Bento carries them, if this folder is one that does."""
    if (bento / "bento.yaml").exists() and (bento / "models").is_dir():
        BentoMLContainer.model_store.set(ModelStore(bento / "models"))
