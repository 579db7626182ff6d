"""Reports of `ranker features`: what it did and saw, for people or as one JSON value."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

import click

from ranker.cli.display.output import console, print_pairs, print_table

if TYPE_CHECKING:
    from ranker.ingest.load import Loaded
    from ranker.upkeep.finding import Finding
    from ranker.upkeep.inspection import Inspection
    from ranker.upkeep.migrate import Migrated
    from ranker.upkeep.savings import Savings

SHOWN_ELEMENTS = 8
"""Elements of a vector or history that people are shown."""
COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}
"""Colour of a finding's status."""


def show_loaded(loaded: Loaded, entity: str, as_json: bool) -> None:
    """Say what a load did."""
    if as_json:
        _echo(loaded)
        return
    for path, names in loaded.ignored.items():
        _say(f"{path}: ignored {', '.join(names)}")
    if loaded.note:
        _say(loaded.note)
    if not loaded.written and loaded.skipped == loaded.rows:
        _say(f"All {loaded.rows:,} rows were loaded before.")
        return
    rate = loaded.written / max(loaded.seconds, 1e-9)
    after = f", after {loaded.skipped:,} rows of an earlier run" if loaded.skipped else ""
    _say(f"Loaded {loaded.written:,} {entity} vectors in {loaded.seconds:.1f} s ({rate:,.0f}/s){after}.")
    for reason, count in loaded.rejected.items():
        _say(f"Left out {count:,} row(s): {reason}.")
    for name, count in loaded.rounded.items():
        _say(f"Rounded {count:,} whole number(s) of {name} to float32.")
    for note in loaded.notes:
        _say(f"Note: {note}")


def show_savings(savings: Savings, to: str, as_json: bool) -> None:
    """Say what a migration would save."""
    if as_json:
        _echo(savings)
        return
    s = savings
    _say(f"{s.to_rewrite:,} of {s.sampled:,} keys looked at would become {to}; the store holds {s.keys:,} keys in all.")
    for reason, count in s.refused.items():
        _say(f"{count:,} cannot be rewritten: {reason}")
    if s.to_rewrite:
        memory = "Redis does not tell (MEMORY USAGE)"
        if s.bytes_before is not None and s.bytes_after is not None:
            less = 100 * (1 - s.bytes_after / s.bytes_before)
            change = f"{abs(less):,.0f} % {'less' if less >= 0 else 'more'}"
            memory = f"{s.bytes_before:,.0f} → {s.bytes_after:,.0f} bytes ({change})"
        print_pairs(
            {
                "Memory of a key": memory,
                "Decoding 100": f"{s.decode_before_us:,.0f} → {s.decode_after_us:,.1f} µs",
                "Reading 100 now": f"{s.read_us:,.0f} µs from here",
            }
        )


def show_migrated(done: Migrated, to: str, as_json: bool) -> None:
    """Say what a migration did."""
    if as_json:
        _echo(done)
        return
    _say(f"{done.done:,} of {done.seen:,} keys rewritten as {to}, {done.already:,} were so already.")
    if done.done:
        _say(f"Their values: {done.bytes_before:,} → {done.bytes_after:,} bytes.")
    if done.changed:
        _say(f"{done.changed:,} were written by others meanwhile and left alone; run it again to look at those.")
    if done.gone:
        _say(f"{done.gone:,} vanished meanwhile, or hold no string.")
    for reason, count in done.refused.items():
        _say(f"{count:,} left alone: {reason}")
    for example in done.examples:
        _say(f"  {example}")


def show_inspections(inspections: Sequence[Inspection], as_json: bool) -> None:
    """Show stored vectors."""
    if as_json:
        click.echo(json.dumps([asdict(one) for one in inspections]))
        return
    for one in inspections:
        pairs = {one.entity: one.id, "Key": one.key}
        if one.bytes is not None:
            pairs |= {"Form": one.form or "unknown", "Bytes": f"{one.bytes:,}"}
            pairs |= {"Memory": f"{one.memory_bytes:,} bytes"} if one.memory_bytes is not None else {}
            pairs |= {"Expires": "never" if one.ttl_s is None else f"in {one.ttl_s:,.0f} s"}
            pairs |= {"Idle": f"{one.idle_s:,} s"} if one.idle_s is not None else {}
        print_pairs(pairs | ({"Problem": one.problem} if one.problem else {}))
        if one.features:
            print_table(["feature", "value"], [(name, _spell(value)) for name, value in one.features.items()])


def show_finding(finding: Finding) -> None:
    """Show one check."""
    from rich.text import Text

    status = (finding.status.ljust(5), COLOURS[finding.status])
    console().print(Text.assemble(status, f"{finding.check}: {finding.seen}"))
    if finding.remedy:
        _say(f"     {finding.remedy}")


def _spell(value: Any) -> str:
    """Return a feature's value for people: a vector or history by its first elements."""
    if isinstance(value, list):
        more = f", … {len(value):,} in all" if len(value) > SHOWN_ELEMENTS else ""
        return f"[{', '.join(map(_spell, value[:SHOWN_ELEMENTS]))}{more}]"
    return "nan" if value is None else f"{value:.9g}" if isinstance(value, float) else str(value)


def _say(text: str) -> None:
    console().print(text, markup=False)


def _echo(result: Any) -> None:
    # Not asdict, which makes nonsense of a Counter.
    click.echo(json.dumps({field.name: getattr(result, field.name) for field in fields(result)}))
