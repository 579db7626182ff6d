"""What the README says is true of the code."""

import re
from pathlib import Path
from typing import get_args

import pytest
import yaml

from ranker import __version__
from ranker.settings.environment import PREFIX, Settings
from ranker.vectors.schema import FeatureSchema, Format

README = (Path(__file__).parent.parent.parent / "README.md").read_text()


def settings_table() -> str:
    """The README's table, as the settings' own names, defaults and docstrings give it."""
    lines = ["| variable | default | |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        text = " ".join((field.description or "").split())
        default = "unset" if field.default is None else f"`{field.default}`"
        lines.append(f"| `{PREFIX}{name.upper()}` | {default} | {text} |")
    return "\n".join(lines)


def test_image_of_the_stack_is_of_this_version() -> None:
    assert re.findall(r"RANKER_IMAGE=ranker:([\w.]+)", README) == [__version__]


def test_settings_table_is_the_code() -> None:
    table = re.search(r"<!-- settings.*?-->\n(.*?)\n<!-- end of settings -->", README, re.DOTALL)
    assert table is not None
    assert table[1] == settings_table()


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:ranker/)?\w+\.py|ranker/\w+/)`", README))))
def test_module_map_names_what_exists(path: str) -> None:
    project = Path(__file__).parent.parent.parent
    assert (project / path).exists() or (project / "ranker" / path).exists()


def test_every_error_type_is_listed() -> None:
    source = (Path(__file__).parent.parent.parent / "service.py").read_text()
    error_types = set(re.findall(r'\(\d{3}, "(\w+)"\)', source))
    assert len(error_types) > 10
    assert not [word for word in error_types if f"`{word}`" not in README]


def test_schemas_shown_are_a_schema_together() -> None:
    shown = {}
    for block in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL):
        shown |= yaml.safe_load(block)
    schema = FeatureSchema.from_mapping(shown)
    assert list(schema.groups) == ["user", "product", "context", "productContext"]
    table = re.search(r"\| `format` .*?\n\n", README, re.DOTALL)
    assert table is not None
    assert not [stored for stored in get_args(Format) if f"`{stored}`" not in table[0]]
