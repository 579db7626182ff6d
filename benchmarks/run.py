"""Measures every contender side by side, with each profile; writes JSON, tables and plots.

    python -m benchmarks.run [--profile NAME ...] [--brief | --quick] [--contenders a,b] [--rounds N] [--out DIRECTORY]

Each contender ranks with the same model in fresh processes: one request at a time first, of products that nothing
holds and of the same again; then the closed loop, in rounds that alternate; then the open loop; then the sweeps; then
what the metrics and timings cost that are on by default. Its answers are compared with the scores of the model's
trainer first. `--brief` takes twelve minutes on two cores, `--quick` (the profile `light`) under five.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.harness import machine
from benchmarks.harness.contender import CONTENDERS, Contender
from benchmarks.harness.load import find_wrk
from benchmarks.harness.processes import end_when_told
from benchmarks.harness.surroundings import prepared
from benchmarks.measuring import Run
from benchmarks.plan import BRIEF, FULL, QUICK, Extent, Plan
from benchmarks.profiles.profile import PROFILES
from benchmarks.reporting import report
from benchmarks.reporting.profiles import preparing_table, profiles_table

RESULTS = Path(__file__).parent / "results"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; return 0 when every contender was measured."""
    options = _parse(arguments)
    try:
        find_wrk()
    except FileNotFoundError as err:
        print(err, file=sys.stderr)
        return 2
    extent = BRIEF if options.brief else QUICK if options.quick else FULL
    load_before = machine.load_average()
    profiles: dict[str, dict[str, Any]] = {}
    versions: dict[str, str] = {}
    for name in options.profile or extent.profiles:
        print(f"\nProfile {name}: {PROFILES[name].model}, {PROFILES[name].features} features", flush=True)
        with prepared(PROFILES[name]) as around:
            versions = machine.versions(around.redis_url(database=0))
            contenders = chosen(options.contenders, extent, name)
            profiles[name] = Run(around, changed(extent.plan(name), options), contenders).measure()
    result = {
        "commit": machine.commit(),
        "machine": machine.machine() | {"load_average_before": load_before},
        "versions": versions,
        "command": command(sys.argv[1:] if arguments is None else arguments),
        "profiles": profiles,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "latest.json").write_text(json.dumps(result, indent=1) + "\n")
    report.write(result, options.out)
    print(f"\n{profiles_table(result)}\n\n{preparing_table(result)}\n")
    return 1 if any(profile["failed"] for profile in profiles.values()) else 0


def chosen(names: Sequence[str] | None, extent: Extent, profile: str) -> list[Contender]:
    """Return who is measured with a profile: who was asked for, or everybody that the extent has."""
    wanted = names if names is not None else [name for name in CONTENDERS if name not in extent.left_out]
    return [CONTENDERS[name] for name in wanted if profile in CONTENDERS[name].profiles]


def changed(plan: Plan, options: argparse.Namespace) -> Plan:
    """Return the plan as the options have it."""
    if options.rounds:
        plan = replace(plan, rounds=options.rounds)
    if options.levels:
        plan = replace(plan, levels=options.levels)
    return plan.lasting(options.seconds) if options.seconds else plan


def command(arguments: Sequence[str]) -> str:
    """Return what was called, without where the results went: that is a path of this machine."""
    words = ["python -m benchmarks.run"]
    skip = False
    for word in arguments:
        if not skip and not word.startswith("--out"):
            words.append(word)
        skip = word == "--out"
    return " ".join(words)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--profile", action="append", choices=list(PROFILES), help="several may be given")
    extent = parser.add_mutually_exclusive_group()
    extent.add_argument("--brief", action="store_true", help="twelve minutes: fewer levels, two rounds, no sweeps")
    extent.add_argument("--quick", action="store_true", help="a few minutes: one profile, fewer levels, one round")
    parser.add_argument("--contenders", type=_names, help=f"of {', '.join(CONTENDERS)}")
    parser.add_argument("--rounds", type=int, help="how often each contender is started anew")
    parser.add_argument("--levels", type=_levels, help="requests in flight, as in 1,64")
    parser.add_argument("--seconds", type=float, help="of each measurement")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the results go")
    return parser.parse_args(arguments)


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in CONTENDERS]:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(CONTENDERS)}")
    return names


def _levels(text: str) -> tuple[int, ...]:
    return tuple(int(level) for level in text.split(","))


if __name__ == "__main__":
    end_when_told()
    sys.exit(main())
