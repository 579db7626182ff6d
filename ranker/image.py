"""Image of a Bento: on which base it is built, and whether its requirements can be installed.

Owns the base image and the check of the locked requirements; knows nothing of the services.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import bentoml
from bentoml.exceptions import BentoMLException

_LOCKED = re.compile(r"^bentoml==([\w.]+)", re.MULTILINE)


class LockedImage(bentoml.images.Image):
    """An image whose requirements name one release of BentoML, that of the lock."""

    def freeze(self, bento_fs: Path, *arguments: Any, **options: Any) -> Any:
        """Write the requirements and the Dockerfile into the Bento, as BentoML does.

        Raises:
            BentoMLException: another BentoML than the locked one runs. It would add its own release to the
                requirements, which then name two, so that nobody can install them.
        """
        locked = _LOCKED.search(self.python_requirements)
        if locked is not None and locked[1] != bentoml.__version__:
            raise BentoMLException(
                f"requirements/serve.txt locks BentoML {locked[1]}, and {bentoml.__version__} runs here: a Bento built "
                f"with it would ask for both, and could not be installed. Run `pip install bentoml=={locked[1]}`, "
                f"or use `make container`, which has an environment of its own."
            )
        return super().freeze(bento_fs, *arguments, **options)


def describe() -> bentoml.images.Image:
    """Return what a Bento's image is made from; its requirements are those of bentofile.yaml."""
    # BentoML knows a distribution by what it installs there: for Debian that is a compiler and git, 500 MB.
    image = LockedImage(base_image="python:3.11-slim", distro="none", python_version="3.11")
    # Or uv's cache stays in the image, 27 MB. Said in a file, for what a Bento sets is set where it serves, too.
    image.run("mkdir -p /root/.config/uv && echo 'no-cache = true' >/root/.config/uv/uv.toml")
    return image
