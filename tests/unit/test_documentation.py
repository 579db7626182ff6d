"""What the README and the pages of docs/ say is true of the code, and the site is whole."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import click
import pytest
import yaml

from ranker import __version__
from ranker.cli import main
from ranker.settings.environment import Settings
from ranker.settings.variables import PREFIX
from ranker.vectors.group import Format
from ranker.vectors.schema import FeatureSchema
from tests.support.pages import OUTSIDE, PROJECT, README, everything, marked, page


def named(pattern: str) -> list[str]:
    """Return what the README and the pages name, each once; the changelog tells of what is no more."""
    return sorted({found for text in everything().values() for found in re.findall(pattern, text)})


def settings_table() -> str:
    """The page's table, as the settings' own names, defaults and docstrings give it."""
    lines = ["| variable | default | |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        text = " ".join((field.description or "").split())
        default = "unset" if field.default is None else f"`{field.default}`"
        lines.append(f"| `{PREFIX}{name.upper()}` | {default} | {text} |")
    return "\n".join(lines)


def commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    """Return each command that does something, with its whole name."""
    if not isinstance(command, click.Group):
        yield name, command
        return
    context = click.Context(command)
    for part in command.list_commands(context):
        found = command.get_command(context, part)
        assert found is not None
        yield from commands(found, f"{name} {part}")


COMMANDS = dict(commands(main, "ranker"))


def commands_table() -> str:
    """The page's table, as the commands' own help gives it."""
    lines = ["| command | |", "|---|---|"]
    for name, command in COMMANDS.items():
        lines.append(f"| `{name}` | {' '.join((command.help or '').split(chr(10) * 2)[0].split())} |")
    return "\n".join(lines)


def test_commands_table_is_the_code() -> None:
    assert marked(page("reference/cli"), "commands") == commands_table()


@pytest.mark.parametrize("option", named(r"`(--[\w-]+)"))
def test_options_exist(option: str) -> None:
    parameters = [parameter for command in COMMANDS.values() for parameter in command.params]
    known = {name for parameter in parameters for name in (*parameter.opts, *parameter.secondary_opts)}
    assert option in known or f'"{option}"' in (PROJECT / "locustfile.py").read_text()


def test_image_of_the_stack_is_of_this_version() -> None:
    assert re.findall(r"RANKER_IMAGE=ranker:([\w.]+)", page("how-to/run-the-stack")) == [__version__]


def test_settings_table_is_the_code() -> None:
    assert marked(page("reference/settings"), "settings") == settings_table()


def test_module_map_is_the_tree() -> None:
    mapped = re.findall(r"^\| `ranker/([\w.]+/?)` \|", marked(README, "packages"), re.MULTILINE)
    packages = [f"{path.parent.name}/" for path in (PROJECT / "ranker").glob("*/__init__.py")]
    modules = [path.name for path in (PROJECT / "ranker").glob("*.py") if not path.name.startswith("_")]
    assert sorted(mapped) == sorted([*packages, *modules])


def test_map_of_packages_within_packages_is_their_own_first_lines() -> None:
    lines = ["| package | what it is |", "|---|---|"]
    for path in sorted((PROJECT / "ranker").glob("*/**/__init__.py")):
        if path.parent.parent.name != "ranker":
            first = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n")[0]
            lines.append(f"| `{path.parent.relative_to(PROJECT)}/` | {first} |")
    assert marked(page("explanation/packages"), "inner packages") == "\n".join(lines)


@pytest.mark.parametrize("path", named(r"`((?:\.ci|benchmarks|deploy|docs|ranker|requirements|tests)/[\w./-]+)`"))
def test_paths_exist(path: str) -> None:
    assert (PROJECT / path).exists()


@pytest.mark.parametrize("module", named(r"python -m ((?:\w+\.)*\w+)(?![\w.…])"))
def test_modules_exist(module: str) -> None:
    path = PROJECT / module.replace(".", "/")
    assert path.with_suffix(".py").exists() or (path / "__main__.py").exists()


@pytest.mark.parametrize("target", named(r"`make ([\w-]+)") + named(r"(?m)^make ([\w-]+)"))
def test_make_targets_exist(target: str) -> None:
    assert re.search(rf"(?m)^(?:[\w ./-]+ )?{target}(?: [\w ./-]+)?:", (PROJECT / "Makefile").read_text())


LINKS = {link for name in OUTSIDE for link in re.findall(r"\]\(([^)#:]+)[)#]", everything()[name])}


@pytest.mark.parametrize("link", sorted(LINKS))
def test_links_from_outside_the_site_lead_somewhere(link: str) -> None:
    assert (PROJECT / link).exists()


def test_reference_and_explanation_hold_no_measurements() -> None:
    measured = re.compile(
        r"\bp(10|50|90|95|99)\b.*\d|requests/s|GFLOP|two cores|\d (ms|us|µs) (calm|on|in place)|\d,\d+ µs"
    )
    found = {
        f"{path}: {line}"
        for path, text in everything().items()
        if re.search("/(reference|explanation)/(?!faults)", path)  # how long faults last is what that page is about
        for line in text.splitlines()
        if measured.search(line)
    }
    assert not found


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 200


def test_every_error_type_is_listed() -> None:
    source = (PROJECT / "ranker/http/statuses.py").read_text()
    error_types = set(re.findall(r'\(\d{3}, "(\w+)"\)', source))
    assert len(error_types) > 10
    assert not [word for word in error_types if f"`{word}`" not in page("reference/api")]


def test_schemas_shown_are_a_schema_together() -> None:
    shown = {}
    for text in everything().values():
        for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL):
            said = yaml.safe_load(block)
            if "groups" in said:  # their keys name features of the same block
                FeatureSchema.from_mapping({"user": {"features": ["age"]}} | said)
                continue
            shown |= said
    schema = FeatureSchema.from_mapping(shown)
    assert list(schema.groups) == ["user", "product", "context", "productContext"]
    formats = re.findall(r"^\| (`.*?) \|", page("how-to/foreign-formats"), re.MULTILINE)
    assert not [stored for stored in get_args(Format) if f"`{stored}`" not in " ".join(formats)]


@pytest.mark.slow  # builds the site
def test_the_site_has_a_search_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    build = ["-m", "sphinx", "--quiet", "--fresh-env", "--fail-on-warning", "--keep-going", "docs", str(tmp_path)]
    done = subprocess.run([sys.executable, *build], cwd=PROJECT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert "cluster" in (tmp_path / "searchindex.js").read_text()
    pages = {path.relative_to(tmp_path): path.read_text() for path in tmp_path.rglob("*.html")}
    assert len(pages) > 30
    loads = r'<(?:script|link|img|iframe)\b[^>]*?\b(?:src|href)="((?:https?:)?//[^"]+)"'
    assert not {str(path): found for path, text in pages.items() if (found := re.findall(loads, text))}
    styles = " ".join(path.read_text() for path in tmp_path.rglob("*.css"))
    assert not re.findall(r"url\(['\"]?(?:https?:)?//|@import", styles)
