"""Mutation run: change the code in one place at a time, and see whether tests notice.

`mutmut` makes the changes; `each` runs the tests that reach them. A change that no test notices needs a test, or a
reason in `reasons.toml` why none can; one that has neither fails the run. What was seen is kept in `mutants/`, so a run
that is bounded in time goes on where the last one stopped; a test that has become weaker shows in a run from the start.
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from mutmut.__main__ import create_mutants
from mutmut.configuration import config
from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.stats import status_by_exit_code
from mutmut.utils.file_utils import copy_also_copy_files, copy_src_dir, walk_mutatable_files
from mutmut.utils.format_utils import orig_function_and_class_names_from_key

from ranker.process.cores import usable_cores
from tests.mutants import reasons
from tests.mutants.reasons import REASONS, Change

MUTANTS = Path("mutants")
UNNOTICED = ("survived", "no tests")
TIME_IS_UP = 2
UNKNOWN_EXIT, UNFINISHED_EXIT = 1, 2


@dataclass(frozen=True, slots=True)
class Mutant:
    """A mutant and what became of it."""

    name: str
    module: str
    status: str
    path: Path

    @property
    def change(self) -> Change:
        function, owner = orig_function_and_class_names_from_key(self.name)
        lines = get_diff_for_mutant(self.name, path=self.path).splitlines()[2:]
        before, after = ("\n".join(line[1:].strip() for line in lines if line.startswith(sign)) for sign in "-+")
        return Change(".".join(part for part in (self.module, owner, function) if part), before, after)


def make() -> None:
    """Make the mutants, in `mutants/`, and copy the tests there; what is known of unchanged functions is kept."""
    shutil.rmtree(MUTANTS / "tests", ignore_errors=True)
    MUTANTS.mkdir(exist_ok=True)
    with redirect_stdout(io.StringIO()):
        copy_src_dir()
        copy_also_copy_files()
        create_mutants(usable_cores())


def mutate(modules: list[str], minutes: float) -> bool:
    """Run the mutants, for so long at most; return whether all were run."""
    command = [sys.executable, "-m", "pytest", "-p", "tests.mutants.each", "-qq", "--capture=no", "--tb=no"]
    command += [f"--mutate-minutes={minutes}", *(f"--mutate={module}" for module in modules)]
    command += [*config().pytest_add_cli_args, *config().pytest_add_cli_args_test_selection]
    code = subprocess.run(command, cwd=MUTANTS, check=False).returncode
    if code not in (0, TIME_IS_UP):
        raise SystemExit(f"pytest ended with {code}: see above")
    return code == 0


def mutants(modules: list[str]) -> Iterator[Mutant]:
    """Return the mutants of these modules or packages, of all when none is named, with what is known of them."""
    for path in walk_mutatable_files():
        module = ".".join(path.with_suffix("").parts)
        if modules and not any(f"{module}.".startswith(f"{named}.") for named in modules):
            continue
        data = SourceFileMutationData(path=path)
        data.load()
        for name, code in data.exit_code_by_key.items():
            yield Mutant(name, module, status_by_exit_code[code], path)


def report(seen: list[Mutant], known: dict[Change, str]) -> int:
    """Say what became of the mutants; return how many changes neither a test nor a reason covers."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    unknown: list[tuple[Mutant, Change]] = []
    for mutant in seen:
        status = mutant.status
        if status in UNNOTICED:
            change = mutant.change
            status = "reason" if change in known else "unknown"
            if status == "unknown":
                unknown.append((mutant, change))
        counts[mutant.module][status] += 1
    print(f"\n{'module':40}{'mutants':>9}{'noticed':>9}{'reason':>8}{'unknown':>9}{'not run':>9}")
    for module, of in [*sorted(counts.items()), ("all", sum(counts.values(), Counter[str]()))]:
        reason, new, left = of["reason"], of["unknown"], of["not checked"]
        noticed = of.total() - reason - new - left
        print(f"{module:40}{of.total():9}{noticed:9}{reason:8}{new:9}{left:9}")
    for mutant, change in unknown:
        print(f"\nNo test notices {mutant.name} ({mutant.status}):\n{reasons.entry(change)}")
    return len(unknown)


def main() -> int:
    """Run, report, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "modules", nargs="*", metavar="MODULE", help="ranking.order …; all that are configured when none"
    )
    parser.add_argument("--minutes", type=float, default=60, help="bound of the run (default: %(default)g)")
    parser.add_argument("--report", action="store_true", help="run nothing: say what the last run has seen")
    options = parser.parse_args()
    modules = [f"ranker.{module.removeprefix('ranker.')}" for module in options.modules]
    known = reasons.read()
    ended = True
    if not options.report:
        make()
        ended = mutate(modules, options.minutes)
    unknown = report(list(mutants(modules)), known)
    if unknown:
        print(f"\n{unknown} changes need a test, or a reason in {REASONS.relative_to(Path.cwd())}.")
        return UNKNOWN_EXIT
    if not ended:
        print(f"\nThe {options.minutes:g} minutes were over first; run it again, and it goes on from here.")
        return UNFINISHED_EXIT
    return 0


if __name__ == "__main__":
    sys.exit(main())
