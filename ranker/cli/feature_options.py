"""Options that several commands of `ranker features` take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

FILE = click.Path(path_type=Path)
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")
MODEL = click.option(
    "--model", metavar="NAME", help="Tag of the model, or a schema.yaml.", show_default="RANKER_MODEL"
)  # fmt: skip
SENTINEL = click.option(
    "--sentinel-service", metavar="NAME", help="Which primary, where RANKER_REDIS_URL is a Sentinel."
)
MAX_RATE = click.option("--max-rate", type=click.FloatRange(min=1), metavar="N", help="Keys per second, at most.")
ROUNDING = click.option(
    "--allow-rounding", is_flag=True, help="Take whole numbers beyond 2^24 as float32 has them; else they are refused."
)


def entity_option(required: bool) -> Callable[[F], F]:
    """Declare --entity."""
    return click.option("--entity", type=click.Choice(["user", "product"]), required=required, help="Whose features.")
