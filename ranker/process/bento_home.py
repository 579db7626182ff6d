"""BentoML's home: the folder of its stores, which BentoML completes at each start, and so must find whole or writable.

Owns where it is and what is said when it is neither: BentoML ends with a traceback. Imports no bentoml, which takes a
second.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

FOLDERS = ("bentos", "models", "envs", "tmp")
"""Folders that BentoML makes in it where they are absent."""


def bento_home(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder that `BENTOML_HOME` names, or the user's own."""
    return Path(os.path.expandvars(environ.get("BENTOML_HOME") or "~/bentoml")).expanduser()


def find_problem(environ: Mapping[str, str] = os.environ) -> str | None:
    """Make what is absent of it, as BentoML would; return a sentence, without its full stop, where that cannot be."""
    home = bento_home(environ)
    for folder in (home, *(home / name for name in FOLDERS)):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            return (
                f"BentoML needs the folder {folder}, which cannot be made: {err.strerror}. Make {', '.join(FOLDERS)} "
                f"in {home} (they may be read-only), or set BENTOML_HOME to a folder that can be written"
            )
    return None
