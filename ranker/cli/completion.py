"""Shell completion of model tags: from the folders of the Bento model store, for bentoml takes seconds to import."""

from __future__ import annotations

import os
from pathlib import Path

import click


def complete_tag(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """Return the tags in the model store that begin so."""
    home = Path(os.environ.get("BENTOML_HOME") or Path.home() / "bentoml")
    tags = (f"{path.parent.parent.name}:{path.parent.name}" for path in home.glob("models/*/*/model.yaml"))
    return sorted(tag for tag in tags if tag.startswith(incomplete))
