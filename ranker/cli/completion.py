"""Shell completion of model tags: from the folders of the Bento model store, for bentoml takes seconds to import."""

from __future__ import annotations

import click

from ranker.process.bento_home import bento_home


def complete_tag(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """Return the tags in the model store that begin so."""
    tags = (f"{path.parent.parent.name}:{path.parent.name}" for path in bento_home().glob("models/*/*/model.yaml"))
    return sorted(tag for tag in tags if tag.startswith(incomplete))
