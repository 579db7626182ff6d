"""The `ranker` command: one file per command group."""

from __future__ import annotations

import click

from ranker import __version__


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ranker")
def main() -> None:
    """Rank a user's products with features from Redis and an ONNX model."""
