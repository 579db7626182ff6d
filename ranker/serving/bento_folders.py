"""BentoML's folders: that of a Bento, with its labels and models, and that of a service's metrics.

Owns how a Bento's is known, and how BentoML is told of folders. Knows nothing of settings.
"""

from __future__ import annotations

from pathlib import Path

import bentoml
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models.model import ModelStore

from ranker.process.run_folder import MetricsFolder


def labels_of(bento: Path) -> dict[str, str]:
    """Return the labels of the Bento in this folder; none when the folder is no Bento."""
    if not (bento / "bento.yaml").exists():
        return {}
    return dict(bentoml.Bento.from_path(str(bento)).info.labels)


def use_models_of(bento: Path) -> None:
    """Look for models where a containerised or exported Bento carries them, if this folder is one that does."""
    if (bento / "bento.yaml").exists() and (bento / "models").is_dir():
        BentoMLContainer.model_store.set(ModelStore(bento / "models"))


def keep_metrics_apart() -> None:
    """Have BentoML keep the metrics in the service's run folder: its home is shared, and emptied by each start."""
    BentoMLContainer.prometheus_multiproc_dir.set(MetricsFolder())  # type: ignore[arg-type]  # it makes a Path of it
