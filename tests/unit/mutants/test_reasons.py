"""The reasons why no test notices a change are about code that is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutants import reasons

ROOT = Path(__file__).parents[3]


def source(function: str) -> list[str]:
    """Return the stripped lines of the module that a function is in."""
    parts = function.split(".")
    (path,) = (p for n in range(1, len(parts)) if (p := ROOT.joinpath(*parts[:n]).with_suffix(".py")).is_file())
    return [line.strip() for line in path.read_text().splitlines()]


@pytest.mark.parametrize("change", reasons.read(), ids=lambda change: f"{change.function}: {change.after[:40]}")
def test_reason_is_about_lines_that_are_there(change: reasons.Change) -> None:
    lines = source(change.function)
    assert set(change.before.splitlines()) <= set(lines)
    assert change.before != change.after


def test_change_with_two_reasons_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "reasons.toml"
    path.write_text('[[reason]]\nwhy = "a"\nmutants = [{ in = "m.f", before = "x", after = "y" }]\n' * 2)
    with pytest.raises(ValueError, match="two reasons"):
        reasons.read(path)


def test_entry_of_a_change_is_read_as_that_change(tmp_path: Path) -> None:
    path = tmp_path / "reasons.toml"
    changes = [reasons.Change("m.f", 'x = "é"', "x = 'é'"), reasons.Change("m.C.g", "a\nb", "")]
    entries = "\n".join(map(reasons.entry, changes))
    path.write_text(f'[[reason]]\nwhy = "none"\nmutants = [\n{entries}\n]\n')
    assert reasons.read(path) == dict.fromkeys(changes, "none")
